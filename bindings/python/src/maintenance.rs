//! Asking remote keys again before it is needed.

use std::sync::{Mutex, PoisonError};

use cmkit::MaintenanceThread;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error::{blocking, guard, to_python};

/// A thread that looks after a keyring's keys, for the time of a `with` block.
#[pyclass(frozen, module = "cmkit", name = "MaintenanceContext")]
pub(crate) struct MaintenanceContext {
    keyring: cmkit::Keyring,
    /// Locked for a moment only and by whoever has the interpreter, so that no fork finds it locked.
    thread: Mutex<Option<MaintenanceThread>>,
}

#[pymethods]
impl MaintenanceContext {
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        guard(|| {
            let this = slf.get();
            let keyring = this.keyring.clone();
            let thread = blocking(slf.py(), move || keyring.maintenance_thread())?;
            let old = this.lock().replace(thread);
            drop(old);
            Ok(slf.clone())
        })
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        guard(|| {
            let thread = self.lock().take();
            drop(thread);
            Ok(())
        })
    }
}

impl MaintenanceContext {
    pub(crate) fn new(keyring: &cmkit::Keyring) -> Self {
        Self {
            keyring: keyring.clone(),
            thread: Mutex::new(None),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<MaintenanceThread>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One round, as the dataclass `cmkit.Maintenance`.
pub(crate) fn maintain<'py>(
    py: Python<'py>,
    keyring: &cmkit::Keyring,
) -> PyResult<Bound<'py, PyAny>> {
    let done = blocking(py, || Ok(keyring.maintain()))?;
    // An exception that a provider raised is the cause of one of them, and it isn't known of which.
    drop(crate::raised::take());
    let problems = done
        .problems
        .into_iter()
        .map(|problem| to_python(py, problem).into_value(py));
    let fields = PyDict::new(py);
    fields.set_item("calls", done.calls)?;
    fields.set_item("problems", PyTuple::new(py, problems)?)?;
    fields.set_item("next", done.next.as_secs_f64())?;
    let class = py.import("cmkit._types")?.getattr("Maintenance")?;
    class.call((), Some(&fields))
}
