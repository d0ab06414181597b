//! Cutting a request into what is locked and encrypted at once.

use std::ops::Range;

/// A run of a request that lies within one lock's blocks: a part of a first block, whole blocks, a part of a last one. Each may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where the run begins on the disk.
    pub(super) offset: u64,
    /// Where it is in the request's data.
    pub(super) data: Range<usize>,
}

/// A step of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A part of a block: its number, the part within it, and where that is in the request's data.
    Part {
        block: u64,
        inside: Range<usize>,
        data: Range<usize>,
    },
    /// Whole blocks from a number on.
    Whole { first: u64, data: Range<usize> },
}

/// The segments of a request for `len` bytes at `offset`, each within `span` bytes that one lock is for.
pub(super) fn segments(offset: u64, len: usize, span: u64) -> impl Iterator<Item = Segment> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == len {
            return None;
        }
        let offset = offset + at as u64;
        let room = span - offset % span;
        // What doesn't fit in usize isn't less than what is left.
        let here = usize::try_from(room).map_or(len - at, |room| room.min(len - at));
        let data = at..at + here;
        at += here;
        Some(Segment { offset, data })
    })
}

impl Segment {
    /// The steps of a segment, in blocks of `block_len` bytes: at most three.
    pub(super) fn steps(&self, block_len: usize) -> impl Iterator<Item = Step> + use<> {
        let block_bytes = block_len as u64;
        let end = self.data.end;
        let (mut at, mut offset) = (self.data.start, self.offset);
        std::iter::from_fn(move || {
            if at == end {
                return None;
            }
            let block = offset / block_bytes;
            // Less than a block's length.
            let start = usize::try_from(offset % block_bytes).unwrap_or(0);
            let left = end - at;
            let (here, step) = if start != 0 || left < block_len {
                let here = left.min(block_len - start);
                let step = Step::Part {
                    block,
                    inside: start..start + here,
                    data: at..at + here,
                };
                (here, step)
            } else {
                let here = left - left % block_len;
                let step = Step::Whole {
                    first: block,
                    data: at..at + here,
                };
                (here, step)
            };
            at += here;
            offset += here as u64;
            Some(step)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cut_at_locks_and_blocks() {
        let cut = |offset, len| -> Vec<Step> {
            segments(offset, len, 400)
                .flat_map(|segment| segment.steps(100).collect::<Vec<_>>())
                .collect()
        };
        let part = |block, inside: Range<usize>, data: Range<usize>| Step::Part {
            block,
            inside,
            data,
        };
        let whole = |first, data: Range<usize>| Step::Whole { first, data };
        assert_eq!(cut(0, 0), []);
        assert_eq!(cut(0, 400), [whole(0, 0..400)]);
        assert_eq!(cut(0, 401), [whole(0, 0..400), part(4, 0..1, 400..401)]);
        assert_eq!(cut(10, 20), [part(0, 10..30, 0..20)]);
        assert_eq!(
            cut(350, 500),
            [
                part(3, 50..100, 0..50),
                whole(4, 50..450),
                part(8, 0..50, 450..500)
            ]
        );
        assert_eq!(
            cut(199, 102),
            [
                part(1, 99..100, 0..1),
                whole(2, 1..101),
                part(3, 0..1, 101..102)
            ]
        );
    }
}
