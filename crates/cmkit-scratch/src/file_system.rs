//! Making a file system on a disk.

use std::fmt;
use std::path::Path;

use cmkit::{Error, Result};

use crate::program;

/// mkfs.xfs refuses less.
const SMALLEST_XFS: u64 = 300 << 20;

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileSystem {
    /// ext4, without a journal: it would have every change of a directory encrypted twice, to survive a crash that the disk's key doesn't. No blocks are kept for
    /// root. After damage to its own structures it becomes read-only.
    Ext4,
    /// XFS, at least 300 MiB. Better with many writers and large files; always with a journal.
    Xfs,
}

/// What is on a disk that nothing was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zeros: nothing has to be cleared.
    Zeros,
    /// Anything.
    Unknown,
}

impl FileSystem {
    /// What mount(8) calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Makes an empty one on a device, for a disk that lives as long as one job. What was there is lost: [`probe`](crate::probe) first.
    ///
    /// The root directory is root's, mode 0755.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: too small for it.
    /// * [`Error::NotPermitted`]: the program isn't there: Debian's packages `e2fsprogs`, `xfsprogs`.
    /// * [`Error::Io`]: what the program said.
    pub fn make(self, device: &Path, content: Content) -> Result<()> {
        let device_arg = device.as_os_str();
        match self {
            Self::Ext4 => {
                // Prezeroed: the kernel needn't clear inode tables behind the job's back. Discarding what nobody has written is of no use.
                let extended = match content {
                    Content::Zeros => "nodiscard,assume_storage_prezeroed=1",
                    Content::Unknown => "nodiscard,lazy_itable_init=1",
                };
                let options = [
                    "-q",
                    "-F",
                    "-b",
                    "4096",
                    "-m",
                    "0",
                    "-e",
                    "remount-ro",
                    "-O",
                    "^has_journal",
                    "-E",
                    extended,
                ];
                let mut args: Vec<_> = options.iter().map(std::ffi::OsStr::new).collect();
                args.push(device_arg);
                program::run("mkfs.ext4", &args, device)?;
            }
            Self::Xfs => {
                let len = crate::probe::len_of_device(device)?;
                if len < SMALLEST_XFS {
                    return Err(Error::InvalidArgument {
                        problem: format!(
                            "{}: {} MiB are too small for XFS, which needs 300 MiB; choose ext4",
                            device.display(),
                            len >> 20
                        ),
                    });
                }
                let args = ["-q", "-f", "-K"].map(std::ffi::OsStr::new);
                program::run("mkfs.xfs", &[&args[..], &[device_arg]].concat(), device)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for FileSystem {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "ext4" => Ok(Self::Ext4),
            "xfs" => Ok(Self::Xfs),
            _ => Err(Error::InvalidArgument {
                problem: format!("no file system {name:?}: choose ext4 or xfs"),
            }),
        }
    }
}
