//! How long a DEK serves, how often its key is asked about, and which keys may unwrap.

use pyo3::prelude::*;

use crate::arguments::seconds;

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
        let age = seconds("max_age", self.max_age)?;
        Ok(cmkit::DekPolicy::default()
            .max_age(age)
            .max_messages(self.max_messages)
            .max_bytes(self.max_bytes)
            .max_entries(self.max_entries))
    }
}

/// How often keys of remote providers are asked again, and how soon their DEKs stop serving without an answer.
#[pyclass(frozen, eq, module = "cmkit", name = "Freshness")]
#[derive(Clone, PartialEq)]
pub(crate) struct Freshness {
    #[pyo3(get)]
    soft: f64,
    #[pyo3(get)]
    hard: f64,
    #[pyo3(get)]
    failover: f64,
    #[pyo3(get)]
    poll: f64,
}

#[pymethods]
impl Freshness {
    #[new]
    #[pyo3(signature = (*, soft=300.0, hard=600.0, failover=86_400.0, poll=3600.0))]
    fn new(soft: f64, hard: f64, failover: f64, poll: f64) -> PyResult<Self> {
        let freshness = Self {
            soft,
            hard,
            failover,
            poll,
        };
        freshness.to_core()?;
        Ok(freshness)
    }

    fn __repr__(&self) -> String {
        format!(
            "Freshness(soft={:?}, hard={:?}, failover={:?}, poll={:?})",
            self.soft, self.hard, self.failover, self.poll
        )
    }
}

impl Freshness {
    pub(crate) fn to_core(&self) -> PyResult<cmkit::Freshness> {
        Ok(cmkit::Freshness::default()
            .soft(seconds("soft", self.soft)?)
            .hard(seconds("hard", self.hard)?)
            .failover(seconds("failover", self.failover)?)
            .poll(seconds("poll", self.poll)?))
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
