//! Errors that several rooms make.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cmkit::{Error, Result};

/// That `len` bytes at `offset` are on a disk of `size`.
pub(crate) fn check_range(offset: u64, len: u64, size: u64) -> Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::InvalidArgument {
            problem: format!(
                "{len} bytes at {offset} are beyond the end of the disk, which has {size} bytes"
            ),
        }),
    }
}

/// The system's error of a backing.
pub(crate) fn io(operation: &'static str, name: &str, source: io::Error) -> Error {
    Error::Io {
        operation,
        path: Some(PathBuf::from(name)),
        source: Arc::new(source),
    }
}

/// An argument outside of its range.
pub(crate) fn invalid(problem: impl Into<String>) -> Error {
    Error::InvalidArgument {
        problem: problem.into(),
    }
}

/// The system's error at a path.
pub(crate) fn io_at(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        operation,
        path: Some(path.to_owned()),
        source: Arc::new(source),
    }
}

/// Bytes in memory as a number on a disk.
pub(crate) fn len_of(data: &[u8]) -> u64 {
    data.len() as u64
}

/// Bytes of memory that the machine has.
pub(crate) fn machine_memory() -> u64 {
    let system = rustix::system::sysinfo();
    u64::from(system.mem_unit).saturating_mul(system.totalram)
}
