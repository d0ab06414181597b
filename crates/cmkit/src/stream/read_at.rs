//! Sources that can be read at any place.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A source of bytes that can be read at any offset, from several threads at once, without a position of its own.
///
/// Implemented for [`File`], byte slices and vectors, references, `Box` and `Arc` of such; [`SeekReadAt`] makes one of anything that
/// reads and seeks. A range request to a blob store would be another.
pub trait ReadAt: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset` and says how many. Fewer are fine; 0 means that `offset` is at or behind the end.
    ///
    /// # Errors
    /// * Whatever reading fails with. `Interrupted` is tried again.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Bytes in the source.
    ///
    /// # Errors
    /// * Whatever asking fails with.
    fn size(&self) -> io::Result<u64>;

    /// Where the source is, if it is a file with a name: lets a reader tell an interrupted rewrap from damage.
    fn path(&self) -> Option<PathBuf> {
        None
    }
}

/// Fills `buf` from `offset` on as far as the source goes, and says how far that was.
pub(crate) fn read_full_at(
    source: &(impl ReadAt + ?Sized),
    buf: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match source.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) if n > buf.len() - done => return Err(too_much()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// For a source that is wrong about itself.
pub(super) fn too_much() -> io::Error {
    io::Error::other("the source said that it read more than it was asked for")
}

impl ReadAt for File {
    #[cfg(unix)]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        let metadata = self.metadata()?;
        if metadata.is_file() {
            return Ok(metadata.len());
        }
        // A block device has no length of its own but an end. A pipe has neither, and says so.
        let mut this = self;
        this.seek(SeekFrom::End(0))
    }

    #[cfg(target_os = "linux")]
    fn path(&self) -> Option<PathBuf> {
        use std::os::fd::AsRawFd as _;
        std::fs::read_link(format!("/proc/self/fd/{}", self.as_raw_fd())).ok()
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..))
            .unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.as_slice().read_at(buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<T: ReadAt + ?Sized> ReadAt for $pointer {
            fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
                (**self).read_at(buf, offset)
            }

            fn size(&self) -> io::Result<u64> {
                (**self).size()
            }

            fn path(&self) -> Option<PathBuf> {
                (**self).path()
            }
        }
    )*};
}

forward!(&T, Arc<T>, Box<T>);

/// Makes a [`ReadAt`] of anything that reads and seeks. Reads wait for one another.
#[derive(Debug)]
pub struct SeekReadAt<R>(Mutex<R>);

impl<R: Read + Seek> SeekReadAt<R> {
    /// Takes the source over. Its position doesn't matter.
    #[must_use]
    pub fn new(source: R) -> Self {
        Self(Mutex::new(source))
    }

    /// The source, at whichever position.
    #[must_use]
    pub fn into_inner(self) -> R {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Read + Seek + Send> ReadAt for SeekReadAt<R> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.seek(SeekFrom::Start(offset))?;
        source.read(buf)
    }

    fn size(&self) -> io::Result<u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .seek(SeekFrom::End(0))
    }
}
