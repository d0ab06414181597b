//! A private directory, held open: everything below it is reached through its descriptor, and what is
//! checked is what was opened.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use zeroize::Zeroizing;

use super::problem::{denied, io_at, unusable};
use super::{MAX_FILE_LEN, TEMP_PREFIX};
use crate::error::{Error, Result};
use crate::file_lock::Locked;

const LOCK_FILE: &str = ".lock";

pub(super) struct Dir {
    file: File,
    path: PathBuf,
}

/// Held while a directory is being changed; other threads and processes wait for it.
pub(super) struct Lock {
    _file: Locked,
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    /// A regular file that nobody else can read.
    Private,
    /// A file with group or other bits, of another user, or no regular file.
    Exposed,
}

impl Dir {
    /// Opens a directory and checks that it is private. `None`: there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        // The home directory itself may be reached through symbolic links; nothing below it may.
        let opened = rustix::fs::open(path, directory_flags(), Mode::empty());
        Self::checked(opened, path.to_owned())
    }

    pub(super) fn child(&self, name: &str) -> Result<Option<Self>> {
        let path = self.path_of(name)?;
        let flags = directory_flags() | OFlags::NOFOLLOW;
        Self::checked(
            rustix::fs::openat(&self.file, name, flags, Mode::empty()),
            path,
        )
    }

    fn checked(
        opened: rustix::io::Result<std::os::fd::OwnedFd>,
        path: PathBuf,
    ) -> Result<Option<Self>> {
        let file = match opened {
            Ok(fd) => File::from(fd),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                return Err(unusable(format!(
                    "{} is not a directory, as it has to be in a key directory; move it away",
                    path.display()
                )));
            }
            Err(error) => return Err(io_at("open", &path, error.into())),
        };
        check_private(&file, &path, "directory", 0o700)?;
        Ok(Some(Self { file, path }))
    }

    /// Opens a directory, after making it and what is missing above it, mode 0700.
    pub(super) fn create_all(path: &Path) -> Result<Self> {
        if let Some(dir) = Self::open(path)? {
            return Ok(dir);
        }
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|p| !p.as_os_str().is_empty() && !p.exists())
            .collect();
        for dir in missing.into_iter().rev() {
            match rustix::fs::mkdir(dir, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {
                    if let Some(parent) = dir.parent() {
                        sync_directory(parent)?;
                    }
                }
                Err(error) => return Err(io_at("create", dir, error.into())),
            }
        }
        Self::open(path)?.ok_or_else(|| io_at("open", path, io::ErrorKind::NotFound.into()))
    }

    /// Opens a directory below this one, after making it, mode 0700.
    pub(super) fn create_child(&self, name: &str) -> Result<Self> {
        if let Some(dir) = self.child(name)? {
            return Ok(dir);
        }
        let path = self.path_of(name)?;
        match rustix::fs::mkdirat(&self.file, name, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => self.sync()?,
            Err(error) => return Err(io_at("create", &path, error.into())),
        }
        self.child(name)?
            .ok_or_else(|| io_at("open", &path, io::ErrorKind::NotFound.into()))
    }

    /// The names of what is inside, without those that aren't UTF-8: none of ours is among them.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let failed = |error: rustix::io::Errno| io_at("list", &self.path, error.into());
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.file).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    pub(super) fn presence(&self, name: &str) -> Result<Presence> {
        let path = self.path_of(name)?;
        match rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let mode = stat.st_mode as rustix::fs::RawMode;
                let regular = FileType::from_raw_mode(mode) == FileType::RegularFile;
                let private = regular && mode & 0o077 == 0 && is_trusted_owner(stat.st_uid);
                Ok(if private {
                    Presence::Private
                } else {
                    Presence::Exposed
                })
            }
            Err(rustix::io::Errno::NOENT) => Ok(Presence::Absent),
            Err(error) => Err(io_at("look at", &path, error.into())),
        }
    }

    /// The content of a private regular file. `None`: there is no file of this name.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let Some((mut file, len)) = self.open_file(name)? else {
            return Ok(None);
        };
        // One byte more than the file has, so that its end is seen without the buffer moving.
        let mut content = Zeroizing::new(vec![0; len + 1]);
        let mut filled = 0;
        loop {
            match file.read(&mut content[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_at("read", &self.path.join(name), error)),
            }
        }
        content.truncate(filled);
        Ok(Some(content))
    }

    fn open_file(&self, name: &str) -> Result<Option<(File, usize)>> {
        let path = self.path_of(name)?;
        // NONBLOCK: opening a FIFO that someone left here must not wait for its other end.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.file, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => {
                return Err(unusable(format!(
                    "key file {} is a symbolic link; put the file itself there",
                    path.display()
                )));
            }
            Err(error) => return Err(io_at("open", &path, error.into())),
        };
        let metadata = file
            .metadata()
            .map_err(|error| io_at("look at", &path, error))?;
        if !metadata.is_file() {
            return Err(unusable(format!(
                "key file {} is not a regular file; restore it from a backup",
                path.display()
            )));
        }
        check_private(&file, &path, "key file", 0o600)?;
        match usize::try_from(metadata.len()) {
            Ok(len) if len <= MAX_FILE_LEN => Ok(Some((file, len))),
            _ => Err(unusable(format!(
                "key file {} is longer than {MAX_FILE_LEN} bytes and so is no key file; restore it \
                 from a backup",
                path.display()
            ))),
        }
    }

    /// Puts a file under a name that isn't taken yet, whole and on disk, or does nothing and says `false`.
    ///
    /// The entry of this directory is on disk too when this returns.
    pub(super) fn publish(&self, name: &str, content: &[u8]) -> Result<bool> {
        let path = self.path_of(name)?;
        let temp = temp_name()?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = rustix::fs::openat(&self.file, &temp, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| io_at("create", &path, error.into()))?;
        let published = file
            .write_all(content)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.rename_new(&temp, name));
        if !matches!(published, Ok(true)) {
            // What is left is a temporary file, which the next one to hold the lock removes.
            let _ = self.remove(&temp);
        }
        let published = published.map_err(|error| io_at("write", &path, error))?;
        self.sync()?;
        Ok(published)
    }

    /// Gives a file another name, unless that one is taken.
    pub(super) fn rename_new(&self, from: &str, to: &str) -> io::Result<bool> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{RenameFlags, renameat_with};
            match renameat_with(&self.file, from, &self.file, to, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(true),
                Err(rustix::io::Errno::EXIST) => return Ok(false),
                // Some file systems don't know the flag; they have hard links instead.
                Err(
                    rustix::io::Errno::INVAL
                    | rustix::io::Errno::NOSYS
                    | rustix::io::Errno::OPNOTSUPP,
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match rustix::fs::linkat(&self.file, from, &self.file, to, AtFlags::empty()) {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        rustix::fs::unlinkat(&self.file, from, AtFlags::empty())?;
        Ok(true)
    }

    /// Removes a file. `false`: there was none.
    pub(super) fn remove(&self, name: &str) -> Result<bool> {
        let path = self.path_of(name)?;
        match rustix::fs::unlinkat(&self.file, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(io_at("remove", &path, error.into())),
        }
    }

    /// Waits until the entries of this directory are on disk.
    pub(super) fn sync(&self) -> Result<()> {
        sync_file(&self.file, &self.path)
    }

    /// Waits until a file's content is on disk.
    pub(super) fn sync_content(&self, name: &str) -> Result<()> {
        match self.open_file(name)? {
            Some((file, _)) => sync_file(&file, &self.path.join(name)),
            None => Ok(()),
        }
    }

    /// Waits until the directories above are on disk, as far as the system lets this user ask for it: they
    /// may have been made by a process that died before it asked.
    pub(super) fn sync_ancestors(&self) -> Result<()> {
        for dir in self.path.ancestors().skip(1) {
            sync_directory(dir)?;
        }
        Ok(())
    }

    /// Waits for everybody else who changes this directory, then holds them off.
    pub(super) fn lock(&self) -> Result<Lock> {
        let path = self.path.join(LOCK_FILE);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.file, LOCK_FILE, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| io_at("open", &path, error.into()))?;
        let file = Locked::new(file).map_err(|error| io_at("lock", &path, error))?;
        Ok(Lock { _file: file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where a name in this directory is, after making sure that it stays in this directory.
    fn path_of(&self, name: &str) -> Result<PathBuf> {
        let stays = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        if !stays || name.is_empty() || name == "." || name == ".." {
            return Err(Error::invalid(format!(
                "{name:?} is no name of a key or of its files"
            )));
        }
        Ok(self.path.join(name))
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// A name for a file that isn't whole yet.
pub(super) fn temp_name() -> Result<String> {
    Ok(format!("{TEMP_PREFIX}{}", super::random_hex()?))
}

fn sync_directory(dir: &Path) -> Result<()> {
    match File::open(dir) {
        Ok(opened) => sync_file(&opened, dir),
        // One may enter and change directories that one may not open.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(io_at("open", dir, error)),
    }
}

fn sync_file(file: &File, path: &Path) -> Result<()> {
    match file.sync_all() {
        Ok(()) => Ok(()),
        // Read-only and some network file systems refuse: there is nothing to wait for.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(io_at("sync", path, error)),
    }
}

/// Refuses what others could read or replace. Root could anyway, so what belongs to root is trusted.
fn check_private(file: &File, path: &Path, what: &str, right_mode: u32) -> Result<()> {
    let metadata = file
        .metadata()
        .map_err(|error| io_at("look at", path, error))?;
    let path = path.display();
    if !is_trusted_owner(metadata.uid()) {
        return Err(denied(format!(
            "{what} {path} belongs to user {}, who could change it; run `chown {} {path}` if you \
             trust what is in it",
            metadata.uid(),
            effective_user()
        )));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(denied(format!(
            "{what} {path} has mode {mode:04o}, so others than its owner can get at keys; run \
             `chmod {right_mode:o} {path}`"
        )));
    }
    Ok(())
}

fn is_trusted_owner(user: u32) -> bool {
    user == 0 || user == effective_user()
}

/// The user as whom this process opens files.
fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}
