//! Data in memory that takes a while: done in slices, between which Ctrl-C is looked at.

use std::io::{Cursor, Write};

use cmkit::{EncryptionContext, Error, Keyring, StreamOptions, error_from_io};
use pyo3::prelude::*;
use zeroize::Zeroizing;

use crate::buffer::Input;
use crate::document::Failure;
use crate::raised;

/// Far less than a second's work, and enough for every thread.
const SLICE: usize = 16 << 20;
/// The same where it has to be copied first: so little that the copy stays in the cache.
const COPIED_SLICE: usize = 1 << 20;

/// Seals into `out`. On failure there may be a beginning of an envelope in it.
pub(crate) fn seal(
    py: Python<'_>,
    keyring: &Keyring,
    input: &Input<'_>,
    context: &EncryptionContext,
    out: &mut [u8],
) -> Result<usize, Failure> {
    let given = out.len();
    let too_small = |e: Error| -> Error {
        match e.io() {
            Some(io) if io.kind() == std::io::ErrorKind::WriteZero => {
                keyring.encrypted_len(input.len() as u64).map_or_else(
                    |e| e,
                    |needed| Error::BufferTooSmall {
                        needed,
                        given: given as u64,
                    },
                )
            }
            _ => e,
        }
    };
    let options = StreamOptions::default();
    let sink = Cursor::new(out);
    let mut encryptor = step(py, || keyring.encryptor_with(sink, context, options))
        .map_err(|e| sized(e, too_small))?;
    let slice_len = if input.fixed().is_some() {
        SLICE
    } else {
        COPIED_SLICE
    };
    let mut copy = Zeroizing::new(Vec::new());
    let mut done = 0;
    while done < input.len() {
        let len = (input.len() - done).min(slice_len);
        let piece = match input {
            Input::Shared(shared) => {
                copy.resize(len, 0);
                shared.copy(py, done, &mut copy);
                &copy[..]
            }
            fixed => &fixed.fixed().unwrap_or_default()[done..done + len],
        };
        let wrote = step(py, || encryptor.write_all(piece).map_err(error_from_io));
        wrote.map_err(|e| sized(e, too_small))?;
        done += len;
        py.check_signals()?;
    }
    let sink = step(py, || encryptor.finish()).map_err(|e| sized(e, too_small))?;
    Ok(usize::try_from(sink.position()).map_err(PyErr::from)?)
}

/// Opens into `out`. On failure what was written of it is zero.
pub(crate) fn open(
    py: Python<'_>,
    keyring: &Keyring,
    envelope: &[u8],
    context: &EncryptionContext,
    out: &mut [u8],
) -> Result<usize, Failure> {
    let reader = step(py, || keyring.reader(envelope, context))?;
    let len = usize::try_from(reader.len()).map_err(PyErr::from)?;
    let given = out.len() as u64;
    let out = out.get_mut(..len).ok_or(Error::BufferTooSmall {
        needed: reader.len(),
        given,
    })?;
    let mut done = 0;
    while done < len {
        let end = len.min(done + SLICE);
        let slice = &mut out[done..end];
        let opened = step(py, || reader.read_at(slice, done as u64)).map(drop);
        let opened = opened.and_then(|()| py.check_signals().map_err(Failure::from));
        if let Err(failure) = opened {
            out[..end].fill(0);
            return Err(failure);
        }
        done = end;
    }
    Ok(len)
}

fn step<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> cmkit::Result<T> + Send,
) -> Result<T, Failure> {
    raised::begin(py);
    let result = py.detach(work);
    match raised::take_interrupt(py) {
        Some(interrupt) => Err(interrupt.into()),
        None => result.map_err(Failure::Core),
    }
}

fn sized(failure: Failure, too_small: impl FnOnce(Error) -> Error) -> Failure {
    match failure {
        Failure::Core(error) => Failure::Core(too_small(error)),
        other => other,
    }
}
