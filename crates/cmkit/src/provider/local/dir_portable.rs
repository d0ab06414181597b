//! A directory by its path, for systems without Unix's descriptors and permission bits. There, that a directory is
//! private is the user's affair: under the user's profile it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::problem::{io_at, unusable};
use super::{MAX_FILE_LEN, TEMP_PREFIX};
use crate::error::{Error, Result};
use crate::file_lock::Locked;

const LOCK_FILE: &str = ".lock";

pub(super) struct Dir {
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
    Private,
    /// No regular file.
    Exposed,
}

impl Dir {
    /// Opens a directory. `None`: there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        Self::checked(path.to_owned(), fs::metadata(path))
    }

    pub(super) fn child(&self, name: &str) -> Result<Option<Self>> {
        let path = self.path_of(name)?;
        let metadata = fs::symlink_metadata(&path);
        Self::checked(path, metadata)
    }

    fn checked(path: PathBuf, metadata: io::Result<fs::Metadata>) -> Result<Option<Self>> {
        match metadata {
            Ok(metadata) if metadata.is_dir() => Ok(Some(Self { path })),
            Ok(_) => Err(unusable(format!(
                "{} is not a directory, as it has to be in a key directory; move it away",
                path.display()
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_at("open", &path, error)),
        }
    }

    /// Opens a directory, after making it and what is missing above it.
    pub(super) fn create_all(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(|error| io_at("create", path, error))?;
        Self::open(path)?.ok_or_else(|| io_at("open", path, io::ErrorKind::NotFound.into()))
    }

    /// Opens a directory below this one, after making it.
    pub(super) fn create_child(&self, name: &str) -> Result<Self> {
        Self::create_all(&self.path_of(name)?)
    }

    /// The names of what is inside, without those that aren't Unicode: none of ours is among them.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let failed = |error| io_at("list", &self.path, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        }
        Ok(names)
    }

    pub(super) fn presence(&self, name: &str) -> Result<Presence> {
        let path = self.path_of(name)?;
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Presence::Private),
            Ok(_) => Ok(Presence::Exposed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Presence::Absent),
            Err(error) => Err(io_at("look at", &path, error)),
        }
    }

    /// The content of a regular file. `None`: there is no file of this name.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let path = self.path_of(name)?;
        match self.presence(name)? {
            Presence::Absent => return Ok(None),
            Presence::Private => {}
            Presence::Exposed => {
                return Err(unusable(format!(
                    "key file {} is not a regular file; restore it from a backup",
                    path.display()
                )));
            }
        }
        let file = File::open(&path).map_err(|error| io_at("open", &path, error))?;
        // Never more than it was made for, so that the buffer doesn't move.
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE_LEN + 2));
        let limit = MAX_FILE_LEN as u64 + 1;
        file.take(limit)
            .read_to_end(&mut content)
            .map_err(|error| io_at("read", &path, error))?;
        if content.len() > MAX_FILE_LEN {
            return Err(unusable(format!(
                "key file {} is longer than {MAX_FILE_LEN} bytes and so is no key file; restore it \
                 from a backup",
                path.display()
            )));
        }
        Ok(Some(content))
    }

    /// Puts a file under a name that isn't taken yet, whole and on disk, or does nothing and says `false`.
    pub(super) fn publish(&self, name: &str, content: &[u8]) -> Result<bool> {
        let path = self.path_of(name)?;
        let temp = format!("{TEMP_PREFIX}{}", super::random_hex()?);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.path.join(&temp))
            .map_err(|error| io_at("create", &path, error))?;
        let published = file
            .write_all(content)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.rename_new(&temp, name));
        if !matches!(published, Ok(true)) {
            // What is left is a temporary file, which the next one to hold the lock removes.
            let _ = self.remove(&temp);
        }
        published.map_err(|error| io_at("write", &path, error))
    }

    /// Gives a file another name, unless that one is taken.
    pub(super) fn rename_new(&self, from: &str, to: &str) -> io::Result<bool> {
        match fs::hard_link(self.path.join(from), self.path.join(to)) {
            Ok(()) => fs::remove_file(self.path.join(from)).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a file. `false`: there was none.
    pub(super) fn remove(&self, name: &str) -> Result<bool> {
        let path = self.path_of(name)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(io_at("remove", &path, error)),
        }
    }

    /// Directories can't be waited for here.
    pub(super) fn sync(&self) -> Result<()> {
        self.sync_ancestors()
    }

    /// The file was waited for when it was written, and can't be again through a handle for reading.
    pub(super) fn sync_content(&self, name: &str) -> Result<()> {
        self.path_of(name).map(drop)
    }

    pub(super) fn sync_ancestors(&self) -> Result<()> {
        Ok(())
    }

    /// Waits for everybody else who changes this directory, then holds them off.
    pub(super) fn lock(&self) -> Result<Lock> {
        let path = self.path.join(LOCK_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| io_at("open", &path, error))?;
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
