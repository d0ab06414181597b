//! State that belongs to one process.

use std::sync::OnceLock;

/// A value for this process, and one for each process forked from it.
///
/// A lock that another thread held during a fork stays locked in the child for ever, and a TLS connection can't serve two processes. So a child
/// touches nothing of its parent's: it goes on to a value of its own.
pub(crate) struct PerProcess<T> {
    process: u32,
    value: T,
    child: OnceLock<Box<PerProcess<T>>>,
}

impl<T> PerProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            process: std::process::id(),
            value,
            child: OnceLock::new(),
        }
    }

    /// This process's value, made if the process is new.
    pub(crate) fn get(&self, make: impl Fn() -> T) -> &T {
        let process = std::process::id();
        let mut state = self;
        while state.process != process {
            state = match state.child.get() {
                Some(child) => child,
                None => {
                    // Made outside of the cell: a fork meanwhile would find it locked for ever.
                    let child = Box::new(PerProcess::new(make()));
                    state.child.get_or_init(|| child)
                }
            };
        }
        &state.value
    }
}
