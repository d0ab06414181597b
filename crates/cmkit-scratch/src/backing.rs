//! Where a volume's bytes are.

mod device;
mod faulty;
mod file;
mod memory;
mod open;

use std::io;

pub use self::device::DeviceBacking;
pub(crate) use self::device::open_exclusive;
pub use self::faulty::{Call, Fault, Faults, FaultyBacking, Recorded};
pub(crate) use self::file::punch_hole;
pub use self::file::{Access, FileBacking};
pub use self::memory::MemoryBacking;
pub use self::open::open_path;

/// Room for a volume's ciphertext: a file, a block device, memory.
///
/// Thread-safe. Callers never overlap a write with another call for the same bytes.
#[allow(clippy::len_without_is_empty)]
pub trait Backing: Send + Sync {
    /// Bytes; never changes.
    fn len(&self) -> u64;

    /// What errors and records call it: a path, where it has one.
    fn name(&self) -> &str;

    /// Fills all of `data` from `offset`. What was never written may be anything.
    ///
    /// # Errors
    /// * The system's; [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when it became shorter than it was.
    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` at `offset`. After an error any part of it may have been written.
    ///
    /// # Errors
    /// * The system's.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Has what was written reach the medium.
    ///
    /// # Errors
    /// * The system's.
    fn flush(&self) -> io::Result<()>;

    /// Gives room back, if that can be done; what is there afterwards may be anything.
    ///
    /// # Errors
    /// * The system's.
    fn punch(&self, offset: u64, len: u64) -> io::Result<Punched>;

    /// Whether a call may wait for a medium.
    fn is_blocking(&self) -> bool {
        false
    }

    /// Whether nothing can be written.
    fn is_read_only(&self) -> bool {
        false
    }
}

/// What became of room that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Punched {
    /// It was given back.
    Yes,
    /// This kind of backing can't.
    Unsupported,
}

impl<B: Backing + ?Sized> Backing for Box<B> {
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn name(&self) -> &str {
        (**self).name()
    }
    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(data, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(data, offset)
    }
    fn flush(&self) -> io::Result<()> {
        (**self).flush()
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<Punched> {
        (**self).punch(offset, len)
    }
    fn is_blocking(&self) -> bool {
        (**self).is_blocking()
    }
    fn is_read_only(&self) -> bool {
        (**self).is_read_only()
    }
}

/// That a range is within a backing: a write beyond it would make a file longer.
fn check(offset: u64, len: u64, size: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{len} bytes at {offset} are beyond its {size} bytes"),
        )),
    }
}

/// Says of a read that found an end what that means.
fn explain_end(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return io::Error::new(error.kind(), "it became shorter than it was");
    }
    error
}

fn read_only() -> io::Error {
    io::Error::new(
        io::ErrorKind::ReadOnlyFilesystem,
        "it is open for reading only",
    )
}
