//! Memory that begins at a page.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

/// Bytes whose first is at the start of a page, as direct I/O needs it. Wiped when dropped, as plaintext goes through them.
pub(crate) struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// Bytes in a page, and what the buffer's address is a multiple of.
    pub(crate) const ALIGNMENT: usize = 4096;

    /// `len` zeros, which the system gives out as they are touched.
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + Self::ALIGNMENT - 1];
        let start = bytes.as_ptr().addr().wrapping_neg() % Self::ALIGNMENT;
        Self { bytes, start, len }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        self.deref_mut().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::AlignedBuffer;

    #[test]
    fn it_begins_at_a_page_and_has_its_length() {
        for len in [0, 1, 4095, 4096, 4097, 1 << 20] {
            let mut buffer = AlignedBuffer::new(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr().addr() % AlignedBuffer::ALIGNMENT, 0);
            assert!(buffer.iter().all(|&byte| byte == 0));
            buffer.fill(1);
            let moved = buffer;
            assert_eq!(moved.as_ptr().addr() % AlignedBuffer::ALIGNMENT, 0);
            assert!(moved.iter().all(|&byte| byte == 1));
        }
    }
}
