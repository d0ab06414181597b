//! A disk as a mounted file system: FUSE, a loop device, mkfs, mount, and back.

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cmkit_scratch::mount::Lazily;
use cmkit_scratch::{
    BlockDevice, Content, FileSystem, FuseMount, LoopDevice, MemoryBacking, Mount, PlainDevice,
};
use tempfile::TempDir;

/// A disk all the way up. The fields are dropped in order, which takes everything down, also when a test fails.
struct Mounted {
    mount: Mount,
    device: LoopDevice,
    fuse: FuseMount,
    room: TempDir,
}

const MIB: usize = 1 << 20;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn memory(len: usize) -> Arc<dyn BlockDevice> {
    Arc::new(PlainDevice::new(MemoryBacking::new(len)))
}

fn dirs(room: &TempDir) -> (PathBuf, PathBuf) {
    let dirs = (room.path().join("fuse"), room.path().join("disk"));
    fs::create_dir(&dirs.0).unwrap();
    fs::create_dir(&dirs.1).unwrap();
    dirs
}

impl Mounted {
    fn new(disk: Arc<dyn BlockDevice>, file_system: FileSystem) -> Self {
        let room = tempfile::tempdir().unwrap();
        let (fuse, dir) = dirs(&room);
        let fuse = FuseMount::start(disk, &fuse).unwrap();
        let device = LoopDevice::attach(&fuse.file()).unwrap();
        file_system.make(device.path(), Content::Zeros).unwrap();
        let mount = Mount::new(device.path(), &dir, file_system).unwrap();
        Self {
            mount,
            device,
            fuse,
            room,
        }
    }

    fn end(mut self) {
        self.mount.unmount(soon()).unwrap();
        self.device.detach(soon()).unwrap();
        self.fuse.unmount(Lazily::No).unwrap();
    }
}

#[test]
fn a_file_is_written_and_everything_goes_away() {
    if !common::need_root() || !common::need("mkfs.ext4") {
        return;
    }
    let mounted = Mounted::new(memory(64 * MIB), FileSystem::Ext4);
    assert!(mounted.device.is_direct());
    let file = mounted.mount.dir().join("file");
    let text = "something ".repeat(100_000);
    fs::write(&file, &text).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    mounted.end();
}
