//! Key stores: a directory, or an object written in Python.

use std::path::PathBuf;
use std::sync::Arc;

use cmkit::{DekId, Error, KeyStore, StoredKey};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::error::{blocking, guard, ours_text};
use crate::provider::bytes_of;
use crate::raised;

/// A directory that keeps wrapped DEKs, a file each.
#[pyclass(frozen, module = "cmkit", name = "DirectoryKeyStore")]
pub(crate) struct DirectoryKeyStore {
    path: PathBuf,
    inner: Arc<cmkit::DirectoryKeyStore>,
}

#[pymethods]
impl DirectoryKeyStore {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        guard(|| {
            let inner = blocking(py, || cmkit::DirectoryKeyStore::open_or_create(&path))?;
            Ok(Self {
                path,
                inner: Arc::new(inner),
            })
        })
    }

    #[getter]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn __repr__(&self) -> String {
        format!("DirectoryKeyStore({:?})", self.path.display().to_string())
    }
}

/// The key store that a Python object is.
pub(crate) fn key_store(object: &Bound<'_, PyAny>) -> PyResult<Arc<dyn KeyStore>> {
    if let Ok(directory) = object.cast::<DirectoryKeyStore>() {
        return Ok(Arc::clone(&directory.get().inner) as Arc<dyn KeyStore>);
    }
    for method in ["get", "put_if_absent", "replace_if_unchanged", "list"] {
        if !object.getattr_opt(method)?.is_some_and(|m| m.is_callable()) {
            return Err(PyTypeError::new_err(format!(
                "a key store is a DirectoryKeyStore or has the methods of cmkit.KeyStore; {} has no {method}()",
                object.get_type().name()?
            )));
        }
    }
    Ok(Arc::new(PythonKeyStore(object.clone().unbind())))
}

struct PythonKeyStore(Py<PyAny>);

impl PythonKeyStore {
    fn call<T>(
        &self,
        method: &str,
        call: impl FnOnce(Python<'_>, &Bound<'_, PyAny>) -> PyResult<T>,
    ) -> cmkit::Result<T> {
        let failed = |problem: String, retryable| Err(Error::KeyStore { problem, retryable });
        Python::try_attach(|py| {
            call(py, self.0.bind(py)).or_else(|e| {
                let class = e
                    .get_type(py)
                    .name()
                    .map(|n| n.to_string())
                    .unwrap_or_default();
                let retryable = e
                    .value(py)
                    .getattr("retryable")
                    .and_then(|r| r.is_truthy())
                    .unwrap_or(false);
                let problem = ours_text(py, &e).unwrap_or_else(|| {
                    format!("the key store's {method}() raised {class}; the traceback says more")
                });
                raised::keep(e);
                failed(problem, retryable)
            })
        })
        .unwrap_or_else(|| failed("the interpreter is shutting down".to_owned(), false))
    }
}

impl KeyStore for PythonKeyStore {
    fn get(&self, id: &DekId) -> cmkit::Result<Option<StoredKey>> {
        self.call("get", |py, object| {
            let row = object.call_method1("get", (id.to_string(),))?;
            if row.is_none() {
                return Ok(None);
            }
            let wrong = || {
                PyTypeError::new_err("get() must return StoredKey(data: bytes, tag: bytes) or None")
            };
            let row = row.cast_into::<PyTuple>().map_err(|_| wrong())?;
            if row.len() != 2 {
                return Err(wrong());
            }
            let bytes = bytes_of(py, &row.get_item(0)?, "data")?;
            let tag = bytes_of(py, &row.get_item(1)?, "tag")?;
            Ok(Some(StoredKey { bytes, tag }))
        })
    }

    fn put_if_absent(&self, id: &DekId, bytes: &[u8]) -> cmkit::Result<bool> {
        self.call("put_if_absent", |py, object| {
            object
                .call_method1("put_if_absent", (id.to_string(), PyBytes::new(py, bytes)))?
                .extract()
        })
    }

    fn replace_if_unchanged(&self, id: &DekId, bytes: &[u8], tag: &[u8]) -> cmkit::Result<bool> {
        self.call("replace_if_unchanged", |py, object| {
            let arguments = (
                id.to_string(),
                PyBytes::new(py, bytes),
                PyBytes::new(py, tag),
            );
            object
                .call_method1("replace_if_unchanged", arguments)?
                .extract()
        })
    }

    fn list(&self) -> cmkit::Result<Vec<DekId>> {
        self.call("list", |_, object| {
            let ids = object.call_method0("list")?.try_iter()?.map(|id| {
                let id = id?;
                let id = id
                    .extract::<&str>()
                    .map_err(|_| PyTypeError::new_err("list() must give str"))?;
                id.parse()
                    .map_err(|e: Error| pyo3::exceptions::PyValueError::new_err(e.to_string()))
            });
            ids.collect()
        })
    }
}
