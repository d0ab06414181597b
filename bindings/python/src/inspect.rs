//! What can be said without a key.

use std::path::PathBuf;

use cmkit::Inspection;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::buffer::Input;
use crate::error::{guard, to_python};

/// Bytes in the longest header.
const MAX_HEADER: usize = 65_536;

/// The first bytes of `data`, at most as many as a header has, and its length.
fn start_of(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<(Vec<u8>, usize)> {
    let input = Input::of(data, "data")?;
    let len = input.len();
    let mut start = vec![0; len.min(MAX_HEADER)];
    match &input {
        Input::Shared(shared) => {
            shared.copy(py, 0, &mut start);
        }
        fixed => start.copy_from_slice(&fixed.fixed().unwrap_or_default()[..len.min(MAX_HEADER)]),
    }
    Ok((start, len))
}

/// Whether `data` begins as an envelope that this version may read. Says nothing about its keys or its being whole.
#[pyfunction]
pub(crate) fn is_envelope(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<bool> {
    guard(|| Ok(cmkit::is_envelope(&start_of(py, data)?.0)))
}

/// Bytes of plaintext in a whole envelope, by arithmetic: takes no key and proves nothing.
#[pyfunction]
pub(crate) fn decrypted_len(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<u64> {
    guard(|| {
        let (start, total) = start_of(py, data)?;
        cmkit::decrypted_len_of(&start, total as u64).map_err(|e| to_python(py, e))
    })
}

/// Bytes of the header that these at least 16 bytes begin.
#[pyfunction]
pub(crate) fn header_len(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
    guard(|| cmkit::header_len(&start_of(py, data)?.0).map_err(|e| to_python(py, e)))
}

/// What the header says that `data` begins with. Nothing of it is authenticated.
#[pyfunction]
pub(crate) fn inspect<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    guard(|| {
        let (start, _) = start_of(py, data)?;
        to_dataclass(py, cmkit::inspect(&start).map_err(|e| to_python(py, e))?)
    })
}

/// The directory of keys when none is named.
#[pyfunction]
pub(crate) fn default_dir(py: Python<'_>) -> PyResult<PathBuf> {
    guard(|| cmkit::default_dir().map_err(|e| to_python(py, e)))
}

fn to_dataclass(py: Python<'_>, found: Inspection) -> PyResult<Bound<'_, PyAny>> {
    let types = py.import("cmkit._types")?;
    let recipient = types.getattr("RecipientInfo")?;
    let recipients = found.recipients.iter().map(|r| {
        let fields = PyDict::new(py);
        fields.set_item("provider", &r.provider)?;
        fields.set_item("key_id", r.key_id.as_str())?;
        fields.set_item("algorithm", r.algorithm.name())?;
        fields.set_item("wrapped_len", r.wrapped_len)?;
        fields.set_item("wrapped_at", r.wrapped_at)?;
        recipient.call((), Some(&fields))
    });
    let recipients = PyTuple::new(py, recipients.collect::<PyResult<Vec<_>>>()?)?;
    let fields = PyDict::new(py);
    fields.set_item("version", found.version)?;
    fields.set_item("suite", found.suite)?;
    fields.set_item("suite_name", found.suite_name)?;
    fields.set_item("dek_id", found.dek_id.to_string())?;
    fields.set_item("purpose", found.purpose.name())?;
    fields.set_item("workspace", found.workspace)?;
    fields.set_item("created", found.created)?;
    fields.set_item("recipients", recipients)?;
    fields.set_item("is_compact", found.is_compact)?;
    fields.set_item("padding_len", found.padding_len)?;
    fields.set_item("header_len", found.header_len)?;
    types.getattr("Inspection")?.call((), Some(&fields))
}
