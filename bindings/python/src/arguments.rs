//! Arguments of Python callers as the core's types.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::LazyLock;
use std::time::Duration;

use cmkit::{EncryptionContext, KeyId, KeyRef};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple};

use crate::error::to_python;

/// An encryption context: a mapping of `str` to `str`, or None.
pub(crate) struct Context(Cow<'static, EncryptionContext>);

/// Made once: messages without a context are the fast ones.
static EMPTY: LazyLock<EncryptionContext> = LazyLock::new(EncryptionContext::empty);

impl Deref for Context {
    type Target = EncryptionContext;
    fn deref(&self) -> &EncryptionContext {
        &self.0
    }
}

impl Context {
    pub(crate) fn of(object: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(object) = object.filter(|o| !o.is_none()) else {
            return Ok(Self(Cow::Borrowed(&*EMPTY)));
        };
        let mut pairs = Vec::new();
        if let Ok(dict) = object.cast::<PyDict>() {
            for (key, value) in dict {
                pairs.push((text(&key)?, text(&value)?));
            }
        } else if let Ok(mapping) = object.cast::<PyMapping>() {
            for pair in mapping.items()?.iter() {
                let pair = pair.cast_into::<PyTuple>()?;
                pairs.push((text(&pair.get_item(0)?)?, text(&pair.get_item(1)?)?));
            }
        } else {
            return Err(not_text());
        }
        EncryptionContext::new(pairs)
            .map(|context| Self(Cow::Owned(context)))
            .map_err(|e| to_python(object.py(), e))
    }
}

fn text(object: &Bound<'_, PyAny>) -> PyResult<PyBackedStr> {
    match object.cast::<PyString>() {
        Ok(text) => PyBackedStr::try_from(text.clone()),
        Err(_) => Err(not_text()),
    }
}

fn not_text() -> PyErr {
    PyTypeError::new_err("context must map str to str")
}

pub(crate) fn key_ref(py: Python<'_>, text: &str) -> PyResult<KeyRef> {
    KeyRef::parse(text).map_err(|e| to_python(py, e))
}

pub(crate) fn key_id(py: Python<'_>, text: &str) -> PyResult<KeyId> {
    KeyId::parse(text).map_err(|e| to_python(py, e))
}

/// One `str`, or an iterable of them.
pub(crate) fn texts(object: &Bound<'_, PyAny>) -> PyResult<Vec<PyBackedStr>> {
    if let Ok(one) = object.cast::<PyString>() {
        return Ok(vec![PyBackedStr::try_from(one.clone())?]);
    }
    object
        .try_iter()?
        .map(|item| item?.extract::<PyBackedStr>())
        .collect()
}

/// A number of seconds.
pub(crate) fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| {
        PyValueError::new_err(format!("{name} must be a number of seconds, 0 or more"))
    })
}
