//! A disk that isn't encrypted.

use cmkit::{Error, Result};

use crate::backing::Backing;
use crate::device::{BlockDevice, Durability, Extent, ExtentKind, Geometry, Zeroes};
use crate::failure::{check_range, io, len_of};

const BLOCK_SIZE: u32 = 4096;

/// A backing as it is, without encryption: what encrypted disks are measured against.
///
/// Nothing is kept from whoever can read the backing. Writes that overlap aren't kept apart.
pub struct PlainDevice<B> {
    backing: B,
}

impl<B: Backing> PlainDevice<B> {
    /// The disk that a backing is.
    pub fn new(backing: B) -> Self {
        Self { backing }
    }

    fn check(&self, offset: u64, len: u64) -> Result<()> {
        check_range(offset, len, self.backing.len())
    }

    fn check_writable(&self) -> Result<()> {
        if self.backing.is_read_only() {
            return Err(Error::Policy {
                problem: format!("{}: it is read-only", self.backing.name()),
            });
        }
        Ok(())
    }

    fn finish(&self, durability: Durability) -> Result<()> {
        match durability {
            Durability::Cached => Ok(()),
            Durability::Durable => self.flush(),
        }
    }
}

impl<B: Backing> BlockDevice for PlainDevice<B> {
    fn len(&self) -> u64 {
        self.backing.len()
    }

    fn geometry(&self) -> Geometry {
        Geometry {
            read_only: self.backing.is_read_only(),
            is_blocking: self.backing.is_blocking(),
            ..Geometry::new(BLOCK_SIZE)
        }
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> Result<()> {
        let checked = self.check(offset, len_of(data));
        let read = checked.and_then(|()| {
            let read = self.backing.read_at(data, offset);
            read.map_err(|e| io("read", self.backing.name(), e))
        });
        if read.is_err() {
            data.fill(0);
        }
        read
    }

    fn write_at(&self, data: &[u8], offset: u64, durability: Durability) -> Result<()> {
        self.check_writable()?;
        self.check(offset, len_of(data))?;
        let written = self.backing.write_at(data, offset);
        written.map_err(|e| io("write", self.backing.name(), e))?;
        self.finish(durability)
    }

    fn flush(&self) -> Result<()> {
        let flushed = self.backing.flush();
        flushed.map_err(|e| io("flush", self.backing.name(), e))
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len)?;
        // Advice: without it nothing is lost.
        let _ = self.backing.punch(offset, len);
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64, _: Zeroes, durability: Durability) -> Result<()> {
        static ZEROS: [u8; 65536] = [0; 65536];
        self.check_writable()?;
        self.check(offset, len)?;
        let mut done = 0;
        while done < len {
            let here = (len - done).min(len_of(&ZEROS));
            // No more than the array has.
            let zeros = &ZEROS[..usize::try_from(here).unwrap_or(0)];
            let written = self.backing.write_at(zeros, offset + done);
            written.map_err(|e| io("write", self.backing.name(), e))?;
            done += here;
        }
        self.finish(durability)
    }

    fn extents(&self, offset: u64, len: u64, found: &mut dyn FnMut(Extent) -> bool) -> Result<()> {
        self.check(offset, len)?;
        if len > 0 {
            found(Extent {
                len,
                kind: ExtentKind::Data,
            });
        }
        Ok(())
    }
}
