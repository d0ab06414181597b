//! Data in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use cmkit::{EncryptionContext, Error};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use crate::arguments::Context;
use crate::buffer::{Input, Items, Output, new_bytes};
use crate::error::{blocking, to_python};
use crate::{large, raised};

/// Data up to this length is worked on without letting go of the interpreter. To let go and take it again costs 0.1 us when nobody else wants it, and
/// up to the interpreter's switch interval of 5 ms when somebody does; the work takes 1 to 3 us.
const HELD: usize = 16 << 10;
/// Data that others may write is copied at once up to here, beyond in slices.
const COPIED: usize = 1 << 20;
/// From here on the work goes in slices, between which signals are looked at.
const SLICED: usize = 128 << 20;

/// Which kind of envelope.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Full,
    Compact,
}

/// A core keyring, and how long the headers of its envelopes were last.
pub(crate) struct Documents {
    core: cmkit::Keyring,
    /// 0 where it isn't known. Only a guess, that saves asking before each message.
    full_header: AtomicUsize,
    compact_header: AtomicUsize,
}

impl Documents {
    pub(crate) fn new(core: cmkit::Keyring) -> Self {
        Self {
            core,
            full_header: AtomicUsize::new(0),
            compact_header: AtomicUsize::new(0),
        }
    }

    pub(crate) fn core(&self) -> &cmkit::Keyring {
        &self.core
    }

    fn header(&self, form: Form) -> &AtomicUsize {
        match form {
            Form::Full => &self.full_header,
            Form::Compact => &self.compact_header,
        }
    }

    pub(crate) fn encrypt<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        context: Option<&Bound<'py, PyAny>>,
        form: Form,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let py = data.py();
        let input = Input::of(data, "data")?;
        let context = Context::of(context)?;
        let mut header = self.header(form).load(Ordering::Relaxed);
        if header == 0 {
            if input.len() < COPIED {
                return self.first(py, &input, &context, form);
            }
            let empty = blocking(py, || self.len_of(0, form))?;
            header = usize::try_from(empty)?.saturating_sub(body_len(0));
        }
        let mut len = header + body_len(input.len());
        loop {
            let mut needed = None;
            let bytes = new_bytes(py, len, |out| {
                let sealed = self.seal(py, &input, &context, out, form);
                sealed.map_err(|e| match e {
                    Failure::Core(Error::BufferTooSmall { needed: n, .. }) => {
                        needed = Some(n);
                        pyo3::exceptions::PyValueError::new_err("out of room")
                    }
                    other => other.into_python(py),
                })
            });
            match needed {
                // The keys' ids became longer.
                Some(needed) => len = usize::try_from(needed)?,
                None => {
                    if let Ok(bytes) = &bytes {
                        self.learn(bytes.as_bytes(), form);
                    }
                    return bytes;
                }
            }
        }
    }

    /// A first message, by which the header's length becomes known.
    fn first<'py>(
        &self,
        py: Python<'py>,
        input: &Input<'_>,
        context: &EncryptionContext,
        form: Form,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut copy = Zeroizing::default();
        let data = settled(py, input, &mut copy);
        let sealed = blocking(py, || match form {
            Form::Full => self.core.encrypt(data, context),
            Form::Compact => self.core.encrypt_compact(data, context),
        })?;
        self.learn(&sealed, form);
        Ok(PyBytes::new(py, &sealed))
    }

    fn learn(&self, envelope: &[u8], form: Form) {
        let header = self.header(form);
        let len = cmkit::header_len(envelope).unwrap_or(0);
        if header.load(Ordering::Relaxed) != len {
            header.store(len, Ordering::Relaxed);
        }
    }

    pub(crate) fn encrypt_into(
        &self,
        data: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
        context: Option<&Bound<'_, PyAny>>,
        form: Form,
    ) -> PyResult<usize> {
        let py = data.py();
        let input = Input::of(data, "data")?;
        let mut out = Output::of(out, "out", Items::Bytes)?;
        out.check_apart(&input)?;
        let context = Context::of(context).inspect_err(|_| out.bytes().fill(0))?;
        self.seal(py, &input, &context, out.bytes(), form)
            .map_err(|e| cleared(py, e, &mut out))
    }

    /// Seals into `out`. On failure there may be a beginning of an envelope in it.
    fn seal(
        &self,
        py: Python<'_>,
        input: &Input<'_>,
        context: &EncryptionContext,
        out: &mut [u8],
        form: Form,
    ) -> Result<usize, Failure> {
        let large = if input.fixed().is_some() {
            SLICED
        } else {
            COPIED
        };
        if input.len() >= large && form == Form::Full {
            return large::seal(py, &self.core, input, context, out);
        }
        let mut copy = Zeroizing::default();
        let data = settled(py, input, &mut copy);
        let seal = |out: &mut [u8]| match form {
            Form::Full => self.core.encrypt_into(data, context, out),
            Form::Compact => self.core.encrypt_compact_into(data, context, out),
        };
        let cached = |out: &mut [u8]| match form {
            Form::Full => self.core.encrypt_cached_into(data, context, out),
            Form::Compact => self.core.encrypt_compact_cached_into(data, context, out),
        };
        attempt(py, data.len(), out, cached, seal)
    }

    pub(crate) fn decrypt<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let py = data.py();
        let input = Input::of(data, "data")?;
        let mut copy = Zeroizing::default();
        let envelope = settled(py, &input, &mut copy);
        let context = Context::of(context)?;
        let len = cmkit::decrypted_len(envelope).map_err(|e| to_python(py, e))?;
        new_bytes(py, usize::try_from(len)?, |out| {
            self.open(py, envelope, &context, out)
                .map_err(|e| e.into_python(py))
        })
    }

    pub(crate) fn decrypt_into(
        &self,
        data: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let py = data.py();
        let input = Input::of(data, "data")?;
        let mut out = Output::of(out, "out", Items::Bytes)?;
        out.check_apart(&input)?;
        let mut copy = Zeroizing::default();
        let envelope = settled(py, &input, &mut copy);
        let context = Context::of(context).inspect_err(|_| out.bytes().fill(0))?;
        self.open(py, envelope, &context, out.bytes())
            .map_err(|e| cleared(py, e, &mut out))
    }

    /// Opens into `out`; on failure what was written of it is zero.
    fn open(
        &self,
        py: Python<'_>,
        envelope: &[u8],
        context: &EncryptionContext,
        out: &mut [u8],
    ) -> Result<usize, Failure> {
        if envelope.len() >= SLICED {
            return large::open(py, &self.core, envelope, context, out)
                .inspect_err(|_| out.fill(0));
        }
        let cached = |out: &mut [u8]| self.core.decrypt_cached_into(envelope, context, out);
        let open = |out: &mut [u8]| self.core.decrypt_into(envelope, context, out);
        attempt(py, envelope.len(), out, cached, open)
    }

    pub(crate) fn len_of(&self, len: u64, form: Form) -> cmkit::Result<u64> {
        match form {
            Form::Full => self.core.encrypted_len(len),
            Form::Compact => self.core.compact_len(len),
        }
    }

    pub(crate) fn encrypted_len(&self, py: Python<'_>, len: u64, form: Form) -> PyResult<u64> {
        blocking(py, || self.len_of(len, form))
    }
}

/// What goes wrong before it is known whether Python is to hear of it.
pub(crate) enum Failure {
    Core(Error),
    Python(PyErr),
}

impl Failure {
    fn into_python(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Core(error) => to_python(py, error),
            Self::Python(error) => error,
        }
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

/// After a failure all of the caller's output is zero.
fn cleared(py: Python<'_>, failure: Failure, out: &mut Output) -> PyErr {
    out.bytes().fill(0);
    failure.into_python(py)
}

/// Small work is done at once if the DEK is there; all else with the interpreter released.
fn attempt(
    py: Python<'_>,
    len: usize,
    out: &mut [u8],
    cached: impl FnOnce(&mut [u8]) -> Option<cmkit::Result<usize>>,
    blocking: impl FnOnce(&mut [u8]) -> cmkit::Result<usize> + Send,
) -> Result<usize, Failure> {
    raised::begin(py);
    let result = match (len <= HELD).then(|| cached(out)).flatten() {
        Some(result) => result,
        None => py.detach(|| blocking(out)),
    };
    match raised::take_interrupt(py) {
        Some(interrupt) => {
            out.fill(0);
            Err(interrupt.into())
        }
        None => result.map_err(Failure::Core),
    }
}

/// The input's bytes where nobody can change them any more: its own, or a copy.
fn settled<'a>(py: Python<'_>, input: &'a Input<'_>, copy: &'a mut Zeroizing<Vec<u8>>) -> &'a [u8] {
    match input {
        Input::Shared(shared) => {
            **copy = vec![0; shared.len()];
            shared.copy(py, 0, copy);
            copy
        }
        fixed => fixed.fixed().unwrap_or_default(),
    }
}

/// Bytes in the body of `len` bytes of plaintext (docs/format.md, section 8). A wrong sum would only cost another attempt.
fn body_len(len: usize) -> usize {
    56 + len + 16 * (len / 16_384 + 1)
}
