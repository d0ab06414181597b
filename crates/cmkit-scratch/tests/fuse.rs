//! The file that a disk is: plain file I/O, holes, limits, errors.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cmkit::{Error, ErrorKind, Result};
use cmkit_scratch::mount::Lazily;
use cmkit_scratch::{
    BlockDevice, Durability, Extent, ExtentKind, FuseMount, Geometry, MemoryBacking, PlainDevice,
    Zeroes,
};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use tempfile::TempDir;

use common::disk::{MIB, memory};
use common::run_program;

/// A disk as a file, until this is dropped.
struct Exposed {
    fuse: FuseMount,
    _room: TempDir,
}

impl Exposed {
    fn new(disk: Arc<dyn BlockDevice>) -> Self {
        let room = tempfile::tempdir().unwrap();
        let fuse = FuseMount::start(disk, room.path()).unwrap();
        Self { fuse, _room: room }
    }

    fn file(&self) -> PathBuf {
        self.fuse.file()
    }

    fn open(&self) -> File {
        let mut options = File::options();
        options.read(true).write(true).open(self.file()).unwrap()
    }
}

#[test]
fn the_file_is_the_disk() {
    if !common::need_root() {
        return;
    }
    let disk = memory(8 * MIB);
    let exposed = Exposed::new(Arc::clone(&disk));
    let metadata = fs::metadata(exposed.file()).unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o7777), (8 << 20, 0o600));
    let names: Vec<_> = fs::read_dir(exposed.fuse.dir())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["disk"]);

    let file = exposed.open();
    for (offset, len) in [(0, 1), (4095, 2), (1_000_003, 3_000_017), (8 << 20, 0)] {
        let data: Vec<u8> = (0..len)
            .map(|n: u32| n.wrapping_mul(7).to_le_bytes()[0] | 1)
            .collect();
        file.write_all_at(&data, offset).unwrap();
        let mut back = vec![0; data.len()];
        file.read_exact_at(&mut back, offset).unwrap();
        assert!(back == data);
        // Nothing lies between the file and the disk.
        disk.read_at(&mut back, offset).unwrap();
        assert!(back == data);
    }
    disk.write_at(b"behind its back", 0, Durability::Cached)
        .unwrap();
    let mut back = [0; 15];
    file.read_exact_at(&mut back, 0).unwrap();
    assert_eq!(&back, b"behind its back");
    file.sync_all().unwrap();
}

#[test]
fn the_size_is_fixed() {
    if !common::need_root() {
        return;
    }
    let exposed = Exposed::new(memory(MIB));
    let file = exposed.open();
    let end = 1 << 20;
    file.set_len(end).unwrap();
    for len in [0, end - 1, end + 1] {
        assert_eq!(
            file.set_len(len).unwrap_err().raw_os_error(),
            Some(libc_eperm())
        );
    }
    assert!(File::create(exposed.file()).is_err());
    // Up to the end, and no further.
    assert_eq!(file.write_at(&[1; 10], end - 4).unwrap(), 4);
    assert_eq!(
        file.write_at(&[1], end).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(file.read_at(&mut [0; 10], end - 4).unwrap(), 4);
    assert_eq!(file.read_at(&mut [0; 10], end).unwrap(), 0);
    for refused in [
        fs::remove_file(exposed.file()),
        fs::rename(exposed.file(), exposed.fuse.dir().join("x")),
        fs::write(exposed.fuse.dir().join("x"), "").map(|_| ()),
        fs::set_permissions(
            exposed.file(),
            std::os::unix::fs::PermissionsExt::from_mode(0o666),
        ),
    ] {
        assert!(refused.is_err());
    }
    assert_eq!(fs::metadata(exposed.file()).unwrap().len(), end);
}

fn libc_eperm() -> i32 {
    rustix::io::Errno::PERM.raw_os_error()
}

#[test]
fn holes_read_as_zeros() {
    if !common::need_root() {
        return;
    }
    let exposed = Exposed::new(memory(MIB));
    let file = exposed.open();
    file.write_all_at(&[7; MIB], 0).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 1000, 100_000).unwrap();
    rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 500_000, 5).unwrap();
    // As on any file, what is beyond the end of a hole doesn't matter.
    rustix::fs::fallocate(&file, punch, (1 << 20) - 10, 4096).unwrap();
    let mut expected = vec![7; MIB];
    expected[1000..101_000].fill(0);
    expected[500_000..500_005].fill(0);
    expected[MIB - 10..].fill(0);
    assert!(fs::read(exposed.file()).unwrap() == expected);
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).unwrap();
    assert!(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, (1 << 20) + 1).is_err());
    assert!(rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096).is_err());
}

/// A disk with faults: what it says is what the system's numbers are made from.
struct Faulty {
    inner: PlainDevice<MemoryBacking>,
    flushes: AtomicU64,
    durable: AtomicU64,
}

impl Faulty {
    fn new() -> Self {
        let (flushes, durable) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            inner: PlainDevice::new(MemoryBacking::new(MIB)),
            flushes,
            durable,
        }
    }

    /// Faults lie in blocks of their own.
    fn check(offset: u64) -> Result<()> {
        let io = |code| Error::Io {
            operation: "write",
            path: None,
            source: Arc::new(io::Error::from_raw_os_error(code)),
        };
        match offset / 4096 {
            10 => Err(Error::DamagedBlock { block: 10 }),
            11 => Err(io(rustix::io::Errno::NOSPC.raw_os_error())),
            12 => Err(io(rustix::io::Errno::AGAIN.raw_os_error())),
            13 => Err(Error::InvalidState {
                problem: "destroyed",
            }),
            _ => Ok(()),
        }
    }
}

impl BlockDevice for Faulty {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> Result<()> {
        Self::check(offset)?;
        self.inner.read_at(data, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64, durability: Durability) -> Result<()> {
        Self::check(offset)?;
        self.durable.fetch_add(
            u64::from(durability == Durability::Durable),
            Ordering::SeqCst,
        );
        self.inner.write_at(data, offset, durability)
    }

    fn flush(&self) -> Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
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

    /// The second quarter is a hole.
    fn extents(&self, offset: u64, len: u64, found: &mut dyn FnMut(Extent) -> bool) -> Result<()> {
        let quarter = 1 << 18;
        let parts = [
            (quarter, ExtentKind::Data),
            (2 * quarter, ExtentKind::Zero),
            (4 * quarter, ExtentKind::Data),
        ];
        let mut at = offset;
        for (end, kind) in parts {
            let end = end.min(offset + len);
            if at < end {
                if !found(Extent {
                    len: end - at,
                    kind,
                }) {
                    break;
                }
                at = end;
            }
        }
        Ok(())
    }
}

#[test]
fn errors_become_numbers_and_pass() {
    if !common::need_root() {
        return;
    }
    let exposed = Exposed::new(Arc::new(Faulty::new()));
    let file = exposed.open();
    let eio = rustix::io::Errno::IO.raw_os_error();
    for block in [10, 12, 13] {
        let error = file.read_at(&mut [0; 4096], block * 4096).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(eio), "block {block}");
        let error = file.write_at(&[0; 4096], block * 4096).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(eio), "block {block}");
    }
    let error = file.write_at(&[0; 4096], 11 * 4096).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    file.write_all_at(&[0; 4096], 14 * 4096).unwrap();
}

#[test]
fn flushes_and_durable_writes_reach_the_disk() {
    if !common::need_root() {
        return;
    }
    let disk = Arc::new(Faulty::new());
    let exposed = Exposed::new(disk.clone());
    let file = exposed.open();
    file.write_all_at(b"x", 0).unwrap();
    assert_eq!(disk.durable.load(Ordering::SeqCst), 0);
    assert_eq!(disk.flushes.load(Ordering::SeqCst), 0);
    file.sync_data().unwrap();
    assert_eq!(disk.flushes.load(Ordering::SeqCst), 1);
    let dsync = OFlags::DSYNC.bits().cast_signed();
    let mut options = File::options();
    let file = options
        .write(true)
        .custom_flags(dsync)
        .open(exposed.file())
        .unwrap();
    file.write_all_at(b"x", 0).unwrap();
    assert!(disk.durable.load(Ordering::SeqCst) >= 1);
}

#[test]
fn data_and_holes_are_found() {
    if !common::need_root() {
        return;
    }
    let exposed = Exposed::new(Arc::new(Faulty::new()));
    let file = exposed.open();
    let quarter = 1 << 18;
    let seek = |at| rustix::fs::seek(&file, at);
    assert_eq!(seek(SeekFrom::Data(5)), Ok(5));
    assert_eq!(seek(SeekFrom::Hole(5)), Ok(quarter));
    assert_eq!(seek(SeekFrom::Data(quarter + 5)), Ok(2 * quarter));
    assert_eq!(seek(SeekFrom::Hole(2 * quarter)), Ok(4 * quarter));
    assert_eq!(
        seek(SeekFrom::Data(4 * quarter)),
        Err(rustix::io::Errno::NXIO)
    );
}

#[test]
fn an_open_file_is_busy_and_a_lazy_unmount_is_not() {
    if !common::need_root() {
        return;
    }
    let mut exposed = Exposed::new(memory(MIB));
    let file = exposed.open();
    file.write_all_at(b"x", 0).unwrap();
    let error = exposed.fuse.unmount(Lazily::No).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    let pid = format!("(pid {}, has a file open)", std::process::id());
    assert!(error.to_string().contains(&pid), "{error}");
    exposed.fuse.stop();
    assert!(file.read_at(&mut [0], 0).is_err());
    drop(file);
    exposed.fuse.unmount(Lazily::No).unwrap();
    exposed.fuse.unmount(Lazily::No).unwrap();
    assert!(!exposed.file().exists());

    let room = tempfile::tempdir().unwrap();
    let mut fuse = FuseMount::start(memory(MIB), room.path()).unwrap();
    let file = File::open(fuse.file()).unwrap();
    fuse.unmount(Lazily::Yes).unwrap();
    assert!(fs::read_dir(room.path()).unwrap().next().is_none());
    file.read_exact_at(&mut [0; 5], 0).unwrap();
}

#[test]
fn what_is_mounted_below_stays() {
    if !common::need_root() {
        return;
    }
    for lazily in [Lazily::No, Lazily::Yes] {
        let room = tempfile::tempdir().unwrap();
        common::run_program(
            "mount",
            &["-t", "tmpfs", "somebodys"]
                .map(Path::new)
                .into_iter()
                .chain([room.path()])
                .collect::<Vec<_>>(),
        );
        let mut fuse = FuseMount::start(memory(MIB), room.path()).unwrap();
        let open = (lazily == Lazily::Yes).then(|| File::open(fuse.file()).unwrap());
        fuse.unmount(lazily).unwrap();
        drop(fuse);
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let stays = table.contains(room.path().to_str().unwrap());
        drop(open);
        common::run_program("umount", &[room.path()]);
        assert!(stays, "{lazily:?}");
    }
}

#[test]
fn fsx_finds_nothing_on_the_file() {
    if !common::need_root() || !common::need("fsx") {
        return;
    }
    let exposed = Exposed::new(memory(MIB));
    let room = tempfile::tempdir().unwrap();
    let config = room.path().join("fsx.toml");
    // What FUSE can't do past the page cache: mapping.
    let text = "blockmode = true\n[weights]\ntruncate = 0.0\nmapread = 0.0\nmapwrite = 0.0\nfsync = 1.0\nfdatasync = 1.0\npunch_hole = 3.0\n";
    fs::write(&config, text).unwrap();
    let paths = [&config, room.path(), &exposed.file()]
        .map(|path: &std::path::Path| path.to_str().unwrap().to_owned());
    run_program(
        "fsx",
        &[
            "-S", "7", "-N", "3000", "-f", &paths[0], "-P", &paths[1], &paths[2],
        ],
    );
}
