//! Room to work in, for requests that aren't whole blocks or whose data must stay as it is.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroize as _;

use crate::aligned::AlignedBuffer;

/// Buffers that are kept for the next request. As many as there were requests at a time.
pub(super) struct Bounce {
    free: Mutex<Vec<AlignedBuffer>>,
    len: usize,
}

impl Bounce {
    pub(super) fn new(len: usize) -> Self {
        Self {
            free: Mutex::default(),
            len,
        }
    }

    /// A buffer, whose content is unspecified.
    pub(super) fn take(&self) -> Taken<'_> {
        let free = || {
            self.free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
        };
        Taken {
            buffer: Some(free().unwrap_or_else(|| AlignedBuffer::new(self.len))),
            dirty: 0,
            home: self,
        }
    }
}

/// A buffer that goes back when it is dropped.
pub(super) struct Taken<'a> {
    buffer: Option<AlignedBuffer>,
    /// How much of it may hold plaintext.
    dirty: usize,
    home: &'a Bounce,
}

impl Taken<'_> {
    /// The first `len` bytes, which are wiped later.
    pub(super) fn first(&mut self, len: usize) -> &mut [u8] {
        self.dirty = self.dirty.max(len);
        &mut self[..len]
    }

    /// Says that what is in it was encrypted there, and needn't be wiped, which takes longer than encrypting.
    pub(super) fn is_ciphertext(&mut self) {
        self.dirty = 0;
    }
}

impl Deref for Taken<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(mut buffer) = self.buffer.take() {
            buffer[..self.dirty].zeroize();
            let mut free = self
                .home
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            free.push(buffer);
        }
    }
}
