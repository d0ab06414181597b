//! What belongs to the process that made it: a forked child has a copy of the memory, and must neither use nor end the thing.

use pyo3::prelude::*;

use crate::error::state_error;

/// A value of the process that made it.
///
/// A child gets an error, before any lock is touched that some other thread may have held at the fork; and dropping it there does nothing at all.
/// In its own process it is dropped with the interpreter released.
pub(crate) struct Owned<T: Send> {
    process: u32,
    /// `None` only while it is dropped.
    value: Option<T>,
}

impl<T: Send> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            process: std::process::id(),
            value: Some(value),
        }
    }

    pub(crate) fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    /// The value, in the process that made it.
    pub(crate) fn here(&self, py: Python<'_>) -> PyResult<&T> {
        self.value
            .as_ref()
            .filter(|_| self.is_here())
            .ok_or_else(|| {
                state_error(
                    py,
                    "this belongs to the process that this one was forked from; make one of your own",
                )
            })
    }
}

impl<T: Send> Drop for Owned<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        if self.is_here() {
            released(value);
        } else {
            std::mem::forget(value);
        }
    }
}

/// Drops something that may wait for threads which wait for the interpreter.
pub(crate) fn released<T: Send>(value: T) {
    let mut value = Some(value);
    let _ = Python::try_attach(|py| py.detach(|| drop(value.take())));
}
