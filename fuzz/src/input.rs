//! Fuzz input as a supply of numbers; zeros once it has run out.

/// The bytes that are left.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of `data`.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes as a number.
    pub fn short(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// A number below `limit`, which is at most 65 536; 0 where that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.short().checked_rem(limit).unwrap_or(0)
    }

    /// A length between nothing and some chunks, rich in those around a chunk's end.
    pub fn len(&mut self) -> usize {
        let near = usize::from(self.byte());
        match self.byte() % 8 {
            0..4 => near,
            chunks @ 4..7 => (usize::from(chunks - 3) * 16_384 + near).saturating_sub(128),
            _ => self.short(),
        }
    }

    /// As many bytes as there are, up to `len`.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// What is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
