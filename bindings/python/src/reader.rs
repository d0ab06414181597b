//! What stands behind `cmkit.Reader`: random access to the plaintext of a file or a seekable file object.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arguments::Context;
use crate::buffer::{Items, Output, new_bytes};
use crate::error::{blocking, guard};
use crate::keyring::Keyring;
use crate::pyfile::PyFile;
use crate::streams::Turn;

/// Bytes that are read from a file before signals are looked at.
const SLICE: usize = 16 << 20;
/// The same from a file object: so few that the core reads on the calling thread, where Python code expects to run.
const OBJECT_SLICE: usize = 256 << 10;

enum Source {
    File(cmkit::Reader<File>, PathBuf),
    /// Reads wait for one another, for there is one position.
    Object(Turn<cmkit::Reader<PyFile>>),
}

impl Source {
    /// Fills `out` from `offset` on as far as there is plaintext. On failure all of `out` is zero.
    fn read_at(&self, py: Python<'_>, out: &mut [u8], offset: u64) -> PyResult<usize> {
        let read = self.read_slices(py, out, offset);
        if read.is_err() {
            out.fill(0);
        }
        read
    }

    fn read_slices(&self, py: Python<'_>, out: &mut [u8], offset: u64) -> PyResult<usize> {
        let slice_len = match self {
            Self::File(..) => SLICE,
            Self::Object(_) => OBJECT_SLICE,
        };
        let mut done = 0;
        while done < out.len() {
            let end = out.len().min(done + slice_len);
            let slice = &mut out[done..end];
            let wanted = slice.len();
            let Some(from) = offset.checked_add(done as u64) else {
                break;
            };
            let read = match self {
                Self::File(reader, path) => blocking(py, || {
                    reader.read_at(slice, from).map_err(|e| e.in_file(path))
                })?,
                Self::Object(turn) => {
                    turn.with(py, |reader| blocking(py, || reader.read_at(slice, from)))?
                }
            };
            done += read;
            if read < wanted {
                break;
            }
            py.check_signals()?;
        }
        Ok(done)
    }
}

/// Random access to plaintext.
#[pyclass(frozen, module = "cmkit._cmkit", name = "RawReader")]
pub(crate) struct RawReader {
    /// None once it is closed.
    source: Mutex<Option<Arc<Source>>>,
    position: AtomicU64,
    size: u64,
}

#[pymethods]
impl RawReader {
    /// Bytes of plaintext, authenticated.
    #[getter]
    fn size(&self) -> u64 {
        self.size
    }

    fn readinto(&self, py: Python<'_>, out: &Bound<'_, PyAny>) -> PyResult<usize> {
        guard(|| {
            let source = self.source()?;
            let mut out = Output::of(out, "out", Items::Any)?;
            let position = self.position.load(Ordering::Relaxed);
            let read = source.read_at(py, out.bytes(), position)?;
            self.position
                .store(position + read as u64, Ordering::Relaxed);
            Ok(read)
        })
    }

    /// The rest.
    fn readall<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let source = self.source()?;
            let position = self.position.load(Ordering::Relaxed);
            let rest = usize::try_from(self.size.saturating_sub(position))?;
            let bytes = new_bytes(py, rest, |out| source.read_at(py, out, position))?;
            self.position
                .store(position + rest as u64, Ordering::Relaxed);
            Ok(bytes)
        })
    }

    /// Up to `size` bytes from `offset` on, whatever the position.
    fn read_at<'py>(
        &self,
        py: Python<'py>,
        size: usize,
        offset: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let source = self.source()?;
            let rest = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
            new_bytes(py, size.min(rest), |out| source.read_at(py, out, offset))
        })
    }

    #[pyo3(signature = (offset, whence=0))]
    fn seek(&self, offset: i64, whence: i32) -> PyResult<u64> {
        guard(|| {
            self.source()?;
            let from = match whence {
                0 => 0,
                1 => self.position.load(Ordering::Relaxed),
                2 => self.size,
                _ => return Err(PyValueError::new_err("whence must be 0, 1 or 2")),
            };
            let position = from
                .checked_add_signed(offset)
                .filter(|p| i64::try_from(*p).is_ok())
                .ok_or_else(|| {
                    PyValueError::new_err("a seek to before the beginning, or beyond 2^63 bytes")
                })?;
            self.position.store(position, Ordering::Relaxed);
            Ok(position)
        })
    }

    fn tell(&self) -> PyResult<u64> {
        guard(|| {
            self.source()?;
            Ok(self.position.load(Ordering::Relaxed))
        })
    }

    fn close(&self) -> PyResult<()> {
        guard(|| {
            // The lock is never held while anything else is waited for.
            let source = self
                .source
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            drop(source);
            Ok(())
        })
    }
}

impl RawReader {
    fn new(source: Source, size: u64) -> Self {
        Self {
            source: Mutex::new(Some(Arc::new(source))),
            position: AtomicU64::new(0),
            size,
        }
    }

    fn source(&self) -> PyResult<Arc<Source>> {
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source
            .clone()
            .ok_or_else(|| PyValueError::new_err("I/O operation on closed file"))
    }
}

/// Random access to the plaintext of a file (a path) or of a seekable file object.
#[pyfunction]
pub(crate) fn open_raw_reader(
    py: Python<'_>,
    keyring: &Keyring,
    file: &Bound<'_, PyAny>,
    context: Option<&Bound<'_, PyAny>>,
) -> PyResult<RawReader> {
    guard(|| {
        let context = Context::of(context)?;
        if file.getattr_opt("read")?.is_some() {
            let file = PyFile::new(file, &["read", "seek", "tell"])?;
            let reader = blocking(py, || keyring.core().reader(file, &context))?;
            let size = reader.len();
            return Ok(RawReader::new(Source::Object(Turn::new(reader)), size));
        }
        let path: PathBuf = file.extract()?;
        let reader = blocking(py, || keyring.core().open_file(&path, &context))?;
        let size = reader.len();
        Ok(RawReader::new(Source::File(reader, path), size))
    })
}
