//! File objects of Python as Rust's readers and writers.

use std::io::{self, Read, Write};

use cmkit::ReadAt;
use pyo3::exceptions::{PyBlockingIOError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::provider::bytes_of;

/// Calls `read`, `write` and `seek` of an object. What they raise comes back to Python as it is.
pub(crate) struct PyFile(Py<PyAny>);

impl PyFile {
    /// Checks that the object has these methods.
    pub(crate) fn new(object: &Bound<'_, PyAny>, methods: &[&str]) -> PyResult<Self> {
        for method in methods {
            if !object.getattr_opt(method)?.is_some_and(|m| m.is_callable()) {
                return Err(PyTypeError::new_err(format!(
                    "a file object with {method}() is needed, not {}",
                    object.get_type().name()?
                )));
            }
        }
        Ok(Self(object.clone().unbind()))
    }

    fn call<T>(&self, call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> io::Result<T> {
        Python::try_attach(|py| {
            py.check_signals()?;
            call(self.0.bind(py)).map_err(io::Error::from)
        })
        .unwrap_or_else(|| Err(io::Error::other("the interpreter is shutting down")))
    }
}

/// Bytes asked of a file object at a time: it makes a bytes object of each.
const MAX_READ: usize = 1 << 20;

impl Read for PyFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        read(self, out)
    }
}

fn read(file: &PyFile, out: &mut [u8]) -> io::Result<usize> {
    let wanted = out.len().min(MAX_READ);
    file.call(|object| {
        let answer = object.call_method1("read", (wanted,))?;
        if answer.is_none() {
            return Err(PyBlockingIOError::new_err(
                "the file object has no data yet; give a blocking one",
            ));
        }
        if let Ok(bytes) = answer.cast::<PyBytes>() {
            return take(bytes.as_bytes(), out, wanted);
        }
        take(
            &bytes_of(object.py(), &answer, "what read() returns")?,
            out,
            wanted,
        )
    })
}

fn take(data: &[u8], out: &mut [u8], wanted: usize) -> PyResult<usize> {
    if data.len() > wanted {
        return Err(PyValueError::new_err(
            "read() of the file object returned more than was asked for",
        ));
    }
    out[..data.len()].copy_from_slice(data);
    Ok(data.len())
}

impl Write for PyFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.call(|object| {
            let py = object.py();
            let answer = object.call_method1("write", (PyBytes::new(py, data),))?;
            if answer.is_none() {
                // So says a raw file that would block. Other writers that return nothing took everything.
                let raw = py.import("io")?.getattr("RawIOBase")?;
                if object.is_instance(&raw)? {
                    return Err(PyBlockingIOError::new_err(
                        "the file object takes no data now; give a blocking one",
                    ));
                }
                return Ok(data.len());
            }
            let wrote: usize = answer.extract()?;
            if wrote > data.len() {
                return Err(PyValueError::new_err(
                    "write() of the file object said it wrote more than it got",
                ));
            }
            Ok(wrote)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call(|object| match object.getattr_opt("flush")? {
            Some(flush) => flush.call0().map(drop),
            None => Ok(()),
        })
    }
}

/// Seeks and reads. Whoever else uses the file object's position must not do so meanwhile.
impl ReadAt for PyFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call(|object| object.call_method1("seek", (offset,)).map(drop))?;
        read(self, buf)
    }

    fn size(&self) -> io::Result<u64> {
        self.call(|object| {
            object.call_method1("seek", (0, 2))?;
            object.call_method0("tell")?.extract()
        })
    }
}
