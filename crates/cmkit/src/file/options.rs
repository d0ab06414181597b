//! What one may choose about the encryption of a file.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Overwrite;
use crate::chunked::default_threads;

/// Options of [`Keyring::encrypt_file`](crate::Keyring::encrypt_file) and [`Keyring::decrypt_file`](crate::Keyring::decrypt_file). By
/// [`Default`] an existing destination is refused.
#[derive(Clone, Default)]
pub struct FileOptions {
    pub(super) overwrite: Overwrite,
    threads: Option<usize>,
    pub(super) on_progress: Option<Arc<dyn Fn(Progress) -> ControlFlow<()> + Send + Sync>>,
}

/// How far the work on a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of plaintext done.
    pub done: u64,
    /// Bytes of plaintext in all; `None` where the source doesn't say, a pipe for instance.
    pub total: Option<u64>,
}

impl FileOptions {
    /// What to do when the destination exists. Default: refuse.
    #[must_use]
    pub fn overwrite(mut self, overwrite: Overwrite) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Threads that work on the file, counting the caller's; they end before the call does, and each holds half a MiB. Default:
    /// one for each CPU, at most 8. 0 counts as 1, and more than 64 as 64.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Calls `callback` at the start, at the end, and in between some fifty times a second, on the calling thread. `Break` cancels: the call
    /// fails with [`Error::Cancelled`](crate::Error::Cancelled) and nothing is kept.
    #[must_use]
    pub fn on_progress(
        mut self,
        callback: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_progress = Some(Arc::new(callback));
        self
    }

    pub(super) fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(default_threads).clamp(1, 64)
    }
}

impl std::fmt::Debug for FileOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileOptions")
            .field("overwrite", &self.overwrite)
            .field("threads", &self.threads)
            .field("on_progress", &self.on_progress.is_some())
            .finish()
    }
}
