//! Following rotations of wrapping keys.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use cmkit::{NewestKey, RewrapOutcome, Rotate, RotateOutcome, RotatedFile};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::error::{blocking, guard, to_python};
use crate::provider::bytes_of;
use crate::raised;

/// The newest versions of a keyring's wrapping keys, to bring envelopes to.
#[pyclass(frozen, module = "cmkit", name = "Rotation")]
pub(crate) struct Rotation {
    inner: cmkit::Rotation,
}

impl Rotation {
    pub(crate) fn new(
        py: Python<'_>,
        keyring: &cmkit::Keyring,
        keep_old: Duration,
        dry_run: bool,
    ) -> PyResult<Self> {
        let mut options = Rotate::default().keep_old(keep_old);
        if dry_run {
            options = options.dry_run();
        }
        let inner = blocking(py, || keyring.rotation(&options))?;
        Ok(Self { inner })
    }
}

#[pymethods]
impl Rotation {
    /// The newest version of each wrapping key that is followed.
    #[getter]
    fn newest<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        guard(|| {
            let keys = self.inner.newest().iter().map(|key| newest_key(py, key));
            PyTuple::new(py, keys.collect::<PyResult<Vec<_>>>()?)
        })
    }

    /// Follows the rotations in an envelope, or the header of one.
    fn rotate<'py>(&self, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let py = data.py();
            let envelope = bytes_of(py, data, "data")?;
            let rotated = blocking(py, || self.inner.rotate(&envelope))?;
            let new = rotated.envelope.map(|e| PyBytes::new(py, &e));
            let fields = (outcome(rotated.outcome), rotated.old_kept_until, new);
            py.import("cmkit._types")?.getattr("Rotated")?.call1(fields)
        })
    }

    /// Follows the rotations in a file; its body stays where it is.
    fn rotate_file<'py>(&self, py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let rotated = blocking(py, || self.inner.rotate_file(&path))?;
            file(py, &rotated)
        })
    }

    /// Follows the rotations in files, and in everything below directories, telling a function what became of each.
    fn rotate_paths(
        &self,
        py: Python<'_>,
        paths: &Bound<'_, PyAny>,
        on_file: Py<PyAny>,
    ) -> PyResult<()> {
        guard(|| {
            let paths = paths_of(paths)?;
            blocking(py, || {
                self.inner.rotate_paths(paths, |path, result| {
                    tell(|py| {
                        let result = told(py, result)?;
                        on_file.call1(py, (path.as_os_str(), result))
                    })
                })
            })
        })
    }

    /// Follows the rotations in every row of the key store, telling a function what became of each.
    fn rotate_key_store(&self, py: Python<'_>, on_row: Py<PyAny>) -> PyResult<()> {
        guard(|| {
            blocking(py, || {
                self.inner.rotate_key_store(|id, result| {
                    tell(|py| {
                        let result = result.map(|rotated| {
                            (
                                rotated.outcome,
                                rotated.old_kept_until,
                                rotated.envelope.is_some(),
                            )
                        });
                        let result = match result {
                            Ok((outcome_is, until, was_written)) => {
                                let written = was_written.then_some("copied");
                                of_file(py, outcome(outcome_is), until, written)?
                            }
                            Err(e) => to_python(py, e).into_value(py).into_bound(py).into_any(),
                        };
                        on_row.call1(py, (id.to_string(), result))
                    })
                })
            })
        })
    }
}

pub(crate) fn newest_key<'py>(py: Python<'py>, key: &NewestKey) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("cmkit._types")?.getattr("NewestKey")?;
    class.call1((key.key.as_str(), key.created))
}

/// One path, or an iterable of them.
pub(crate) fn paths_of(object: &Bound<'_, PyAny>) -> PyResult<Vec<PathBuf>> {
    if object.is_instance_of::<PyString>() || object.hasattr("__fspath__")? {
        return Ok(vec![object.extract()?]);
    }
    object.try_iter()?.map(|item| item?.extract()).collect()
}

/// Calls a function of the caller's between two files, where Ctrl-C is seen, too. What it raises ends the walk.
pub(crate) fn tell<T>(call: impl FnOnce(Python<'_>) -> PyResult<T>) -> ControlFlow<()> {
    if raised::is_interrupt() {
        return ControlFlow::Break(());
    }
    // What the provider raised for the last file was that file's affair.
    let called = Python::try_attach(|py| {
        py.check_signals()?;
        call(py).map(drop)
    });
    match called {
        Some(Ok(())) => ControlFlow::Continue(()),
        Some(Err(e)) => {
            raised::keep(e);
            ControlFlow::Break(())
        }
        None => ControlFlow::Break(()),
    }
}

fn told<'py>(py: Python<'py>, result: cmkit::Result<RotatedFile>) -> PyResult<Bound<'py, PyAny>> {
    match result {
        Ok(rotated) => file(py, &rotated),
        Err(e) => Ok(to_python(py, e).into_value(py).into_bound(py).into_any()),
    }
}

fn file<'py>(py: Python<'py>, rotated: &RotatedFile) -> PyResult<Bound<'py, PyAny>> {
    let written = rotated.written.map(|how| match how {
        RewrapOutcome::Copied => "copied",
        _ => "in place",
    });
    of_file(
        py,
        outcome(rotated.outcome),
        rotated.old_kept_until,
        written,
    )
}

fn of_file<'py>(
    py: Python<'py>,
    outcome: &str,
    old_kept_until: Option<u64>,
    written: Option<&str>,
) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("cmkit._types")?.getattr("RotatedFile")?;
    class.call1((outcome, old_kept_until, written))
}

fn outcome(outcome: RotateOutcome) -> &'static str {
    match outcome {
        RotateOutcome::NotOurs => "not_ours",
        RotateOutcome::UpToDate => "up_to_date",
        RotateOutcome::Waiting => "waiting",
        RotateOutcome::Finished => "finished",
        RotateOutcome::Replaced => "replaced",
        _ => "added",
    }
}
