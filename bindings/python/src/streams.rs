//! What stands behind `cmkit.Writer`, `cmkit.Encryptor` and `cmkit.Decryptor`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use cmkit::{AtomicFile, Error, HeaderPadding, Overwrite, StreamOptions, error_from_io};
use pyo3::prelude::*;
use zeroize::Zeroizing;

use crate::arguments::Context;
use crate::buffer::{Input, Items, Output};
use crate::error::{blocking, guard, state_error, to_python};
use crate::keyring::Keyring;
use crate::pyfile::PyFile;

/// Bytes that are written before signals are looked at.
const SLICE: usize = 16 << 20;
/// The same where they have to be copied first: so few that the copy stays in the cache.
const COPIED_SLICE: usize = 1 << 20;
/// Bytes that the core buffers before it seals: up to there a write is a copy.
const CHUNK: u64 = 16_384;

const OTHER_PROCESS: &str = "this stream belongs to another process; after a fork open a new one";
const FINISHED: &str = "this stream is finished, failed or aborted; open a new one";

/// A value that one thread at a time works with.
///
/// Threads wait for one another with the interpreter released. A thread that has it already, by way of a file object that calls
/// its stream, gets an error; and so does a forked child, in which the lock may be locked for ever.
pub(crate) struct Turn<T> {
    process: u32,
    /// The thread whose turn it is; 0 for none.
    holder: AtomicU64,
    value: Mutex<T>,
}

impl<T: Send> Turn<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            process: std::process::id(),
            holder: AtomicU64::new(0),
            value: Mutex::new(value),
        }
    }

    pub(crate) fn with<R>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut T) -> PyResult<R>,
    ) -> PyResult<R> {
        if self.process != std::process::id() {
            return Err(state_error(py, OTHER_PROCESS));
        }
        let me = thread_number();
        let mut guard = match self.value.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if self.holder.load(Ordering::Relaxed) == me => {
                return Err(state_error(
                    py,
                    "a stream's own file object called the stream",
                ));
            }
            Err(TryLockError::WouldBlock) => self.wait(py),
        };
        self.holder.store(me, Ordering::Relaxed);
        let result = work(&mut guard);
        self.holder.store(0, Ordering::Relaxed);
        drop(guard);
        result
    }

    fn wait(&self, py: Python<'_>) -> MutexGuard<'_, T> {
        loop {
            // A guard can't leave the closure, which must be able to run on any thread; so wait there and try again here.
            py.detach(|| drop(self.value.lock().unwrap_or_else(PoisonError::into_inner)));
            match self.value.try_lock() {
                Ok(guard) => return guard,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
    }
}

fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|n| *n)
}

/// Where an encryptor writes to.
enum Sink {
    /// With what errors call it where that isn't its path.
    File(cmkit::Encryptor<AtomicFile>, PathBuf, Option<&'static str>),
    Object(cmkit::Encryptor<PyFile>),
}

impl Sink {
    fn write(&mut self, data: &[u8]) -> cmkit::Result<()> {
        match self {
            Self::File(encryptor, path, name) => encryptor
                .write_all(data)
                .map_err(|e| named(error_from_io(e), path, *name)),
            Self::Object(encryptor) => encryptor.write_all(data).map_err(error_from_io),
        }
    }

    fn finish(self) -> cmkit::Result<()> {
        match self {
            Self::File(encryptor, path, name) => {
                // A file that is replaced hands on its mode.
                let mode = std::fs::metadata(&path).ok().map(|m| m.permissions());
                let result = encryptor.finish().and_then(|file| file.commit(mode));
                result.map_err(|e| named(e, &path, name))
            }
            Self::Object(encryptor) => encryptor.finish().map(drop),
        }
    }
}

/// An encrypting stream.
#[pyclass(frozen, module = "cmkit._cmkit", name = "RawEncryptor")]
pub(crate) struct RawEncryptor {
    state: Turn<Encrypting>,
}

struct Encrypting {
    sink: Option<Sink>,
    total: u64,
}

#[pymethods]
impl RawEncryptor {
    /// Takes all of `data`.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        guard(|| {
            let input = Input::of(data, "data")?;
            self.state.with(py, |state| {
                let written = write(py, state, &input);
                if written.is_err() {
                    // What was written so far is no envelope and can't become one.
                    state.sink = None;
                }
                written
            })
        })
    }

    /// Writes the end.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            self.state.with(py, |state| {
                let sink = state.sink.take().ok_or_else(|| state_error(py, FINISHED))?;
                blocking(py, || sink.finish())
            })
        })
    }

    /// Gives up: the end is never written, and a file is removed.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            self.state.with(py, |state| {
                let sink = state.sink.take();
                py.detach(|| drop(sink));
                Ok(())
            })
        })
    }

    /// Plaintext bytes written so far.
    fn tell(&self, py: Python<'_>) -> PyResult<u64> {
        guard(|| self.state.with(py, |state| Ok(state.total)))
    }
}

fn write(py: Python<'_>, state: &mut Encrypting, input: &Input<'_>) -> PyResult<usize> {
    let sink = state
        .sink
        .as_mut()
        .ok_or_else(|| state_error(py, FINISHED))?;
    let len = input.len();
    let slice_len = if input.fixed().is_some() {
        SLICE
    } else {
        COPIED_SLICE
    };
    let mut copy = Zeroizing::new(Vec::new());
    let mut done = 0;
    while done < len {
        let step = (len - done).min(slice_len);
        let piece = match input {
            Input::Shared(shared) => {
                copy.resize(step, 0);
                shared.copy(py, done, &mut copy);
                &copy[..]
            }
            fixed => &fixed.fixed().unwrap_or_default()[done..done + step],
        };
        if state.total % CHUNK + (step as u64) < CHUNK {
            sink.write(piece).map_err(|e| to_python(py, e))?;
        } else {
            blocking(py, || sink.write(piece))?;
            py.check_signals()?;
        }
        state.total += step as u64;
        done += step;
    }
    Ok(len)
}

/// A decrypting stream.
#[pyclass(frozen, module = "cmkit._cmkit", name = "RawDecryptor")]
pub(crate) struct RawDecryptor {
    state: Turn<Option<cmkit::Decryptor<PyFile>>>,
}

#[pymethods]
impl RawDecryptor {
    /// Fills `out` as far as there is plaintext at hand; 0 at the end.
    fn readinto(&self, py: Python<'_>, out: &Bound<'_, PyAny>) -> PyResult<usize> {
        guard(|| {
            let mut out = Output::of(out, "out", Items::Any)?;
            self.state.with(py, |state| {
                let decryptor = state.as_mut().ok_or_else(|| state_error(py, FINISHED))?;
                py.check_signals()?;
                let out = out.bytes();
                let read = blocking(py, || retried(|| decryptor.read(out)));
                if read.is_err() {
                    out.fill(0);
                }
                read
            })
        })
    }

    /// Lets go of the plaintext that was read ahead.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        guard(|| {
            self.state.with(py, |state| {
                *state = None;
                Ok(())
            })
        })
    }
}

fn retried(mut read: impl FnMut() -> io::Result<usize>) -> cmkit::Result<usize> {
    loop {
        match read() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted && e.get_ref().is_none() => {}
            other => return other.map_err(error_from_io),
        }
    }
}

/// A stream that encrypts into a file object.
#[pyfunction]
pub(crate) fn open_raw_encryptor(
    py: Python<'_>,
    keyring: &Keyring,
    fileobj: &Bound<'_, PyAny>,
    context: Option<&Bound<'_, PyAny>>,
) -> PyResult<RawEncryptor> {
    guard(|| {
        let file = PyFile::new(fileobj, &["write"])?;
        let context = Context::of(context)?;
        let encryptor = blocking(py, || keyring.core().encryptor(file, &context))?;
        Ok(RawEncryptor {
            state: Turn::new(Encrypting {
                sink: Some(Sink::Object(encryptor)),
                total: 0,
            }),
        })
    })
}

/// For the name of a file that isn't told.
const WITHHELD: &str = "(a file whose name is withheld)";

/// The error with the file that it is about, or with what stands for its name.
fn named(error: Error, path: &Path, name: Option<&'static str>) -> Error {
    let Some(name) = name else {
        return error.in_file(path);
    };
    match error {
        Error::Io {
            operation, source, ..
        } => Error::Io {
            operation,
            path: Some(name.into()),
            source,
        },
        Error::AlreadyExists { .. } => Error::AlreadyExists { what: name.into() },
        Error::File { source, .. } => named(*source, path, Some(name)),
        other => other.in_file(name),
    }
}

/// A stream that encrypts into a file, which appears when it is finished.
#[pyfunction]
pub(crate) fn open_raw_writer(
    py: Python<'_>,
    keyring: &Keyring,
    path: PathBuf,
    replace: bool,
    context: Option<&Bound<'_, PyAny>>,
) -> PyResult<RawEncryptor> {
    guard(|| {
        let context = Context::of(context)?;
        let overwrite = if replace {
            Overwrite::Replace
        } else {
            Overwrite::Refuse
        };
        // So that it stays the same file when the process changes its directory.
        let path = std::path::absolute(&path)?;
        let is_discreet = keyring.core().is_high_business_impact();
        let name = is_discreet.then_some(WITHHELD);
        let encryptor = blocking(py, || {
            let options = StreamOptions::default().padded_header(HeaderPadding::FileBlock);
            AtomicFile::create(&path, overwrite)
                .and_then(|file| keyring.core().encryptor_with(file, &context, options))
                .map_err(|e| named(e, &path, name))
        })?;
        Ok(RawEncryptor {
            state: Turn::new(Encrypting {
                sink: Some(Sink::File(encryptor, path, name)),
                total: 0,
            }),
        })
    })
}

/// A stream that decrypts from a file object.
#[pyfunction]
pub(crate) fn open_raw_decryptor(
    py: Python<'_>,
    keyring: &Keyring,
    fileobj: &Bound<'_, PyAny>,
    context: Option<&Bound<'_, PyAny>>,
) -> PyResult<RawDecryptor> {
    guard(|| {
        let file = PyFile::new(fileobj, &["read"])?;
        let context = Context::of(context)?;
        let decryptor = blocking(py, || keyring.core().decryptor(file, &context))?;
        Ok(RawDecryptor {
            state: Turn::new(Some(decryptor)),
        })
    })
}

/// The class of this name in `cmkit._io`, made for a keyring and a file object.
pub(crate) fn of_python<'py>(
    keyring: &Bound<'py, Keyring>,
    class: &str,
    fileobj: &Bound<'py, PyAny>,
    context: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    keyring
        .py()
        .import("cmkit._io")?
        .getattr(class)?
        .call1((keyring, fileobj, context))
}
