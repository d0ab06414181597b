//! Memory that devices can transfer to and from directly.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize as _;

/// What every device is content with: a page.
pub(crate) const ALIGNMENT: usize = 4096;

/// Zeroed bytes that begin at a multiple of 4096; zeroized on drop.
pub(crate) struct AlignedBuffer {
    /// Longer than asked for, so that an aligned window fits.
    room: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    pub(crate) fn new(len: usize) -> Self {
        let room = vec![0; len + ALIGNMENT];
        let start = room.as_ptr().align_offset(ALIGNMENT);
        // It may say "can't be computed"; then there is no aligned window, and no harm either.
        let start = if start < ALIGNMENT { start } else { 0 };
        Self { room, start, len }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.room[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.len]
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        self.room.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_page() {
        for len in [0, 1, 512, 4096, 100_000] {
            let buffer = AlignedBuffer::new(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr().addr() % ALIGNMENT, 0);
            assert!(buffer.iter().all(|b| *b == 0));
        }
    }
}
