//! Cuts, and bodies whose parts were moved about.

use super::super::forge::{Edit, Part, Parts, With};
use super::{Forgeries, cut};
use crate::chunked::{PREAMBLE_LEN, SLOT_LEN};

const TRUNCATED: &str = "Truncated";
const AUTHENTICATION: &str = "Authentication";
const BASE: &str = "three-chunks";

impl Forgeries<'_> {
    pub(super) fn cuts(&mut self) {
        let base = self.base(BASE);
        let parts = Parts::of(&base.envelope);
        let header = parts.range(Part::Body).start;
        let chunks = header + PREAMBLE_LEN;
        let whole = base.envelope.len();
        let mut lens = vec![(0, "Format")];
        // Within the prefix, CORE, RECIPIENTS, the MAC; salt, commitment, and up to one tag.
        let header_cuts = [1, 7, 8, 9, 15, 16, 20, 60, header - 33, header - 1, header];
        lens.extend(header_cuts.map(|len| (len, TRUNCATED)));
        lens.extend([23, 24, 55, 56, 57, 71].map(|len| (header + len, TRUNCATED)));
        for n in 0..3 {
            let at = chunks + n * SLOT_LEN;
            if n > 0 {
                // The length shows it: no last chunk, or one shorter than a tag.
                lens.extend([0, 1, 15].map(|len| (at + len, TRUNCATED)));
            }
            lens.extend([16, 17, 100].map(|len| (at + len, AUTHENTICATION)));
        }
        lens.extend([1, 2, 16].map(|less| (whole - less, AUTHENTICATION)));
        for (len, error) in lens {
            self.edited(&format!("cut-to-{len}"), BASE, error, &[cut(base, len)]);
        }
        for name in ["empty", "one-byte", "chunk-minus-1", "chunk"] {
            let base = self.base(name);
            let len = base.envelope.len();
            let error = if name == "one-byte" || name == "chunk-minus-1" {
                AUTHENTICATION
            } else {
                TRUNCATED
            };
            self.edited(
                &format!("cut-{name}-by-1"),
                name,
                error,
                &[cut(base, len - 1)],
            );
        }
        // What is left is a whole chunk of a valid message, and full: the last one has to be shorter.
        let base = self.base("chunk");
        let len = base.envelope.len() - 16;
        self.edited("last-chunk-full", "chunk", TRUNCATED, &[cut(base, len)]);
    }

    pub(super) fn chunks(&mut self) {
        let base = self.base(BASE);
        let whole = base.envelope.len();
        let body = Parts::of(&base.envelope).range(Part::Body).start;
        let chunk = |n: usize| {
            let start = body + PREAMBLE_LEN + n * SLOT_LEN;
            start..whole.min(start + SLOT_LEN)
        };
        for (name, at) in [
            ("salt-changed", body),
            ("salt-last-bit", body + 23),
            ("commitment-changed", body + 24),
            ("commitment-last-bit", body + 55),
            ("first-chunk-changed", chunk(0).start),
            ("first-tag-changed", chunk(0).end - 1),
            ("middle-chunk-changed", chunk(1).start + 5),
            ("last-chunk-changed", chunk(2).start),
            ("last-tag-changed", whole - 1),
        ] {
            self.flipped(name, BASE, AUTHENTICATION, at, 1);
        }
        let copy = |to: usize, from: usize| Edit {
            at: chunk(to).start,
            remove: chunk(to).len(),
            with: With::Copy(chunk(from)),
        };
        let insert = |at: usize, with: With| Edit {
            at,
            remove: 0,
            with,
        };
        let remove = |n: usize| Edit {
            at: chunk(n).start,
            remove: chunk(n).len(),
            with: With::Bytes(Vec::new()),
        };
        for (name, error, edits) in [
            (
                "chunks-swapped",
                AUTHENTICATION,
                vec![copy(0, 1), copy(1, 0)],
            ),
            (
                "chunk-repeated",
                AUTHENTICATION,
                vec![insert(chunk(1).start, With::Copy(chunk(0)))],
            ),
            ("chunk-replaced", AUTHENTICATION, vec![copy(1, 0)]),
            ("first-chunk-removed", AUTHENTICATION, vec![remove(0)]),
            ("middle-chunk-removed", AUTHENTICATION, vec![remove(1)]),
            ("last-chunk-removed", TRUNCATED, vec![remove(2)]),
            (
                "only-last-chunk-left",
                AUTHENTICATION,
                vec![remove(0), remove(1)],
            ),
            (
                "last-chunk-repeated",
                AUTHENTICATION,
                vec![insert(whole, With::Copy(chunk(2)))],
            ),
            (
                "last-chunk-first",
                AUTHENTICATION,
                vec![copy(0, 2), copy(2, 0)],
            ),
            (
                "byte-appended",
                AUTHENTICATION,
                vec![insert(whole, With::Bytes(vec![0]))],
            ),
            (
                "chunk-appended",
                AUTHENTICATION,
                vec![insert(whole, With::Copy(chunk(0)))],
            ),
            (
                "zeros-appended",
                AUTHENTICATION,
                vec![insert(whole, With::Zeros(4096))],
            ),
            (
                "envelope-appended",
                AUTHENTICATION,
                vec![insert(whole, With::Copy(0..whole))],
            ),
            (
                "body-appended",
                AUTHENTICATION,
                vec![insert(whole, With::Copy(body..whole))],
            ),
            (
                "header-twice",
                AUTHENTICATION,
                vec![insert(body, With::Copy(0..body))],
            ),
            (
                "tag-moved",
                AUTHENTICATION,
                vec![Edit {
                    at: chunk(0).end - 16,
                    remove: 16,
                    with: With::Copy(chunk(1).end - 16..chunk(1).end),
                }],
            ),
        ] {
            self.edited(name, BASE, error, &edits);
        }
        // The body of another message, and its salt and commitment alone.
        let own = Parts::of(&self.base("one-byte").envelope);
        let other = Parts::of(&self.base("empty").envelope);
        let mut parts = own.clone();
        parts.body.clone_from(&other.body);
        self.forged("body-of-another", "one-byte", AUTHENTICATION, &parts.join());
        let mut parts = own.clone();
        parts.body[..PREAMBLE_LEN].copy_from_slice(&other.body[..PREAMBLE_LEN]);
        self.forged(
            "preamble-of-another",
            "one-byte",
            AUTHENTICATION,
            &parts.join(),
        );
        let mut parts = own;
        parts.core.clone_from(&other.core);
        parts.recipients.clone_from(&other.recipients);
        parts.mac = other.mac;
        self.forged(
            "header-of-another",
            "one-byte",
            AUTHENTICATION,
            &parts.join(),
        );
    }
}
