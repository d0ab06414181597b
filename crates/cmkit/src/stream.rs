//! Data that passes through: writers, readers, random access. All of it is the same envelope that documents have.

mod chunk_cache;
mod decryptor;
mod encryptor;
mod opening_reader;
mod options;
mod read_at;
mod reader;
mod sealing_writer;

use std::io::{self, Read};

pub use self::decryptor::Decryptor;
pub use self::encryptor::Encryptor;
pub use self::options::{HeaderPadding, StreamOptions};
pub(crate) use self::read_at::read_full_at;
pub use self::read_at::{ReadAt, SeekReadAt};
pub use self::reader::Reader;

use crate::envelope::{PREFIX_LEN, header_len};
use crate::error::{Error, Result};

/// The cmkit error that an [`io::Error`] of a stream carries; for any other an [`Error::Io`].
///
/// ```
/// let inner = cmkit::Error::Truncated;
/// let through_io = std::io::Error::from(inner);
/// assert!(matches!(cmkit::error_from_io(through_io), cmkit::Error::Truncated));
/// ```
#[must_use]
pub fn error_from_io(error: io::Error) -> Error {
    Error::from_io("read or write", error)
}

/// Reads until `out` is full or the end, and says how much that was.
fn read_full(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < out.len() {
        match reader.read(&mut out[done..]) {
            Ok(0) => break,
            Ok(n) if n > out.len() - done => return Err(read_at::too_much()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Reads a whole header from the front of a stream, and nothing behind it.
pub(crate) fn read_header(reader: &mut impl Read) -> Result<Vec<u8>> {
    let mut prefix = [0; PREFIX_LEN];
    let read = |reader: &mut _, out: &mut [u8]| {
        read_full(reader, out).map_err(|e| Error::from_io("read", e))
    };
    let have = read(reader, &mut prefix)?;
    let mut header = vec![0; header_len(&prefix[..have])?];
    header[..PREFIX_LEN].copy_from_slice(&prefix);
    if read(reader, &mut header[PREFIX_LEN..])? < header.len() - PREFIX_LEN {
        return Err(Error::Truncated);
    }
    Ok(header)
}

#[cfg(test)]
mod tests;
