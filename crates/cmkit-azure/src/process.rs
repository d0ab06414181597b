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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_a_value_of_its_own() {
        let mine = PerProcess::new(1);
        assert_eq!(*mine.get(|| unreachable!()), 1);
        // As it looks after a fork.
        let parents = PerProcess {
            process: std::process::id() + 1,
            ..PerProcess::new(1)
        };
        assert_eq!(*parents.get(|| 2), 2);
        assert_eq!(*parents.get(|| 3), 2);
    }
}
