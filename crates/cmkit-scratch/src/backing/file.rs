//! A backing in a file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use cmkit::{Error, Result};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Backing, Punched, check, explain_end, read_only};
use crate::failure::{io as failed, len_of};

/// `f_type` of file systems that are memory: `TMPFS_MAGIC` and `RAMFS_MAGIC` of statfs(2).
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// What a backing is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading; others may read it too.
    ReadOnly,
    /// Reading and writing; nobody else may have it open through cmkit.
    ReadWrite,
}

/// Room in a file, through the page cache.
///
/// The file is sparse: it takes what was written, up to its length. It may be longer than the free space there is, because a job seldom fills its
/// disk, and what it discards is given back; when the space runs out, writes fail with
/// [`StorageFull`](io::ErrorKind::StorageFull) and what was written before stays readable.
///
/// While it is open the file is locked (`flock`): exclusively for writing, shared for reading. The lock goes with the backing, also when a forked
/// child still has the descriptor. Dropping it leaves the file where it is; an [`anonymous`](Self::anonymous) one is gone then.
///
/// It counts as [blocking](Backing::is_blocking) unless its file system is in memory: reads of what isn't in the page cache wait for the disk, and
/// several at a time reach twice the rate of one.
pub struct FileBacking {
    file: File,
    len: u64,
    name: String,
    access: Access,
    is_blocking: bool,
    /// That took the lock: a forked child mustn't let it go.
    process: u32,
}

impl FileBacking {
    /// Makes a sparse file of `len` bytes that only its owner may read (mode 0600).
    ///
    /// # Errors
    /// * [`Error::AlreadyExists`]: there is something of that name, if only a symbolic link.
    /// * [`Error::InvalidArgument`]: the file system can't have a file of that length.
    /// * [`Error::NotPermitted`], [`Error::Io`]: it can't be made.
    pub fn create(path: &Path, len: u64) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options
            .open(path)
            .map_err(|e| open_error("create", path, e))?;
        let name = path.display().to_string();
        let made = lock(&file, Access::ReadWrite, &name)
            .and_then(|()| set_len(&file, len, &name))
            .and_then(|()| Self::new(file, len, name, Access::ReadWrite));
        if made.is_err() {
            // Nothing is in it, and it is this call's.
            let _ = fs::remove_file(path);
        }
        made
    }

    /// Opens a file that is there, all of it. Symbolic links are followed.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: it isn't a regular file.
    /// * [`Error::Busy`]: another volume has it.
    /// * [`Error::NotPermitted`], [`Error::Io`]: it can't be opened.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::ReadWrite);
        // A pipe would wait for its other end.
        options.custom_flags(flags(OFlags::NONBLOCK | OFlags::NOCTTY));
        let file = options
            .open(path)
            .map_err(|e| open_error("open", path, e))?;
        let name = path.display().to_string();
        let metadata = file.metadata().map_err(|e| failed("look at", &name, e))?;
        if !metadata.is_file() {
            return Err(Error::InvalidArgument {
                problem: format!("{name}: it is not a regular file"),
            });
        }
        lock(&file, access, &name)?;
        // After the lock: whoever had it before may have changed it.
        let metadata = file.metadata().map_err(|e| failed("look at", &name, e))?;
        Self::new(file, metadata.len(), name, access)
    }

    /// Makes a sparse file of `len` bytes without a name, in the file system of `dir`: nobody else can open it, and nothing of it is left when
    /// the process ends, however it does.
    ///
    /// Where the file system has no such files (`O_TMPFILE`), it has a random name for a moment; a process killed in between leaves an empty file
    /// called `.cmkit-RANDOM`.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: the file system can't have a file of that length.
    /// * [`Error::NotPermitted`], [`Error::Io`]: it can't be made.
    pub fn anonymous(dir: &Path, len: u64) -> Result<Self> {
        // With EXCL it can't be given a name later either.
        let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => File::from(fd),
            // File systems and kernels without it, in their various words.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
                named_for_a_moment(dir)?
            }
            Err(e) => return Err(open_error("create a file in", dir, e.into())),
        };
        let name = format!("a nameless file in {}", dir.display());
        set_len(&file, len, &name)?;
        Self::new(file, len, name, Access::ReadWrite)
    }

    fn new(file: File, len: u64, name: String, access: Access) -> Result<Self> {
        let system = rustix::fs::fstatfs(&file).map_err(|e| failed("look at", &name, e.into()))?;
        Ok(Self {
            file,
            len,
            name,
            access,
            #[allow(clippy::unnecessary_cast)] // Its width depends on the platform.
            is_blocking: !IN_MEMORY.contains(&(system.f_type as i64)),
            process: std::process::id(),
        })
    }

    fn check_writable(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(read_only()),
        }
    }
}

/// As std takes them.
pub(super) fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

pub(super) fn open_error(operation: &'static str, path: &Path, error: io::Error) -> Error {
    let name = path.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists {
            what: name.to_string(),
        },
        io::ErrorKind::PermissionDenied => Error::NotPermitted {
            problem: format!(
                "cannot {operation} {name}: this user may not; run as its owner or as root"
            ),
        },
        _ => failed(operation, &name.to_string(), error),
    }
}

fn lock(file: &File, access: Access, name: &str) -> Result<()> {
    let locked = match access {
        Access::ReadWrite => file.try_lock(),
        Access::ReadOnly => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::Busy {
            problem: format!("{name}: another volume or program has it locked; end that first"),
        }),
        Err(TryLockError::Error(e)) => Err(failed("lock", name, e)),
    }
}

fn set_len(file: &File, len: u64, name: &str) -> Result<()> {
    file.set_len(len).map_err(|e| match e.kind() {
        io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput => Error::InvalidArgument {
            problem: format!(
                "{name}: its file system has no files of {len} bytes; ask for less, or use another file system"
            ),
        },
        _ => failed("set the length of", name, e),
    })
}

fn named_for_a_moment(dir: &Path) -> Result<File> {
    loop {
        // Random, so that nobody's file is hit; that it is new is the system's promise.
        let name = format!(".cmkit-{:016x}", RandomState::new().hash_one(0));
        let path = dir.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        match options.open(&path) {
            Ok(file) => {
                let removed = fs::remove_file(&path);
                removed.map_err(|e| failed("remove", &path.display().to_string(), e))?;
                return Ok(file);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(open_error("create a file in", dir, e)),
        }
    }
}

impl Backing for FileBacking {
    fn len(&self) -> u64 {
        self.len
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        check(offset, len_of(data), self.len)?;
        self.file.read_exact_at(data, offset).map_err(explain_end)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        check(offset, len_of(data), self.len)?;
        self.file.write_all_at(data, offset)
    }

    fn flush(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => self.file.sync_data(),
            Access::ReadOnly => Ok(()),
        }
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<Punched> {
        self.check_writable()?;
        check(offset, len, self.len)?;
        punch_hole(&self.file, offset, len)
    }

    fn is_blocking(&self) -> bool {
        self.is_blocking
    }

    fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }
}

pub(super) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<Punched> {
    if len == 0 {
        return Ok(Punched::Yes);
    }
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match rustix::fs::fallocate(file, how, offset, len) {
            Ok(()) => return Ok(Punched::Yes),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Punched::Unsupported),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

impl Drop for FileBacking {
    fn drop(&mut self) {
        // Closing alone leaves the lock to children that were forked meanwhile; they share it, and must leave it to their parent.
        if self.process == std::process::id() {
            let _ = self.file.unlock();
        }
    }
}

#[cfg(test)]
mod tests {
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
}
