//! Where a keyring's events go: a file, or a function written in Python.

use std::path::PathBuf;
use std::sync::Arc;

use cmkit::{AuditEvent, AuditSink, JsonLines};
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::blocking;
use crate::raised;

/// The sink that the argument `audit` names.
pub(crate) fn sink(object: &Bound<'_, PyAny>) -> PyResult<Arc<dyn AuditSink>> {
    if object.is_callable() {
        return Ok(Arc::new(Callback(object.clone().unbind())));
    }
    let path: PathBuf = object.extract().map_err(|_| {
        PyTypeError::new_err(
            "audit must be the path of a file, or a function that takes an AuditEvent",
        )
    })?;
    let file = blocking(object.py(), || JsonLines::append(&path))?;
    Ok(Arc::new(file))
}

struct Callback(Py<PyAny>);

impl AuditSink for Callback {
    fn record(&self, event: &AuditEvent<'_>) {
        Python::try_attach(|py| {
            let told = to_dataclass(py, event).and_then(|event| self.0.call1(py, (event,)));
            match told {
                Ok(_) => {}
                // The operation was done: to fail it would help nobody.
                Err(e) if e.is_instance_of::<PyException>(py) => {
                    e.write_unraisable(py, Some(self.0.bind(py)));
                }
                Err(e) => raised::keep(e),
            }
        });
    }
}

fn to_dataclass<'py>(py: Python<'py>, event: &AuditEvent<'_>) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("time", event.time)?;
    fields.set_item("operation", event.operation.name())?;
    fields.set_item("provider", event.provider)?;
    fields.set_item("key_id", event.key)?;
    let outcome = event
        .failure
        .map_or_else(|| "ok".to_owned(), |kind| format!("{kind:?}"));
    fields.set_item("outcome", outcome)?;
    fields.set_item("code", event.code)?;
    fields.set_item("call_id", event.call_id)?;
    fields.set_item("request_id", event.request_id)?;
    fields.set_item("region", event.region)?;
    fields.set_item("http_status", event.http_status)?;
    fields.set_item("attempts", event.attempts)?;
    fields.set_item("duration", event.duration.as_secs_f64())?;
    fields.set_item("workspace", event.workspace)?;
    let class = py.import("cmkit._types")?.getattr("AuditEvent")?;
    class.call((), Some(&fields))
}
