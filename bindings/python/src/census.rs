//! Which key versions still protect something.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cmkit::{NewestKey, SafeToDisable, VersionUse};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arguments::{key_id, seconds};
use crate::error::{blocking, guard, state_error};
use crate::key_store::key_store;
use crate::keyring::Keyring;
use crate::provider::bytes_of;
use crate::rotation::tell;

/// A count of the key versions that envelopes are wrapped by.
#[pyclass(frozen, module = "cmkit", name = "Census")]
pub(crate) struct Census {
    /// Taken out while something is added, so that nothing is locked meanwhile.
    inner: Mutex<Option<cmkit::Census>>,
}

#[pymethods]
impl Census {
    #[new]
    fn new(keyring: &Keyring) -> PyResult<Self> {
        guard(|| {
            Ok(Self {
                inner: Mutex::new(Some(keyring.core().census())),
            })
        })
    }

    /// When it was begun, in seconds since 1970.
    #[getter]
    fn begun(&self, py: Python<'_>) -> PyResult<u64> {
        guard(|| self.with(py, |census| Ok(census.begun())))
    }

    /// Adds an envelope, or the header of one.
    fn add_envelope(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let envelope = bytes_of(data.py(), data, "data")?;
            self.with(data.py(), |census| {
                census.add_envelope(&envelope);
                Ok(())
            })
        })
    }

    /// Adds a file.
    fn add_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        guard(|| {
            self.with(py, |census| {
                blocking(py, || {
                    census.add_file(&path);
                    Ok(())
                })
            })
        })
    }

    /// Adds a file, or everything below a directory, key stores included.
    fn add_path(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        guard(|| {
            self.with(py, |census| {
                blocking(py, || census.add_path_with(&path, |_| tell(|_| Ok(()))))
            })
        })
    }

    /// Adds every row of a key store, or of a keyring's.
    fn add_key_store(&self, store: &Bound<'_, PyAny>) -> PyResult<()> {
        guard(|| {
            let py = store.py();
            if let Ok(keyring) = store.cast::<Keyring>() {
                let keyring = keyring.get().core().clone();
                return self.with(py, |census| {
                    blocking(py, || census.add_key_store_of(&keyring))
                });
            }
            let store = key_store(store)?;
            self.with(py, |census| {
                blocking(py, || {
                    census.add_key_store(&*store);
                    Ok(())
                })
            })
        })
    }

    /// Adds something that the caller couldn't read.
    fn add_unreadable(&self, py: Python<'_>, name: &str, problem: &str) -> PyResult<()> {
        guard(|| {
            self.with(py, |census| {
                census.add_unreadable(name, problem);
                Ok(())
            })
        })
    }

    /// Every key version that was found.
    #[getter]
    fn versions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        guard(|| {
            self.with(py, |census| {
                let versions = census.versions().map(|version| version_use(py, version));
                PyTuple::new(py, versions.collect::<PyResult<Vec<_>>>()?)
            })
        })
    }

    /// Headers that were counted, of envelopes and of rows.
    #[getter]
    fn headers(&self, py: Python<'_>) -> PyResult<u64> {
        guard(|| self.with(py, |census| Ok(census.headers())))
    }

    /// Those of them that are rows of key stores.
    #[getter]
    fn rows(&self, py: Python<'_>) -> PyResult<u64> {
        guard(|| self.with(py, |census| Ok(census.rows())))
    }

    /// Compact envelopes, whose data keys are in key stores.
    #[getter]
    fn compact(&self, py: Python<'_>) -> PyResult<u64> {
        guard(|| self.with(py, |census| Ok(census.compact())))
    }

    /// Files and bytes that aren't envelopes.
    #[getter]
    fn skipped(&self, py: Python<'_>) -> PyResult<u64> {
        guard(|| self.with(py, |census| Ok(census.skipped())))
    }

    /// Symbolic links in directories, which weren't followed.
    #[getter]
    fn links(&self, py: Python<'_>) -> PyResult<u64> {
        guard(|| self.with(py, |census| Ok(census.links())))
    }

    /// How many things couldn't be read, each of which may need any key.
    #[getter]
    fn unreadable_count(&self, py: Python<'_>) -> PyResult<u64> {
        guard(|| self.with(py, |census| Ok(census.unreadable_count())))
    }

    /// The first 20 of them: name and problem.
    #[getter]
    fn unreadable<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        guard(|| {
            self.with(py, |census| {
                let pairs = census.unreadable().iter().map(|u| (&u.name, &u.problem));
                PyTuple::new(py, pairs)
            })
        })
    }

    /// Whether this key version may be disabled, as far as the census went.
    #[pyo3(signature = (key_id, newest, *, poll_interval=3600.0, dek_age=3600.0))]
    fn safe_to_disable<'py>(
        &self,
        py: Python<'py>,
        key_id: &str,
        newest: &Bound<'py, PyAny>,
        poll_interval: f64,
        dek_age: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let key = crate::arguments::key_id(py, key_id)?;
            let newest = newest_of(newest)?;
            let conditions = SafeToDisable::new(newest)
                .poll_interval(seconds("poll_interval", poll_interval)?)
                .dek_age(seconds("dek_age", dek_age)?);
            let verdict = self.with(py, |census| Ok(census.safe_to_disable(&key, &conditions)))?;
            let reasons = PyTuple::new(py, verdict.reasons())?;
            py.import("cmkit._types")?
                .getattr("Verdict")?
                .call1((reasons,))
        })
    }
}

impl Census {
    /// With the census to itself. Another thread meanwhile gets an exception.
    fn with<T>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut cmkit::Census) -> PyResult<T>,
    ) -> PyResult<T> {
        let mut out = Out {
            cell: &self.inner,
            census: self.lock().take(),
        };
        let census = out.census.as_mut().ok_or_else(|| {
            state_error(
                py,
                "another call is adding to this census; give each thread a census of its own",
            )
        })?;
        work(census)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<cmkit::Census>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the census back, also after a panic.
struct Out<'a> {
    cell: &'a Mutex<Option<cmkit::Census>>,
    census: Option<cmkit::Census>,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        if let Some(census) = self.census.take() {
            *self.cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(census);
        }
    }
}

fn newest_of(object: &Bound<'_, PyAny>) -> PyResult<NewestKey> {
    let id: String = object.getattr("key_id")?.extract()?;
    Ok(NewestKey {
        key: key_id(object.py(), &id)?,
        created: object.getattr("created")?.extract()?,
    })
}

fn version_use<'py>(py: Python<'py>, version: &VersionUse) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("key_id", version.key.as_str())?;
    fields.set_item("headers", version.headers)?;
    fields.set_item("only_key", version.only_key)?;
    fields.set_item("old_kept", version.old_kept)?;
    fields.set_item("oldest_wrap", version.oldest_wrap)?;
    fields.set_item("newest_wrap", version.newest_wrap)?;
    fields.set_item("example", &version.example)?;
    let class = py.import("cmkit._types")?.getattr("VersionUse")?;
    class.call((), Some(&fields))
}
