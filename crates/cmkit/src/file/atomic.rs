//! A file that appears under its name when it is whole, or never.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::crypto;
use crate::durable::{directory_of, sync_dir};
use crate::error::{Error, Result};

/// Bytes in the longest file name of the usual file systems.
const MAX_NAME_LEN: usize = 255;

/// What to do when a destination exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overwrite {
    /// Fail with [`Error::AlreadyExists`], whoever made it and however late.
    #[default]
    Refuse,
    /// Put the new file in its place, in one step. A symbolic link is replaced itself; what it points to stays.
    Replace,
}

/// A file that is written under a temporary name and gets its own with [`commit`](Self::commit), whole and on the disk.
///
/// The temporary file is in the destination's directory, named `.NAME.RANDOM.cmk-tmp`, and only its owner may read it (mode 0600). Dropping it
/// uncommitted removes it, but not in a process forked from the one that made it. When the process is killed it stays; it may be deleted.
///
/// ```
/// use std::io::Write;
/// use cmkit::{AtomicFile, Overwrite};
///
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("report");
/// let mut file = AtomicFile::create(&path, Overwrite::Refuse)?;
/// file.write_all(b"all of it")?;
/// assert!(!path.exists());
/// file.commit(None)?;
/// assert_eq!(std::fs::read(&path)?, b"all of it");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: Temporary,
    destination: PathBuf,
    overwrite: Overwrite,
}

/// The temporary name; removed on drop unless it is gone already.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    process: u32,
    is_there: bool,
}

impl AtomicFile {
    /// Begins a file that is to be called `destination`.
    ///
    /// # Errors
    /// * [`Error::AlreadyExists`]: the destination exists, with [`Overwrite::Refuse`].
    /// * [`Error::InvalidArgument`]: the destination is a directory, a device or a pipe, or has no file name.
    /// * [`Error::Io`]: the temporary file can't be created.
    pub fn create(destination: &Path, overwrite: Overwrite) -> Result<Self> {
        check_destination(destination, overwrite)?;
        let name = file_name(destination)?;
        loop {
            let path = directory_of(destination).join(temporary_name(name)?);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            match options.open(&path) {
                Ok(file) => {
                    let temporary = Temporary {
                        path,
                        process: std::process::id(),
                        is_there: true,
                    };
                    return Ok(Self {
                        file,
                        temporary,
                        destination: destination.to_owned(),
                        overwrite,
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io_at("create", destination, e)),
            }
        }
    }

    /// Syncs the file, gives it its permissions (`None`: those it has, read and write for the owner) and its name, and syncs the directory.
    ///
    /// Of the permissions only those to read, write and execute count: no set-user-id bit is carried over to other content.
    ///
    /// # Errors
    /// * [`Error::AlreadyExists`]: the destination has come to exist meanwhile, with [`Overwrite::Refuse`].
    /// * [`Error::InvalidState`]: this process was forked from the one that made the file.
    /// * [`Error::Io`]: something failed; the destination is as it was, unless only the directory's sync did.
    pub fn commit(mut self, permissions: Option<Permissions>) -> Result<()> {
        if self.temporary.process != std::process::id() {
            return Err(Error::InvalidState {
                problem: "this file was begun in another process; after a fork begin a new one",
            });
        }
        let fail = |operation, e| Error::io_at(operation, &self.destination, e);
        if let Some(permissions) = permissions {
            self.file
                .set_permissions(without_special_bits(permissions))
                .map_err(|e| fail("set the mode of", e))?;
        }
        self.file.sync_all().map_err(|e| fail("sync", e))?;
        match self.overwrite {
            Overwrite::Replace => fs::rename(&self.temporary.path, &self.destination),
            Overwrite::Refuse => rename_unless_there(&self.temporary.path, &self.destination),
        }
        .map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => already_exists(&self.destination),
            _ => fail("create", e),
        })?;
        self.temporary.is_there = false;
        sync_dir(directory_of(&self.destination))
    }

    /// Where the file will be.
    #[must_use]
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Gives the file the owner and group of another one, as far as this user may.
    #[cfg(unix)]
    pub(crate) fn keep_owner_of(&self, other: &fs::Metadata) {
        use std::os::unix::fs::{MetadataExt, fchown};
        // Only root may give files away; a group that one is in goes without it.
        if fchown(&self.file, Some(other.uid()), Some(other.gid())).is_err() {
            let _ = fchown(&self.file, None, Some(other.gid()));
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn keep_owner_of(&self, _: &fs::Metadata) {}

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Write for AtomicFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A child's copy is not the child's to remove: the parent still writes it.
        if self.is_there && self.process == std::process::id() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Refuses what could not be committed, before any work is done.
pub(super) fn check_destination(destination: &Path, overwrite: Overwrite) -> Result<()> {
    // Through links, so that nothing is put in the place of a link to a device.
    match fs::metadata(destination) {
        Ok(there) if there.is_dir() => {
            let problem = "it is a directory; name a file in it";
            return Err(Error::invalid(problem).in_file(destination));
        }
        Ok(there) if !there.is_file() => {
            let problem = "it is a device or a pipe; write a stream to it instead";
            return Err(Error::invalid(problem).in_file(destination));
        }
        _ => {}
    }
    file_name(destination)?;
    if overwrite == Overwrite::Refuse && fs::symlink_metadata(destination).is_ok() {
        return Err(already_exists(destination));
    }
    Ok(())
}

fn already_exists(destination: &Path) -> Error {
    Error::AlreadyExists {
        what: destination.display().to_string(),
    }
}

fn file_name(path: &Path) -> Result<&OsStr> {
    path.file_name()
        .ok_or_else(|| Error::invalid("it has no file name").in_file(path))
}

fn temporary_name(name: &OsStr) -> Result<OsString> {
    let mut random = [0; 8];
    crypto::random(&mut random).map_err(|_| Error::Internal {
        problem: "the system gave no random bytes",
    })?;
    let tail = format!(".{:016x}.cmk-tmp", u64::from_be_bytes(random));
    let mut temporary = OsString::from(".");
    if name.len() + 1 + tail.len() <= MAX_NAME_LEN {
        temporary.push(name);
    } else {
        temporary.push("long-name");
    }
    temporary.push(tail);
    Ok(temporary)
}

#[cfg(unix)]
fn without_special_bits(permissions: Permissions) -> Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    Permissions::from_mode(permissions.mode() & 0o777)
}

#[cfg(not(unix))]
fn without_special_bits(permissions: Permissions) -> Permissions {
    permissions
}

/// Renames unless the new name is taken, in one step.
fn rename_unless_there(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some network and user-space file systems don't have it; they have links.
            Err(Errno::INVAL | Errno::NOSYS) => {}
            done => return done.map_err(io::Error::from),
        }
    }
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}
