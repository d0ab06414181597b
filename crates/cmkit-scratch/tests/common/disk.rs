//! Disks that aren't encrypted, and a disk all the way up.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use cmkit::Result;
use cmkit_scratch::mount::Lazily;
use cmkit_scratch::{
    Backing, BlockDevice, Content, Durability, Extent, FileSystem, FuseMount, Geometry, LoopDevice,
    MemoryBacking, Mount, PlainDevice, Punched, Zeroes,
};
use tempfile::TempDir;

/// A disk all the way up. The fields are dropped in order, which takes everything down, also when a test fails.
pub(crate) struct Mounted {
    pub(crate) mount: Mount,
    pub(crate) device: LoopDevice,
    pub(crate) fuse: FuseMount,
    pub(crate) room: TempDir,
}

/// The same without a file system.
pub(crate) struct Device {
    pub(crate) device: LoopDevice,
    pub(crate) fuse: FuseMount,
    pub(crate) room: TempDir,
}

pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(crate) fn memory(len: usize) -> Arc<dyn BlockDevice> {
    Arc::new(PlainDevice::new(MemoryBacking::new(len)))
}

pub(crate) fn dirs(room: &TempDir) -> (PathBuf, PathBuf) {
    let dirs = (room.path().join("fuse"), room.path().join("disk"));
    fs::create_dir(&dirs.0).unwrap();
    fs::create_dir(&dirs.1).unwrap();
    dirs
}

impl Mounted {
    pub(crate) fn new(disk: Arc<dyn BlockDevice>, file_system: FileSystem) -> Self {
        let Device { device, fuse, room } = Self::device_only(disk);
        file_system.make(device.path(), Content::Zeros).unwrap();
        let mount = Mount::new(device.path(), &room.path().join("disk"), file_system).unwrap();
        Self {
            mount,
            device,
            fuse,
            room,
        }
    }

    pub(crate) fn device_only(disk: Arc<dyn BlockDevice>) -> Device {
        let room = tempfile::tempdir().unwrap();
        let (fuse, _) = dirs(&room);
        let fuse = FuseMount::start(disk, &fuse).unwrap();
        let device = LoopDevice::attach(&fuse.file()).unwrap();
        Device { device, fuse, room }
    }

    pub(crate) fn end(mut self) {
        self.mount.unmount(soon()).unwrap();
        self.device.detach(soon()).unwrap();
        self.fuse.unmount(Lazily::No).unwrap();
    }
}

/// A file as it is.
pub(crate) struct FileBacking {
    file: File,
    len: u64,
}

impl FileBacking {
    pub(crate) fn create(path: &Path, len: u64) -> Self {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        let file = options.open(path).unwrap();
        file.set_len(len).unwrap();
        Self { file, len }
    }
}

impl Backing for FileBacking {
    fn len(&self) -> u64 {
        self.len
    }

    fn name(&self) -> &str {
        "file"
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn punch(&self, _: u64, _: u64) -> io::Result<Punched> {
        Ok(Punched::Unsupported)
    }
}

/// A disk whose writes wait while its gate is closed.
pub(crate) struct Gated {
    inner: Arc<dyn BlockDevice>,
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gated {
    pub(crate) fn new(inner: Arc<dyn BlockDevice>) -> Self {
        Self {
            inner,
            closed: Mutex::new(false),
            opened: Condvar::new(),
        }
    }

    pub(crate) fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    pub(crate) fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }
}

impl BlockDevice for Gated {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> Result<()> {
        self.inner.read_at(data, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64, durability: Durability) -> Result<()> {
        let closed = self.closed.lock().unwrap();
        drop(self.opened.wait_while(closed, |closed| *closed).unwrap());
        self.inner.write_at(data, offset, durability)
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.discard(offset, len)
    }

    fn write_zeroes(
        &self,
        offset: u64,
        len: u64,
        zeroes: Zeroes,
        durability: Durability,
    ) -> Result<()> {
        self.inner.write_zeroes(offset, len, zeroes, durability)
    }

    fn extents(&self, offset: u64, len: u64, found: &mut dyn FnMut(Extent) -> bool) -> Result<()> {
        self.inner.extents(offset, len, found)
    }
}
