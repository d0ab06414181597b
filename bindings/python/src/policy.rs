//! How long a DEK serves, and which keys may unwrap.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// How long a cached DEK serves. Zero in any of them means: don't cache.
#[pyclass(frozen, eq, module = "cmkit", name = "DekPolicy")]
#[derive(Clone, PartialEq)]
pub(crate) struct DekPolicy {
    #[pyo3(get)]
    max_age: f64,
    #[pyo3(get)]
    max_messages: u64,
    #[pyo3(get)]
    max_bytes: u64,
    #[pyo3(get)]
    max_entries: usize,
}

#[pymethods]
impl DekPolicy {
    #[new]
    #[pyo3(signature = (*, max_age=3600.0, max_messages=1_048_576, max_bytes=274_877_906_944, max_entries=1000))]
    fn new(max_age: f64, max_messages: u64, max_bytes: u64, max_entries: usize) -> PyResult<Self> {
        let policy = Self {
            max_age,
            max_messages,
            max_bytes,
            max_entries,
        };
        policy.to_core()?;
        Ok(policy)
    }

    /// A policy that caches nothing: every message has its own DEK.
    #[staticmethod]
    fn no_cache() -> Self {
        Self {
            max_age: 0.0,
            max_messages: 1 << 20,
            max_bytes: 256 << 30,
            max_entries: 1000,
        }
    }

    fn __repr__(&self) -> String {
        format!(
            "DekPolicy(max_age={:?}, max_messages={}, max_bytes={}, max_entries={})",
            self.max_age, self.max_messages, self.max_bytes, self.max_entries
        )
    }
}

impl DekPolicy {
    pub(crate) fn to_core(&self) -> PyResult<cmkit::DekPolicy> {
        let age = Duration::try_from_secs_f64(self.max_age)
            .map_err(|_| PyValueError::new_err("max_age must be a number of seconds, 0 or more"))?;
        Ok(cmkit::DekPolicy::default()
            .max_age(age)
            .max_messages(self.max_messages)
            .max_bytes(self.max_bytes)
            .max_entries(self.max_entries))
    }
}

/// Allows every key of one https host, given as in a key id: exact, with its port if it has one.
#[pyclass(frozen, eq, module = "cmkit", name = "AllowHost")]
#[derive(Clone, PartialEq)]
pub(crate) struct AllowHost {
    #[pyo3(get)]
    host: String,
}

#[pymethods]
impl AllowHost {
    #[new]
    fn new(host: String) -> Self {
        Self { host }
    }

    fn __repr__(&self) -> String {
        format!("AllowHost({:?})", self.host)
    }
}

impl AllowHost {
    pub(crate) fn entry(&self) -> cmkit::AllowEntry {
        cmkit::AllowEntry::Host(self.host.clone())
    }
}
