//! Exceptions that a provider, a key store or a callback written in Python raised, on their way through the core.
//!
//! The core's errors hold text. The exception itself waits here, on the thread that called, until the call is over.

use std::cell::RefCell;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

thread_local! {
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

pub(crate) fn keep(error: PyErr) {
    RAISED.with(|raised| *raised.borrow_mut() = Some(error));
}

/// The exception of the call that just ended.
pub(crate) fn take() -> Option<PyErr> {
    RAISED.with(|raised| raised.borrow_mut().take())
}

/// Like [`take`], but only an exception that must not be turned into another or swallowed, such as `KeyboardInterrupt`.
pub(crate) fn take_interrupt(py: Python<'_>) -> Option<PyErr> {
    RAISED.with(|raised| {
        let mut raised = raised.borrow_mut();
        if raised
            .as_ref()
            .is_some_and(|e| !e.is_instance_of::<PyException>(py))
        {
            raised.take()
        } else {
            None
        }
    })
}
