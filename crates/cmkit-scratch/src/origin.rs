//! Whose a thing is that lives outside of the memory: the process that made it, not a copy of that.

/// The process that made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(u32);

impl Origin {
    /// This process.
    pub(crate) fn here() -> Self {
        Self(std::process::id())
    }

    /// Whether this is still that process, and not a child that was forked from it.
    pub(crate) fn is_here(self) -> bool {
        self == Self::here()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_not_here() {
        assert!(Origin::here().is_here());
        assert!(!Origin(std::process::id() ^ 1).is_here());
    }
}
