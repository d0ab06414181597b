//! Memory of Python objects: what may be read or written, and when.
//!
//! The only file of this crate with `unsafe` in it. Three kinds of memory:
//!
//! * the inside of a `bytes` object never changes, so it is read with the interpreter released;
//! * any other input (a `bytearray`, an array, a memory map) may be written by whoever else has it. It is only ever copied, so that what was
//!   authenticated and what was used are the same bytes;
//! * outputs are written in place. Their owner can't free or resize them while the [`Output`] lives.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

/// Bytes that a caller gave to be read.
pub(crate) enum Input<'py> {
    /// A part of a `bytes` object, from and to.
    Fixed(Bound<'py, PyBytes>, usize, usize),
    /// Memory that others may write.
    Shared(Shared),
}

impl<'py> Input<'py> {
    /// The bytes of anything with the buffer protocol. `name` is the argument's.
    pub(crate) fn of(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Fixed(bytes.clone(), 0, bytes.as_bytes().len()));
        }
        let buffer = contiguous(object, name)?;
        if let Some(fixed) = bytes_behind(object, &buffer)? {
            return Ok(fixed);
        }
        Ok(Self::Shared(Shared(buffer)))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Fixed(_, from, to) => to - from,
            Self::Shared(shared) => shared.len(),
        }
    }

    /// The bytes, where nobody can change them.
    pub(crate) fn fixed(&self) -> Option<&[u8]> {
        match self {
            Self::Fixed(bytes, from, to) => Some(&bytes.as_bytes()[*from..*to]),
            Self::Shared(_) => None,
        }
    }

    fn address(&self) -> std::ops::Range<usize> {
        let start = match self {
            Self::Fixed(bytes, from, _) => bytes.as_bytes().as_ptr() as usize + from,
            Self::Shared(shared) => shared.0.buf_ptr() as usize,
        };
        start..start + self.len()
    }
}

/// Readable memory that others may write at any time.
pub(crate) struct Shared(PyUntypedBuffer);

impl Shared {
    pub(crate) fn len(&self) -> usize {
        self.0.len_bytes()
    }

    /// Copies from `offset` on, as much as `out` holds or there is, and says how much. Attached, so that no Python code writes it meanwhile.
    pub(crate) fn copy(&self, _: Python<'_>, offset: usize, out: &mut [u8]) -> usize {
        let len = self.len().saturating_sub(offset).min(out.len());
        if len > 0 {
            let from = self.0.buf_ptr().cast::<u8>();
            // SAFETY: the buffer is contiguous and `offset + len` lies within its length; it is pinned while `self.0` lives. `out` is a Rust
            // slice of at least `len` bytes and can't be the same memory: it is never made from an `Input`, and an
            // `Output` that overlaps an `Input` is refused.
            unsafe { std::ptr::copy_nonoverlapping(from.add(offset), out.as_mut_ptr(), len) };
        }
        len
    }
}

/// Memory that a caller gave to be written.
pub(crate) struct Output(PyUntypedBuffer);

impl Output {
    /// The memory of anything writable with the buffer protocol; `items` says whether its items may be longer than a byte.
    pub(crate) fn of(object: &Bound<'_, PyAny>, name: &str, items: Items) -> PyResult<Self> {
        let buffer = contiguous(object, name)?;
        if buffer.readonly() {
            return Err(PyTypeError::new_err(format!(
                "{name} must be a writable buffer such as bytearray, not {}",
                type_name(object)
            )));
        }
        if items == Items::Bytes && buffer.item_size() != 1 {
            return Err(PyValueError::new_err(format!(
                "{name} must have items of one byte, not {}; memoryview(...).cast(\"B\") makes them",
                buffer.item_size()
            )));
        }
        Ok(Self(buffer))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len_bytes()
    }

    pub(crate) fn check_apart(&self, input: &Input<'_>) -> PyResult<()> {
        let start = self.0.buf_ptr() as usize;
        let input = input.address();
        if start < input.end && input.start < start + self.len() && !input.is_empty() {
            return Err(PyValueError::new_err(
                "the buffers overlap; give separate ones",
            ));
        }
        Ok(())
    }

    /// The memory. Python code that reads or writes it while a call is under way sees or makes a mess of its own contents, as with
    /// `readinto` of any file.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let len = self.len();
        let Some(start) = NonNull::new(self.0.buf_ptr().cast::<u8>()).filter(|_| len > 0) else {
            return &mut [];
        };
        // SAFETY: the buffer is writable, contiguous and `len` bytes long, and its owner keeps it in place while `self.0` lives. Every byte
        // of it is initialised, being a Python object's. `&mut self` rules out a second slice from this view; nothing else in this crate
        // looks at the memory meanwhile, see `check_apart`.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }
}

/// Memory that is worked on in place, while somebody else may read or write it: it is only ever copied, out and in again.
///
/// What was authenticated and what comes out are so the same bytes, whatever a thread does meanwhile to the array that it has, too.
pub(crate) struct InPlace(Output);

impl InPlace {
    pub(crate) fn of(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        Output::of(object, name, Items::Any).map(Self)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// That nothing of it is `input`, too.
    pub(crate) fn check_apart(&self, input: &Input<'_>) -> PyResult<()> {
        self.0.check_apart(input)
    }

    /// Copies from `offset` on, as much as `out` holds.
    pub(crate) fn copy_out(&mut self, _: Python<'_>, offset: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.0.bytes()[offset..][..out.len()]);
    }

    /// The other way.
    pub(crate) fn copy_in(&mut self, _: Python<'_>, offset: usize, data: &[u8]) {
        self.0.bytes()[offset..][..data.len()].copy_from_slice(data);
    }

    /// Makes all of it zero.
    pub(crate) fn clear(&mut self, _: Python<'_>) {
        self.0.bytes().fill(0);
    }
}

/// Which items an output may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Items {
    /// Bytes only: the caller is told a count of bytes.
    Bytes,
    /// Any, as `readinto` of Python's own files.
    Any,
}

fn contiguous(object: &Bound<'_, PyAny>, name: &str) -> PyResult<PyUntypedBuffer> {
    if object.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!(
            "{name} must be bytes-like, not str; encode it first"
        )));
    }
    let buffer = PyUntypedBuffer::get(object).map_err(|e| {
        if e.is_instance_of::<PyTypeError>(object.py()) {
            return PyTypeError::new_err(format!(
                "{name} must be bytes-like, not {}",
                type_name(object)
            ));
        }
        let error = PyValueError::new_err(format!("{name} gives no buffer"));
        error.set_cause(object.py(), Some(e));
        error
    })?;
    if !buffer.is_c_contiguous() {
        return Err(PyValueError::new_err(format!(
            "{name} must be contiguous; copy it first"
        )));
    }
    Ok(buffer)
}

/// The part of a `bytes` object that a memoryview shows.
fn bytes_behind<'py>(
    object: &Bound<'py, PyAny>,
    buffer: &PyUntypedBuffer,
) -> PyResult<Option<Input<'py>>> {
    if !buffer.readonly() || !object.is_instance_of::<PyMemoryView>() {
        return Ok(None);
    }
    let owner = object.getattr("obj")?;
    let Ok(bytes) = owner.cast_into::<PyBytes>() else {
        return Ok(None);
    };
    // A subclass of bytes may export some other memory.
    let whole = bytes.as_bytes().as_ptr() as usize;
    let Some(from) = (buffer.buf_ptr() as usize).checked_sub(whole) else {
        return Ok(None);
    };
    let to = from + buffer.len_bytes();
    Ok((to <= bytes.as_bytes().len()).then_some(Input::Fixed(bytes, from, to)))
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .map(|n| n.to_string())
        .unwrap_or_default()
}

/// A new `bytes` object, filled by `fill`, which is told its memory and says how much of it it used.
///
/// Small memory is zeroed first, which costs nothing. Large memory isn't: zeroing is a tenth of the work on 16 MiB, done by one thread alone.
pub(crate) fn new_bytes<'py>(
    py: Python<'py>,
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> PyResult<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    let size = ffi::Py_ssize_t::try_from(len)
        .map_err(|_| pyo3::exceptions::PyMemoryError::new_err("too large for a bytes object"))?;
    // SAFETY: with a null pointer this makes a new object of `size` bytes, or gives null with an exception set, which
    // `from_owned_ptr_or_err` takes over.
    let object = unsafe {
        Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))?
    };
    let bytes = object.cast_into::<PyBytes>()?;
    // SAFETY: `bytes` is a `bytes` object.
    let start = unsafe { ffi::PyBytes_AsString(bytes.as_ptr()) }.cast::<u8>();
    if len > 0 && len < ZEROED {
        // SAFETY: the object has `len` bytes from `start` on, and nobody else has it.
        unsafe { std::ptr::write_bytes(start, 0, len) };
    }
    // SAFETY: as above; nobody else can see the object before it is returned. For `len` 0 `start` points at its terminator. Memory that isn't
    // zeroed holds whatever it held: every bit pattern is a `u8`, and `fill` only writes it. What it didn't write is never seen: it says how
    // much it used, and on failure the object is freed.
    let used = fill(unsafe { std::slice::from_raw_parts_mut(start, len) })?;
    if used == len {
        return Ok(bytes);
    }
    Ok(PyBytes::new(py, &bytes.as_bytes()[..used.min(len)]))
}

/// Objects of fewer bytes are zeroed.
const ZEROED: usize = 256 << 10;
