//! What stands behind `cmkit.scratch`: a job's disk from begin to end.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cmkit_scratch::{
    Discard, ErasureRecord, Expose, FileSystem, JobScratch, JobSpec, Occupied, StateDir, mount,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::arguments::seconds;
use crate::block_device::{volume_mode, volume_spec};
use crate::error::{blocking, guard, state_error, to_python};
use crate::keyring::Keyring;
use crate::owned::Owned;
use crate::volume::Volume;

/// How long a signal waits at most.
const SLICE: Duration = Duration::from_millis(50);

/// A job with a scratch disk.
#[pyclass(frozen, module = "cmkit._cmkit", name = "RawScratch")]
pub(crate) struct RawScratch {
    /// `None` once it has ended. Locked for a moment only and by whoever has the interpreter, so that no fork finds it locked.
    job: Owned<Mutex<Option<JobScratch>>>,
    volume: Py<Volume>,
    name: String,
    path: Option<PathBuf>,
}

#[pymethods]
impl RawScratch {
    /// The job's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[getter]
    fn path(&self) -> Option<PathBuf> {
        self.path.clone()
    }

    /// The disk itself.
    #[getter]
    fn volume(&self, py: Python<'_>) -> PyResult<Py<Volume>> {
        guard(|| Ok(self.volume.clone_ref(py)))
    }

    /// Whether this process may end it, and nobody has yet.
    fn is_live(&self, py: Python<'_>) -> PyResult<bool> {
        guard(|| Ok(self.job.here(py).is_ok_and(|job| lock(job).is_some())))
    }

    /// Erases it. The record and, if there was one, the exception that a signal's handler raised meanwhile.
    fn end<'py>(
        &self,
        py: Python<'py>,
        grace: f64,
        how: &str,
    ) -> PyResult<(Bound<'py, PyAny>, Option<PyErr>)> {
        guard(|| {
            let grace = seconds("grace", grace)?;
            let job = lock(self.job.here(py)?).take();
            let Some(job) = job else {
                return Err(state_error(py, "this scratch disk has ended already"));
            };
            let (ended, interrupt) = end(py, job, grace, how.to_owned());
            self.volume.get().let_go(py);
            let ended = ended.unwrap_or(Err(cmkit::Error::Internal {
                problem: "ending a scratch disk failed; its key is destroyed",
            }));
            match (ended, interrupt) {
                (Ok(ended), interrupt) => Ok((record(py, ended)?, interrupt)),
                (Err(_), Some(interrupt)) => Err(interrupt),
                (Err(error), None) => Err(to_python(py, error)),
            }
        })
    }
}

fn lock(job: &Mutex<Option<JobScratch>>) -> std::sync::MutexGuard<'_, Option<JobScratch>> {
    job.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a job on a thread of its own. After Ctrl-C the key is destroyed at once, and what is left to do is waited for all the same: it is not
/// much then, and nobody else would do it.
fn end(
    py: Python<'_>,
    job: JobScratch,
    grace: Duration,
    how: String,
) -> (Option<cmkit::Result<ErasureRecord>>, Option<PyErr>) {
    let volume = Arc::clone(job.volume());
    let (sender, receiver) = channel();
    // Taken by the thread, or by this one if there is none.
    let job = Arc::new(Mutex::new(Some(job)));
    let theirs = Arc::clone(&job);
    let started = std::thread::Builder::new()
        .name("cmkit-scratch-end".into())
        .spawn(move || {
            if let Some(job) = lock(&theirs).take() {
                let _ = sender.send(job.end_with(grace, &how));
            }
        });
    py.detach(move || {
        if started.is_err() {
            let job = lock(&job).take();
            return (job.map(|job| job.end(grace)), None);
        }
        let mut interrupt = None;
        loop {
            match receiver.recv_timeout(SLICE) {
                Ok(ended) => return (Some(ended), interrupt),
                Err(RecvTimeoutError::Disconnected) => return (None, interrupt),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(Err(error)) = Python::try_attach(|py| py.check_signals()) {
                volume.destroy();
                interrupt.get_or_insert(error);
            }
        }
    })
}

/// Makes a disk for a job and exposes it.
#[pyfunction]
#[pyo3(signature = (state_dir, job, size, dir, device, *, force, mode, block_size, keyring, expose, fs, path, owner))]
#[expect(clippy::too_many_arguments, reason = "keywords")]
pub(crate) fn begin_scratch(
    py: Python<'_>,
    state_dir: PathBuf,
    job: &str,
    size: Option<u64>,
    dir: Option<PathBuf>,
    device: Option<PathBuf>,
    force: bool,
    mode: &str,
    block_size: u32,
    keyring: Option<&Keyring>,
    expose: Option<&str>,
    fs: &str,
    path: Option<PathBuf>,
    owner: Option<(u32, u32)>,
) -> PyResult<RawScratch> {
    guard(|| {
        let volume = volume_spec(volume_mode(py, mode, block_size)?, keyring, None);
        let spec = match (device, dir, size) {
            (Some(device), None, None) => {
                let occupied = if force {
                    Occupied::Overwrite
                } else {
                    Occupied::Refuse
                };
                JobSpec::on_device(device, occupied)
            }
            (None, dir, Some(size)) => {
                let spec = JobSpec::new(size);
                match dir {
                    Some(dir) => spec.in_dir(dir),
                    None => spec,
                }
            }
            _ => {
                return Err(PyValueError::new_err(
                    "give a size, or a device, which is taken whole and has no dir",
                ));
            }
        };
        let spec = spec.volume(volume);
        let expose = how_to_expose(expose, fs, path, owner)?;
        let job = blocking(py, || {
            if matches!(expose, Expose::Mount { .. }) {
                mount::check_permitted().map_err(with_python_words)?;
            }
            let state = StateDir::open(&state_dir)?;
            JobScratch::begin(&state, job, &spec, &expose)
        })?;
        Ok(RawScratch {
            volume: Py::new(py, Volume::of(Arc::clone(job.volume())))?,
            name: job.name().to_owned(),
            path: job.path().map(ToOwned::to_owned),
            job: Owned::new(Mutex::new(Some(job))),
        })
    })
}

fn with_python_words(error: cmkit::Error) -> cmkit::Error {
    match error {
        cmkit::Error::NotPermitted { problem } => cmkit::Error::NotPermitted {
            problem: format!("{problem} (expose=\"nbd\" or expose=\"file\")"),
        },
        other => other,
    }
}

fn how_to_expose(
    expose: Option<&str>,
    fs: &str,
    path: Option<PathBuf>,
    owner: Option<(u32, u32)>,
) -> PyResult<Expose> {
    Ok(match expose {
        None => Expose::Nothing,
        Some("file") => Expose::File(path),
        Some("nbd") => {
            Expose::Nbd(path.ok_or_else(|| PyValueError::new_err("expose=\"nbd\" needs a path"))?)
        }
        Some("mount") => Expose::Mount {
            dir: path,
            file_system: match fs {
                "ext4" => FileSystem::Ext4,
                "xfs" => FileSystem::Xfs,
                _ => return Err(PyValueError::new_err("fs must be \"ext4\" or \"xfs\"")),
            },
            owner,
        },
        Some(_) => {
            return Err(PyValueError::new_err(
                "expose must be \"mount\", \"file\", \"nbd\" or None",
            ));
        }
    })
}

/// Cleans up after jobs whose owner died.
#[pyfunction]
pub(crate) fn recover_scratch_in(
    py: Python<'_>,
    state_dir: PathBuf,
) -> PyResult<Bound<'_, PyList>> {
    guard(|| {
        let recovered = blocking(py, || cmkit_scratch::recover(&StateDir::open(&state_dir)?))?;
        let records = recovered.into_iter().map(|recovered| {
            let of_job = recovered.record.unwrap_or_else(|error| {
                let mut unknown = ErasureRecord::new("");
                unknown.job = Some(recovered.job);
                unknown.recovered = true;
                unknown.end = "it couldn't be looked at".into();
                unknown.left_behind = vec![error.to_string()];
                unknown
            });
            record(py, of_job)
        });
        PyList::new(py, records.collect::<PyResult<Vec<_>>>()?)
    })
}

/// As the dataclass `cmkit.ErasureRecord`.
fn record(py: Python<'_>, record: ErasureRecord) -> PyResult<Bound<'_, PyAny>> {
    let (discard, problem) = match record.discard {
        Discard::GivenBack => ("given back", None),
        Discard::Unsupported => ("unsupported", None),
        Discard::Failed { why } => ("failed", Some(why)),
        Discard::NotTried => ("not tried", None),
        _ => ("unknown", None),
    };
    let fields = PyDict::new(py);
    fields.set_item("volume", record.volume)?;
    fields.set_item("job", record.job)?;
    fields.set_item("mode", record.mode)?;
    fields.set_item("keys", PyTuple::new(py, record.keys)?)?;
    fields.set_item("created", record.created.map(|time| time.unix()))?;
    fields.set_item("ended", record.ended.map(|time| time.unix()))?;
    let destroyed = record.key_destroyed.map(|time| time.unix());
    fields.set_item("key_destroyed", destroyed)?;
    fields.set_item("size", record.size)?;
    fields.set_item("bytes_written", record.bytes_written)?;
    fields.set_item("discard", discard)?;
    fields.set_item("discard_problem", problem)?;
    fields.set_item("left_behind", PyTuple::new(py, record.left_behind)?)?;
    fields.set_item("recovered", record.recovered)?;
    fields.set_item("end", record.end)?;
    let class = py.import("cmkit._types")?.getattr("ErasureRecord")?;
    class.call((), Some(&fields))
}
