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
use crate::failure::{io as failed, io_at, len_of};
use crate::origin::Origin;

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
    origin: Origin,
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
            origin: Origin::here(),
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
                removed.map_err(|e| io_at("remove", &path, e))?;
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

pub(crate) fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<Punched> {
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
        if self.origin.is_here() {
            let _ = self.file.unlock();
        }
    }
}

#[cfg(test)]
mod tests;
