//! Headers that no writer makes: taken apart, changed, and with a right MAC where the forger knows the DEK.

use std::ops::Range;

use serde_json::{Value, json};

use super::hex;
use crate::cbor;
use crate::envelope::{MAC_LEN, PREFIX_LEN};
use crate::keyring::MacKey;
use crate::secret::Dek;

/// An envelope in parts.
#[derive(Clone)]
pub(super) struct Parts {
    /// PREFIX without its lengths.
    pub(super) prefix: Vec<u8>,
    pub(super) core: Vec<u8>,
    pub(super) recipients: Vec<u8>,
    pub(super) mac: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Parts {
    pub(super) fn of(envelope: &[u8]) -> Self {
        let len = |at: usize| usize::from(u16::from_be_bytes([envelope[at], envelope[at + 1]]));
        let recipients = PREFIX_LEN + len(12);
        let mac = recipients + len(14);
        let body = mac + MAC_LEN;
        Self {
            prefix: envelope[..12].to_vec(),
            core: envelope[PREFIX_LEN..recipients].to_vec(),
            recipients: envelope[recipients..mac].to_vec(),
            mac: envelope[mac..body].to_vec(),
            body: envelope[body..].to_vec(),
        }
    }

    fn covered(&self) -> Vec<u8> {
        // Too long for the field: what a forger with an oversized part can write at best.
        let len = |part: &[u8]| u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut out = self.prefix.clone();
        out.extend_from_slice(&len(&self.core));
        out.extend_from_slice(&len(&self.recipients));
        out.extend_from_slice(&self.core);
        out.extend_from_slice(&self.recipients);
        out
    }

    /// With the MAC as it is.
    pub(super) fn join(&self) -> Vec<u8> {
        [self.covered(), self.mac.clone(), self.body.clone()].concat()
    }

    /// With the MAC that the DEK gives.
    pub(super) fn join_with_mac(mut self, dek: &[u8; 32]) -> Vec<u8> {
        let dek = Dek::try_fill::<()>(|bytes| {
            bytes.copy_from_slice(dek);
            Ok(())
        });
        self.mac = MacKey::of(&dek.unwrap()).mac(&self.covered()).to_vec();
        self.join()
    }

    /// Where the parts are in the envelope.
    pub(super) fn range(&self, part: Part) -> Range<usize> {
        let recipients = PREFIX_LEN + self.core.len();
        let mac = recipients + self.recipients.len();
        match part {
            Part::Core => PREFIX_LEN..recipients,
            Part::Recipients => recipients..mac,
            Part::Mac => mac..mac + MAC_LEN,
            Part::Body => mac + MAC_LEN..mac + MAC_LEN + self.body.len(),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Part {
    Core,
    Recipients,
    Mac,
    Body,
}

/// CBOR, right or wrong.
#[derive(Clone)]
pub(super) enum Item {
    Unsigned(u64),
    /// -1 - n.
    Negative(u64),
    Bytes(Vec<u8>),
    Text(String),
    /// As it stands.
    Raw(Vec<u8>),
}

impl Item {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Unsigned(n) => cbor::write_unsigned(out, *n),
            Self::Negative(n) => cbor::write_negative(out, *n),
            Self::Bytes(bytes) => cbor::write_bytes(out, bytes),
            Self::Text(text) => cbor::write_text(out, text),
            Self::Raw(raw) => out.extend_from_slice(raw),
        }
    }
}

/// A map's entries in the order given, which need not be the right one.
pub(super) fn map(entries: &[(u64, Item)]) -> Vec<u8> {
    let mut out = Vec::new();
    cbor::write_map_len(&mut out, entries.len());
    for (key, value) in entries {
        cbor::write_unsigned(&mut out, *key);
        value.write(&mut out);
    }
    out
}

pub(super) fn array(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    cbor::write_array_len(&mut out, items.len());
    for item in items {
        out.extend_from_slice(item);
    }
    out
}

/// The entries of a right CORE or recipient.
pub(super) fn entries(bytes: &[u8]) -> Vec<(u64, Item)> {
    let mut reader = cbor::Reader::new(bytes);
    let count = reader.map_len().unwrap();
    (1..=count)
        .map(|_| {
            let at = bytes.len() - reader.remaining();
            let key = reader.unsigned().unwrap();
            let item = match bytes[at + 1] >> 5 {
                0 => Item::Unsigned(reader.unsigned().unwrap()),
                1 => Item::Negative(reader.negative().unwrap()),
                2 => Item::Bytes(reader.bytes().unwrap().to_vec()),
                _ => Item::Text(reader.text().unwrap().to_owned()),
            };
            (key, item)
        })
        .collect()
}

/// One step from an envelope to its forgery: `remove` bytes at `at` make place for others.
pub(super) struct Edit {
    pub(super) at: usize,
    pub(super) remove: usize,
    pub(super) with: With,
}

pub(super) enum With {
    Bytes(Vec<u8>),
    /// As many zeros.
    Zeros(usize),
    /// These bytes of the unchanged envelope.
    Copy(Range<usize>),
}

impl Edit {
    pub(super) fn json(&self) -> Value {
        let Self { at, remove, with } = self;
        match with {
            With::Bytes(bytes) => json!({"at": at, "remove": remove, "hex": hex(bytes)}),
            With::Zeros(count) => json!({"at": at, "remove": remove, "zeros": count}),
            With::Copy(range) => {
                json!({"at": at, "remove": remove, "copy": [range.start, range.end]})
            }
        }
    }
}

/// The edits that lead from one to the other: one, or two where a run of zeros is inserted.
pub(super) fn difference(from: &[u8], to: &[u8]) -> Vec<Edit> {
    let common = |pairs: &mut dyn Iterator<Item = (&u8, &u8)>| {
        let mut n = 0;
        while pairs.next().is_some_and(|(a, b)| a == b) {
            n += 1;
        }
        n
    };
    let start = common(&mut from.iter().zip(to));
    let end = common(&mut from[start..].iter().rev().zip(to[start..].iter().rev()));
    let removed = from.len() - start - end;
    let added = &to[start..to.len() - end];
    let bytes = |at, remove, bytes: &[u8]| Edit {
        at,
        remove,
        with: With::Bytes(bytes.to_vec()),
    };
    if added.len() < 4096 {
        return vec![bytes(start, removed, added)];
    }
    // The only long insertion is padding.
    let (at, len) = longest_zeros(added);
    vec![
        bytes(start, 0, &added[..at]),
        Edit {
            at: start,
            remove: removed,
            with: With::Zeros(len),
        },
        bytes(start + removed, 0, &added[at + len..]),
    ]
}

fn longest_zeros(bytes: &[u8]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut run = 0;
    for (i, byte) in bytes.iter().enumerate() {
        run = if *byte == 0 { run + 1 } else { 0 };
        if run > best.1 {
            best = (i + 1 - run, run);
        }
    }
    best
}
