//! `cmkit.NbdServer`: a volume for NBD clients.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error::{blocking, guard};
use crate::owned::Owned;

/// Serves a volume at a Unix socket until it is stopped.
#[pyclass(frozen, module = "cmkit", name = "NbdServer")]
pub(crate) struct NbdServer {
    inner: Owned<cmkit_scratch::NbdServer>,
    socket: PathBuf,
}

#[pymethods]
impl NbdServer {
    /// Where it listens.
    #[getter]
    fn socket(&self) -> PyResult<PathBuf> {
        guard(|| Ok(self.socket.clone()))
    }

    /// What it has done so far.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let stats = self.inner.here(py)?.stats();
            let fields = PyDict::new(py);
            fields.set_item("connections", stats.connections)?;
            fields.set_item("accepted", stats.accepted)?;
            fields.set_item("refused", stats.refused)?;
            fields.set_item("broken", stats.broken)?;
            fields.set_item("requests", stats.requests)?;
            fields.set_item("failed", stats.failed)?;
            fields.set_item("bytes_read", stats.read)?;
            fields.set_item("bytes_written", stats.written)?;
            let class = py.import("cmkit._types")?.getattr("NbdStats")?;
            class.call((), Some(&fields))
        })
    }

    /// Ends all connections and removes the socket.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            let server = self.inner.here(py)?;
            py.detach(|| server.stop());
            Ok(())
        })
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        guard(|| Ok(slf.clone()))
    }

    /// In a forked child nothing.
    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        guard(|| {
            if let Ok(server) = self.inner.here(py) {
                py.detach(|| server.stop());
            }
            Ok(())
        })
    }

    fn __repr__(&self) -> PyResult<String> {
        guard(|| {
            let socket = self.socket.display().to_string();
            Ok(format!("<cmkit.NbdServer socket={socket:?}>"))
        })
    }
}

impl NbdServer {
    pub(crate) fn start(
        py: Python<'_>,
        volume: Arc<cmkit_scratch::Volume>,
        socket: PathBuf,
        name: &str,
        max_connections: usize,
        uid: Option<u32>,
    ) -> PyResult<Self> {
        let mut builder = cmkit_scratch::NbdServer::builder(volume)
            .name(name)
            .max_connections(max_connections);
        if let Some(uid) = uid {
            builder = builder.allowed_uid(uid);
        }
        let inner = blocking(py, || builder.start(&socket))?;
        Ok(Self {
            socket: inner.socket().to_owned(),
            inner: Owned::new(inner),
        })
    }
}
