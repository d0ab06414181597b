//! A buffer that plaintext passes through.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize as _;

/// Bytes of a fixed length on the heap, zeroized on drop.
///
/// `Zeroizing<Vec<u8>>` would do the same a byte at a time, which for megabytes takes longer than sealing them.
#[derive(Default)]
pub(crate) struct PlainBuffer(Vec<u8>);

impl PlainBuffer {
    pub(crate) fn new(len: usize) -> Self {
        Self(vec![0; len])
    }
}

impl Deref for PlainBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for PlainBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for PlainBuffer {
    fn drop(&mut self) {
        self.0[..].zeroize();
    }
}
