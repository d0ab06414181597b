//! Exceptions that a provider, a key store or a callback written in Python raised, on their way through the core.
//!
//! The core's errors hold text. The exception itself waits here, on the thread that called, until the call is over.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

thread_local! {
    static RAISED: RefCell<Raised> = const { RefCell::new(Raised { error: None, is_interrupt: false }) };
    static IS_PYTHONS: Cell<bool> = const { Cell::new(false) };
}

struct Raised {
    error: Option<PyErr>,
    /// It came of a signal: whatever it is, it ends the call.
    is_interrupt: bool,
}

/// Before a call into the core on a thread of Python's: forgets what an earlier call left.
pub(crate) fn begin(_: Python<'_>) {
    IS_PYTHONS.set(true);
    drop(take());
}

/// Whether this thread ever called from Python. One that didn't, such as those that serve a scratch disk, must not wait for the interpreter: whoever has it may
/// be waiting for that disk.
pub(crate) fn is_pythons() -> bool {
    IS_PYTHONS.get()
}

pub(crate) fn keep(error: PyErr) {
    RAISED.with(|raised| {
        let mut raised = raised.borrow_mut();
        if !raised.is_interrupt {
            raised.error = Some(error);
        }
    });
}

/// Keeps what a signal's handler raised: usually a `KeyboardInterrupt`.
pub(crate) fn keep_interrupt(error: PyErr) {
    RAISED.with(|raised| {
        *raised.borrow_mut() = Raised {
            error: Some(error),
            is_interrupt: true,
        };
    });
}

/// Whether a signal has ended the call.
pub(crate) fn is_interrupt() -> bool {
    RAISED.with(|raised| raised.borrow().is_interrupt)
}

/// The exception of the call that just ended.
pub(crate) fn take() -> Option<PyErr> {
    RAISED.with(|raised| {
        let mut raised = raised.borrow_mut();
        raised.is_interrupt = false;
        raised.error.take()
    })
}

/// Like [`take`], but only an exception that must not be turned into another or swallowed, such as `KeyboardInterrupt`.
pub(crate) fn take_interrupt(py: Python<'_>) -> Option<PyErr> {
    let must = RAISED.with(|raised| {
        let raised = raised.borrow();
        let outside = |e: &PyErr| !e.is_instance_of::<PyException>(py);
        raised.is_interrupt || raised.error.as_ref().is_some_and(outside)
    });
    must.then(take).flatten()
}
