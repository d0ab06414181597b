//! What a job's disk is to be.

use std::path::{Path, PathBuf};

use crate::file_system::FileSystem;
use crate::volume::VolumeSpec;

/// What a job's disk is to be: how large, on what, encrypted how.
#[derive(Clone, Debug)]
pub struct JobSpec {
    pub(super) size: Option<u64>,
    pub(super) place: Place,
    pub(super) volume: VolumeSpec,
}

/// What a disk's ciphertext is on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A file without a name in this directory: nothing of it is left when the process ends, however that happens. Sparse: it takes room as it is written.
    Dir(PathBuf),
    /// A new file of this name, which is removed at the end. Sparse.
    File(PathBuf),
    /// All of a block device. What is on it is lost.
    Device(PathBuf, Occupied),
    /// This process's memory, all of it taken at once.
    Memory,
}

/// What to do about a device with something on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupied {
    /// Refuse it: a known signature, or anything but zeros in its first or last MiB.
    Refuse,
    /// Take it all the same. One that is in use is refused even so.
    Overwrite,
}

/// How a job sees its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expose {
    /// Not at all: it is used in this process.
    Nothing,
    /// As an NBD export on a Unix socket of this path.
    Nbd(PathBuf),
    /// As a file over FUSE, `disk` in this empty directory; without one in the state directory.
    File(Option<PathBuf>),
    /// As a mounted file system, on this empty directory; without one in the state directory. Needs root.
    Mount {
        /// Where.
        dir: Option<PathBuf>,
        /// Of this kind.
        file_system: FileSystem,
        /// The user and group that its root directory belongs to; without them root.
        owner: Option<(u32, u32)>,
    },
}

impl JobSpec {
    /// A disk of `size` bytes in a file without a name in the system's directory for temporary files, with the default [`VolumeSpec`].
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self {
            size: Some(size),
            place: Place::Dir(std::env::temp_dir()),
            volume: VolumeSpec::default(),
        }
    }

    /// A disk as large as a block device, on it.
    #[must_use]
    pub fn on_device(device: impl Into<PathBuf>, occupied: Occupied) -> Self {
        Self {
            size: None,
            place: Place::Device(device.into(), occupied),
            volume: VolumeSpec::default(),
        }
    }

    /// In a file without a name in this directory.
    #[must_use]
    pub fn in_dir(self, dir: impl AsRef<Path>) -> Self {
        self.at(Place::Dir(dir.as_ref().to_owned()))
    }

    /// On something else.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Encrypted in another way.
    #[must_use]
    pub fn volume(mut self, volume: VolumeSpec) -> Self {
        self.volume = volume;
        self
    }
}
