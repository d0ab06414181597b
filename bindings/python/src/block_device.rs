//! Sizes, modes and places of scratch disks as Python callers give them.

use std::path::{Path, PathBuf};

use cmkit::{BlockSize, SectorSize};
use cmkit_scratch::{
    Access, Backing, DeviceBacking, FileBacking, MemoryBacking, VolumeMode, VolumeSpec, open_path,
    probe,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::to_python;
use crate::keyring::Keyring;

/// How a volume encrypts, by name.
pub(crate) fn volume_mode(py: Python<'_>, mode: &str, block_size: u32) -> PyResult<VolumeMode> {
    match mode {
        "ephemeral" => BlockSize::from_bytes(block_size).map(VolumeMode::Ephemeral),
        "xts" => SectorSize::from_bytes(block_size).map(VolumeMode::Xts),
        _ => {
            return Err(PyValueError::new_err(
                "mode must be \"ephemeral\" or \"xts\"",
            ));
        }
    }
    .map_err(|e| to_python(py, e))
}

pub(crate) fn volume_spec(
    mode: VolumeMode,
    keyring: Option<&Keyring>,
    metadata_budget: Option<u64>,
) -> VolumeSpec {
    let mut spec = VolumeSpec::new(mode);
    if let Some(keyring) = keyring {
        spec = spec.keyring(keyring.core().clone());
    }
    match metadata_budget {
        Some(bytes) => spec.metadata_budget(bytes),
        None => spec,
    }
}

/// Where a volume's bytes go.
pub(crate) enum Place {
    Dir(PathBuf),
    File(PathBuf),
    Device(PathBuf),
    Memory,
}

impl Place {
    /// The one place that was given.
    pub(crate) fn of(
        dir: Option<PathBuf>,
        file: Option<PathBuf>,
        device: Option<PathBuf>,
        memory: bool,
    ) -> PyResult<Self> {
        let memory = memory.then_some(Self::Memory);
        let places = [
            dir.map(Self::Dir),
            file.map(Self::File),
            device.map(Self::Device),
            memory,
        ];
        let mut given = places.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(place), None) => Ok(place),
            (None, _) => Ok(Self::Dir(std::env::temp_dir())),
            _ => Err(PyValueError::new_err(
                "give one of dir, file, device and memory",
            )),
        }
    }

    /// Makes a volume here. What is there already is taken only if it is forced, and what this made is removed again when it fails.
    pub(crate) fn make<T>(
        &self,
        size: Option<u64>,
        force: bool,
        make: impl FnOnce(Box<dyn Backing>) -> cmkit::Result<T>,
    ) -> cmkit::Result<T> {
        let needed = || size.ok_or_else(|| invalid("a volume needs a size here"));
        match self {
            Self::Dir(dir) => make(Box::new(FileBacking::anonymous(dir, needed()?)?)),
            Self::Memory => make(Box::new(MemoryBacking::try_new(needed()?)?)),
            Self::File(path) if force && path.exists() => {
                make(sized(path, open_path(path, Access::ReadWrite)?, size)?)
            }
            Self::File(path) => {
                let made = make(Box::new(FileBacking::create(path, needed()?)?));
                if made.is_err() {
                    // Nothing is in it.
                    let _ = std::fs::remove_file(path);
                }
                made
            }
            Self::Device(path) => {
                if !force {
                    probe::check(path)?;
                }
                let device = DeviceBacking::open(path, Access::ReadWrite)?;
                make(sized(path, Box::new(device), size)?)
            }
        }
    }
}

/// A volume takes all of what there is already.
fn sized(
    path: &Path,
    backing: Box<dyn Backing>,
    size: Option<u64>,
) -> cmkit::Result<Box<dyn Backing>> {
    match size {
        Some(size) if size != backing.len() => Err(invalid(format!(
            "{}: it has {} bytes and the volume was to have {size}; a volume takes all of it, so give no size",
            path.display(),
            backing.len()
        ))),
        _ => Ok(backing),
    }
}

pub(crate) fn invalid(problem: impl Into<String>) -> cmkit::Error {
    cmkit::Error::InvalidArgument {
        problem: problem.into(),
    }
}
