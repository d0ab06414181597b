//! An encrypted disk over a backing.

mod bounce;
mod create;
mod ephemeral;
mod extent_runs;
mod segments;
mod stats;
mod table;
mod watch;
mod xts;

use std::fmt;
use std::sync::Arc;

use cmkit::{Error, KeyId, Result};

pub use self::create::{VolumeMode, VolumeSpec};
use self::ephemeral::Ephemeral;
use self::stats::Counters;
pub use self::stats::VolumeStats;
use self::watch::Watch;
use self::xts::Xts;
use crate::backing::{Backing, Punched};
use crate::device::{BlockDevice, Durability, Extent, Geometry, Zeroes};
use crate::failure::{check_range, io, len_of};
use crate::origin::Origin;

/// An encrypted disk: a [`BlockDevice`] over a [`Backing`].
///
/// In the *ephemeral* mode (the default) each block is AES-256-GCM with its tag and version in memory: what was changed, swapped or rolled back on the backing
/// is an error and never data; blocks that were never written read as zeros; nothing of the backing is ever parsed. The disk lives as long as this value. In the *XTS*
/// mode it is byte for byte dm-crypt's `aes-xts-plain64`, without integrity, and can be opened again with its volume file.
///
/// The key comes from the system's generator and stays in memory, or is a [keyring's](cmkit::Keyring): then the disk stops within the keyring's
/// [`Freshness`](cmkit::Freshness) when the key is taken away, and goes on when it is given back. [`destroy`](Self::destroy), and dropping, zeroizes it.
///
/// Thread-safe. In a forked child every call fails, and dropping does nothing outside of the child's memory.
pub struct Volume {
    disk: Arc<Disk>,
    /// Looks after the keyring's keys while nobody reads or writes.
    watch: Option<Watch>,
}

/// What threads that look after a volume share with it.
struct Disk {
    cipher: Cipher,
    backing: Box<dyn Backing>,
    id: String,
    len: u64,
    origin: Origin,
    counters: Counters,
}

enum Cipher {
    Ephemeral(Ephemeral),
    Xts(Xts),
}

impl Volume {
    /// A name for it in records: 32 hex digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.disk.id
    }

    /// How it encrypts.
    #[must_use]
    pub fn mode(&self) -> VolumeMode {
        match &self.disk.cipher {
            Cipher::Ephemeral(disk) => VolumeMode::Ephemeral(disk.block_size()),
            Cipher::Xts(disk) => VolumeMode::Xts(disk.sector_size()),
        }
    }

    /// The keys that wrap its DEK; none if that is in this process's memory only.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KeyId> {
        match &self.disk.cipher {
            Cipher::Ephemeral(disk) => disk.key_ids(),
            Cipher::Xts(disk) => disk.key.key_ids(),
        }
    }

    /// What its bytes are on.
    #[must_use]
    pub fn backing_name(&self) -> &str {
        self.disk.backing.name()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> VolumeStats {
        let (metadata, unreadable) = match &self.disk.cipher {
            Cipher::Ephemeral(disk) => (disk.metadata_bytes(), disk.poisoned_blocks()),
            Cipher::Xts(_) => (0, 0),
        };
        self.disk.counters.snapshot(metadata, unreadable)
    }

    /// Zeroizes the key: what was written can't be read any more, by nobody. Takes microseconds, whatever the backing is doing; requests that are under way end with an
    /// error, and a [`reset`](Self::reset) too. Does nothing a second time, and nothing in a forked child, whose copy goes when it is dropped.
    ///
    /// Of a volume with a volume file this is no erasure: that needs every wrap of its DEK, or the key that wraps it, to be destroyed.
    pub fn destroy(&self) {
        // A child has its parent's locks as they were, held by threads that it hasn't.
        if self.disk.check_process().is_err() {
            return;
        }
        match &self.disk.cipher {
            Cipher::Ephemeral(disk) => disk.destroy(),
            Cipher::Xts(disk) => disk.key.destroy(),
        }
    }

    /// Whether its key was destroyed. In a forked child, where it can't be used: always.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        if self.disk.check_process().is_err() {
            return true;
        }
        match &self.disk.cipher {
            Cipher::Ephemeral(disk) => disk.is_destroyed(),
            Cipher::Xts(disk) => disk.key.is_destroyed(),
        }
    }

    /// An empty disk again, for the next job: the old key is zeroized at once, requests under way are waited for, room is given back, and then there are a new DEK and
    /// only unwritten blocks. Only in the ephemeral mode.
    ///
    /// # Errors
    /// * [`Error::InvalidState`]: a forked child's, or one in XTS mode: make another one. Or destroyed meanwhile: the disk stays so.
    /// * Those of [`Keyring::new_block_key`](cmkit::Keyring::new_block_key): the disk stays destroyed.
    /// * [`Error::Io`]: the room couldn't be given back; all else was done.
    pub fn reset(&self) -> Result<Punched> {
        self.disk.check_process()?;
        match &self.disk.cipher {
            Cipher::Ephemeral(disk) => disk.reset(|| self.disk.give_back())?,
            Cipher::Xts(_) => Err(Error::InvalidState {
                problem: "a volume in XTS mode isn't reset; destroy it and make another one",
            }),
        }
    }

    /// Gives the room of the whole backing back, which has no meaning any more once the key is [destroyed](Self::destroy).
    ///
    /// # Errors
    /// * [`Error::InvalidState`]: the key isn't destroyed; a forked child's.
    /// * [`Error::Io`]: the backing failed.
    pub fn discard_backing(&self) -> Result<Punched> {
        self.disk.check_process()?;
        let give_back = || self.disk.give_back();
        let given = match &self.disk.cipher {
            Cipher::Ephemeral(disk) => disk.if_destroyed(give_back),
            Cipher::Xts(disk) => disk.key.is_destroyed().then(give_back),
        };
        given.unwrap_or(Err(Error::InvalidState {
            problem: "the volume's key is there, and its data with it; destroy it before its room is given back",
        }))
    }

    /// That the keys still allow it: what every request asks.
    ///
    /// # Errors
    /// * Those of [`BlockKey::check`](cmkit::BlockKey::check).
    pub fn check(&self) -> Result<()> {
        self.disk.check()
    }
}

impl Disk {
    /// Before anything that takes a lock.
    fn check_process(&self) -> Result<()> {
        if self.origin.is_here() {
            return Ok(());
        }
        Err(Error::InvalidState {
            problem: "this volume belongs to the process that forked this one; make one of your own",
        })
    }

    fn give_back(&self) -> Result<Punched> {
        let punched = self.backing.punch(0, self.len);
        punched.map_err(|e| io("discard", self.backing.name(), e))
    }

    fn check(&self) -> Result<()> {
        self.check_process()?;
        match &self.cipher {
            Cipher::Ephemeral(disk) => disk.check(),
            Cipher::Xts(disk) => disk.key.check(),
        }
    }

    /// The same, for who mustn't hold on to the disk meanwhile.
    fn checker(&self) -> Box<dyn Fn() -> Result<()> + Send> {
        match &self.cipher {
            Cipher::Ephemeral(disk) => {
                let key = disk.key();
                Box::new(move || key.check())
            }
            Cipher::Xts(disk) => {
                let key = Arc::clone(&disk.key);
                Box::new(move || key.check())
            }
        }
    }

    fn check_request(&self, offset: u64, len: u64) -> Result<()> {
        check_range(offset, len, self.len)?;
        self.check()
    }

    fn check_write(&self, offset: u64, len: u64) -> Result<()> {
        if self.backing.is_read_only() {
            return Err(Error::Policy {
                problem: format!("{}: it was opened for reading only", self.backing.name()),
            });
        }
        self.check_request(offset, len)
    }

    fn finish(&self, durability: Durability) -> Result<()> {
        match durability {
            Durability::Cached => Ok(()),
            Durability::Durable => self.flush(),
        }
    }

    fn flush(&self) -> Result<()> {
        let flushed = self.backing.flush();
        flushed.map_err(|e| io("flush", self.backing.name(), e))
    }
}

impl BlockDevice for Volume {
    fn len(&self) -> u64 {
        self.disk.len
    }

    fn geometry(&self) -> Geometry {
        let (block_size, fast_zeroes) = match &self.disk.cipher {
            Cipher::Ephemeral(disk) => (disk.block_size().bytes(), true),
            Cipher::Xts(disk) => (disk.sector_size().bytes(), false),
        };
        Geometry {
            read_only: self.disk.backing.is_read_only(),
            is_blocking: self.disk.backing.is_blocking(),
            fast_zeroes,
            ..Geometry::new(block_size)
        }
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> Result<()> {
        let disk = &*self.disk;
        let checked = disk.check_request(offset, len_of(data));
        let read = checked.and_then(|()| match &disk.cipher {
            Cipher::Ephemeral(cipher) => cipher.read(&*disk.backing, data, offset),
            Cipher::Xts(cipher) => cipher.read(&*disk.backing, data, offset),
        });
        if read.is_err() {
            data.fill(0);
        }
        disk.counters.read(len_of(data), &read);
        read
    }

    fn write_at(&self, data: &[u8], offset: u64, durability: Durability) -> Result<()> {
        let disk = &*self.disk;
        let checked = disk.check_write(offset, len_of(data));
        let written = checked.and_then(|()| match &disk.cipher {
            Cipher::Ephemeral(cipher) => cipher.write(&*disk.backing, data, offset),
            Cipher::Xts(cipher) => cipher.write(&*disk.backing, data, offset),
        });
        let written = written.and_then(|()| disk.finish(durability));
        disk.counters.written(len_of(data), &written);
        written
    }

    fn write_from(&self, data: &mut [u8], offset: u64, durability: Durability) -> Result<()> {
        let disk = &*self.disk;
        let checked = disk.check_write(offset, len_of(data));
        let written = checked.and_then(|()| match &disk.cipher {
            Cipher::Ephemeral(cipher) => cipher.write_from(&*disk.backing, data, offset),
            Cipher::Xts(cipher) => cipher.write_from(&*disk.backing, data, offset),
        });
        if written.is_err() {
            data.fill(0);
        }
        let written = written.and_then(|()| disk.finish(durability));
        disk.counters.written(len_of(data), &written);
        written
    }

    /// Also when the keys were taken away: what was written before is ciphertext, and stays.
    fn flush(&self) -> Result<()> {
        if self.is_destroyed() {
            // Says why.
            self.disk.check()?;
        }
        self.disk.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let disk = &*self.disk;
        disk.check_write(offset, len)?;
        match &disk.cipher {
            Cipher::Ephemeral(cipher) => cipher.discard(&*disk.backing, offset, len)?,
            Cipher::Xts(cipher) => cipher.discard(&*disk.backing, offset, len),
        }
        disk.counters.discarded(len);
        Ok(())
    }

    fn write_zeroes(
        &self,
        offset: u64,
        len: u64,
        zeroes: Zeroes,
        durability: Durability,
    ) -> Result<()> {
        let disk = &*self.disk;
        let checked = disk.check_write(offset, len);
        let written = checked.and_then(|()| match &disk.cipher {
            Cipher::Ephemeral(cipher) => cipher.write_zeroes(&*disk.backing, offset, len, zeroes),
            Cipher::Xts(cipher) => cipher.write_zeroes(&*disk.backing, offset, len),
        });
        let written = written.and_then(|()| disk.finish(durability));
        disk.counters.written(len, &written);
        written
    }

    fn extents(&self, offset: u64, len: u64, found: &mut dyn FnMut(Extent) -> bool) -> Result<()> {
        self.disk.check_request(offset, len)?;
        match &self.disk.cipher {
            Cipher::Ephemeral(cipher) => cipher.extents(offset, len, found),
            Cipher::Xts(_) => {
                extent_runs::all_data(len, found);
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("id", &self.disk.id)
            .field("mode", &self.mode())
            .field("len", &self.disk.len)
            .field("backing", &self.disk.backing.name())
            .finish_non_exhaustive()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.watch = None;
        // Said aloud, since the thread may hold the disk for a moment longer.
        self.destroy();
    }
}

#[cfg(test)]
mod tests;
