//! What one may choose about a stream.

use crate::chunked::{CHUNK_LEN, SLOT_LEN, default_threads};
use crate::keyring::Form;

/// Chunks that a stream holds at most when it uses several threads: 4 MiB.
const BATCH_CHUNKS: usize = 256;
/// And with a single thread, which gains nothing from more: 256 KiB.
const BATCH_CHUNKS_ALONE: usize = 16;

/// Options of a stream; [`Default`] suits most.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    padding: HeaderPadding,
    threads: Option<usize>,
}

/// Whether an envelope's header has room for a rewrap in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderPadding {
    /// As short as it can be: for what isn't a file.
    #[default]
    None,
    /// A multiple of 4096 bytes: for files, so that [`Keyring::rewrap_file`](crate::Keyring::rewrap_file) needn't copy them.
    FileBlock,
}

impl StreamOptions {
    /// How the header is padded. Default: not. Only matters for writing.
    #[must_use]
    pub fn padded_header(mut self, padding: HeaderPadding) -> Self {
        self.padding = padding;
        self
    }

    /// Threads that work on a batch, counting the caller's; they end before the call does. Default: one for each CPU, at most 8. With 1 the
    /// stream holds no more than 256 KiB, else no more than 4 MiB. 0 counts as 1.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    pub(super) fn form(&self) -> Form {
        match self.padding {
            HeaderPadding::None => Form::Full,
            HeaderPadding::FileBlock => Form::Padded,
        }
    }

    pub(super) fn batch(&self) -> Batch {
        let threads = self.threads.unwrap_or_else(default_threads).max(1);
        Batch {
            threads,
            max_chunks: if threads > 1 {
                BATCH_CHUNKS
            } else {
                BATCH_CHUNKS_ALONE
            },
        }
    }
}

/// How much a stream does at a time.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    pub(super) threads: usize,
    max_chunks: usize,
}

impl Batch {
    pub(super) fn max_slots_len(self) -> usize {
        self.max_chunks * SLOT_LEN
    }

    pub(super) fn max_text_len(self) -> usize {
        self.max_chunks * CHUNK_LEN
    }
}
