//! Joining what a map says into extents.

use crate::device::{Extent, ExtentKind};

/// Joins neighbours of one kind, and cuts what is before and after the range.
pub(super) struct Runs<'a> {
    /// Bytes before the range.
    skip: u64,
    left: u64,
    pending: Option<Extent>,
    go_on: bool,
    found: &'a mut dyn FnMut(Extent) -> bool,
}

impl<'a> Runs<'a> {
    pub(super) fn new(skip: u64, len: u64, found: &'a mut dyn FnMut(Extent) -> bool) -> Self {
        Self {
            skip,
            left: len,
            pending: None,
            go_on: true,
            found,
        }
    }

    /// Whether more is wanted.
    pub(super) fn push(&mut self, len: u64, kind: ExtentKind) -> bool {
        let skipped = len.min(self.skip);
        self.skip -= skipped;
        let len = (len - skipped).min(self.left);
        self.left -= len;
        match &mut self.pending {
            Some(extent) if extent.kind == kind => extent.len += len,
            _ if len == 0 => {}
            pending => {
                if let Some(extent) = pending.replace(Extent { len, kind }) {
                    self.go_on = (self.found)(extent);
                }
            }
        }
        self.go_on && self.left > 0
    }

    pub(super) fn finish(mut self) {
        if let Some(extent) = self.pending.take().filter(|_| self.go_on) {
            (self.found)(extent);
        }
    }
}

/// A range of which nothing is known.
pub(super) fn all_data(len: u64, found: &mut dyn FnMut(Extent) -> bool) {
    if len > 0 {
        found(Extent {
            len,
            kind: ExtentKind::Data,
        });
    }
}
