//! Files of every kind.

use super::*;
use cmkit::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, symlink};

const LEN: u64 = 1 << 20;

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().unwrap().kind()
}

#[test]
fn a_new_file_is_private_sparse_and_never_an_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let backing = FileBacking::create(&path, 1 << 40).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.len(), metadata.blocks()), (1 << 40, 0));
    assert_eq!(metadata.mode() & 0o7777, 0o600);
    assert_eq!(backing.len(), 1 << 40);
    assert_eq!(backing.name(), path.display().to_string());
    assert_eq!(
        kind(FileBacking::create(&path, 1)),
        ErrorKind::AlreadyExists
    );

    let link = dir.path().join("link");
    symlink(dir.path().join("nowhere"), &link).unwrap();
    assert_eq!(
        kind(FileBacking::create(&link, 1)),
        ErrorKind::AlreadyExists
    );
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn bytes_come_back_and_holes_are_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let backing = FileBacking::create(&path, LEN).unwrap();
    backing.write_at(&[7; 100_000], 4097).unwrap();
    backing.flush().unwrap();
    let mut data = vec![0; 100_002];
    backing.read_at(&mut data, 4096).unwrap();
    assert_eq!((data[0], data[100_001]), (0, 0));
    assert!(data[1..100_001].iter().all(|b| *b == 7));
    let before = fs::metadata(&path).unwrap().blocks();
    if backing.punch(0, LEN).unwrap() == Punched::Yes {
        assert!(fs::metadata(&path).unwrap().blocks() < before);
    }
    assert_eq!(backing.punch(5, 0).unwrap(), Punched::Yes);
    assert_eq!(fs::metadata(&path).unwrap().len(), LEN);
}

#[test]
fn nothing_reaches_beyond_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let backing = FileBacking::anonymous(dir.path(), LEN).unwrap();
    let end = io::ErrorKind::UnexpectedEof;
    for offset in [LEN - 1, LEN, u64::MAX - 1, u64::MAX] {
        assert_eq!(backing.write_at(&[1; 2], offset).unwrap_err().kind(), end);
        assert_eq!(
            backing.read_at(&mut [1; 2], offset).unwrap_err().kind(),
            end
        );
        assert_eq!(backing.punch(offset, 2).unwrap_err().kind(), end);
    }
    assert_eq!(backing.file.metadata().unwrap().len(), LEN);
}

#[test]
fn a_file_that_became_shorter_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let backing = FileBacking::create(&path, LEN).unwrap();
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    let error = backing.read_at(&mut [0; 10], 95).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("shorter"), "{error}");
}

#[test]
fn one_writer_or_many_readers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let writer = FileBacking::create(&path, LEN).unwrap();
    assert_eq!(
        kind(FileBacking::open(&path, Access::ReadOnly)),
        ErrorKind::Busy
    );
    assert_eq!(
        kind(FileBacking::open(&path, Access::ReadWrite)),
        ErrorKind::Busy
    );
    // What a child has that was forked meanwhile: the same open file.
    let inherited = writer.file.try_clone().unwrap();
    drop(writer);
    let readers = [(); 2].map(|()| FileBacking::open(&path, Access::ReadOnly).unwrap());
    assert!(readers[0].is_read_only());
    assert_eq!(
        kind(FileBacking::open(&path, Access::ReadWrite)),
        ErrorKind::Busy
    );
    let refused = readers[0].write_at(&[1], 0).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
    readers[0].flush().unwrap();
    drop((readers, inherited));
    let writer = FileBacking::open(&path, Access::ReadWrite).unwrap();
    assert_eq!(writer.len(), LEN);
    writer.write_at(&[1], LEN - 1).unwrap();
}

#[test]
fn only_regular_files_are_files() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    for path in [dir.path(), &pipe, Path::new("/dev/null")] {
        let error = FileBacking::open(path, Access::ReadOnly).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("regular"), "{error}");
    }
    let missing = FileBacking::open(&dir.path().join("none"), Access::ReadOnly);
    assert_eq!(
        missing.err().unwrap().io().unwrap().kind(),
        io::ErrorKind::NotFound
    );
}

#[test]
fn a_nameless_file_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let is_empty = || fs::read_dir(dir.path()).unwrap().next().is_none();
    let backing = FileBacking::anonymous(dir.path(), LEN).unwrap();
    backing.write_at(b"here", 10).unwrap();
    assert!(is_empty());
    assert!(backing.name().contains("nameless"));
    // What is done where the file system has none.
    let file = named_for_a_moment(dir.path()).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    assert!(is_empty());
    let missing = FileBacking::anonymous(&dir.path().join("none"), LEN);
    assert_eq!(kind(missing), ErrorKind::Io);
}

#[test]
fn a_length_that_no_file_has_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    for len in [u64::MAX, i64::MAX as u64 + 1] {
        assert_eq!(
            kind(FileBacking::create(&path, len)),
            ErrorKind::InvalidArgument
        );
        assert!(!path.exists());
        assert_eq!(
            kind(FileBacking::anonymous(dir.path(), len)),
            ErrorKind::InvalidArgument
        );
    }
}

#[test]
fn memory_does_not_block() {
    let shm = Path::new("/dev/shm");
    if FileBacking::anonymous(shm, 1).is_ok_and(|b| b.is_blocking()) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(" /dev/shm tmpfs "), "{mounts}");
    }
}

/// A file system in memory that has 1 MiB; unmounted on drop.
struct SmallFileSystem(tempfile::TempDir);

impl SmallFileSystem {
    /// `None`, said so, where there are no mounts; in CI that is a failure.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "none"])
            .arg(dir.path())
            .output();
        if made.as_ref().is_ok_and(|o| o.status.success()) {
            return Some(Self(dir));
        }
        assert!(std::env::var_os("CI").is_none(), "no mount: {made:?}");
        eprintln!("skipped, no mount: {made:?}");
        None
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let unmount = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
        if !unmount.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.path().display());
        }
    }
}

#[test]
fn space_runs_out_and_comes_back() {
    let Some(system) = SmallFileSystem::new() else {
        return;
    };
    let backing = FileBacking::create(&system.0.path().join("disk"), 8 << 20).unwrap();
    assert!(!backing.is_blocking());
    let block = vec![7; 256 << 10];
    let places = || (0..8 << 20).step_by(block.len());
    let full = places().find_map(|at| Some((at, backing.write_at(&block, at).err()?)));
    let (full_at, error) = full.unwrap();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(full_at > 0);
    let mut data = vec![0; block.len()];
    backing.read_at(&mut data, 0).unwrap();
    assert!(data == block);
    assert_eq!(backing.punch(0, full_at).unwrap(), Punched::Yes);
    backing.write_at(&block, full_at).unwrap();
}
