//! A disk in memory that remembers what it was asked, and fails when it's told to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cmkit::{Error, Result};
use cmkit_scratch::{
    BlockDevice, Durability, Extent, ExtentKind, Geometry, MemoryBacking, PlainDevice, Zeroes,
};

pub(crate) struct TestDevice {
    plain: PlainDevice<MemoryBacking>,
    pub(crate) geometry: Geometry,
    /// Extents from the disk's beginning on; the rest is data.
    pub(crate) extents: Vec<(u64, ExtentKind)>,
    pub(crate) log: Mutex<Vec<String>>,
    /// Requests that touch this byte fail so.
    pub(crate) bad: Mutex<Option<(u64, Error)>>,
    pub(crate) slow: Option<Duration>,
}

/// The sentence of an error that is a panic instead.
pub(crate) const PANIC: &str = "panic";

pub(crate) fn disk(len: usize) -> TestDevice {
    TestDevice {
        plain: PlainDevice::new(MemoryBacking::new(len)),
        geometry: Geometry::new(4096),
        extents: Vec::new(),
        log: Mutex::default(),
        bad: Mutex::default(),
        slow: None,
    }
}

impl TestDevice {
    pub(crate) fn blocking(mut self) -> Self {
        self.geometry.is_blocking = true;
        self
    }

    pub(crate) fn fail(&self, at: u64, error: Error) {
        *self.bad.lock().unwrap() = Some((at, error));
    }

    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn asked(&self, what: String, offset: u64, len: u64) -> Result<()> {
        self.log.lock().unwrap().push(what);
        if let Some(slow) = self.slow {
            std::thread::sleep(slow);
        }
        let bad = self.bad.lock().unwrap().clone();
        match bad {
            Some((at, error)) if (offset..offset + len).contains(&at) => {
                assert!(error.to_string() != PANIC, "as a test asked for");
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

/// The same disk twice over: one that is served on the connection's thread, one with a pool.
pub(crate) fn both(len: usize) -> [Arc<TestDevice>; 2] {
    [Arc::new(disk(len)), Arc::new(disk(len).blocking())]
}

impl BlockDevice for TestDevice {
    fn len(&self) -> u64 {
        self.plain.len()
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> Result<()> {
        self.asked(
            format!("read {offset} {}", data.len()),
            offset,
            data.len() as u64,
        )?;
        self.plain.read_at(data, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64, durability: Durability) -> Result<()> {
        let what = format!("write {offset} {} {durability:?}", data.len());
        self.asked(what, offset, data.len() as u64)?;
        self.plain.write_at(data, offset, durability)
    }

    fn write_from(&self, data: &mut [u8], offset: u64, durability: Durability) -> Result<()> {
        let written = self.write_at(data, offset, durability);
        // As one that encrypts in place.
        data.fill(0xee);
        written
    }

    fn flush(&self) -> Result<()> {
        self.asked("flush".to_owned(), 0, 0)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.asked(format!("discard {offset} {len}"), offset, len)?;
        self.plain.discard(offset, len)
    }

    fn write_zeroes(
        &self,
        offset: u64,
        len: u64,
        zeroes: Zeroes,
        durability: Durability,
    ) -> Result<()> {
        let what = format!("zeroes {offset} {len} {zeroes:?} {durability:?}");
        self.asked(what, offset, len)?;
        self.plain.write_zeroes(offset, len, zeroes, durability)
    }

    fn extents(&self, offset: u64, len: u64, found: &mut dyn FnMut(Extent) -> bool) -> Result<()> {
        self.asked(format!("extents {offset} {len}"), 0, 0)?;
        let rest = (u64::MAX / 2, ExtentKind::Data);
        let (mut start, end) = (0, offset + len);
        for &(len, kind) in self.extents.iter().chain([&rest]) {
            let (from, to) = (start.max(offset), (start + len).min(end));
            start += len;
            if from < to
                && !found(Extent {
                    len: to - from,
                    kind,
                })
            {
                break;
            }
        }
        Ok(())
    }
}
