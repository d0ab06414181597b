//! Forged headers. Where the forger could know the DEK, the MAC is right: what is refused is the form.

use super::super::forge::{Item, Part, Parts, array, entries, map};
use super::super::keys::{all, kek};
use super::{Forgeries, set};
use crate::crypto::key_wrap;

const FORMAT: &str = "Format";
const AUTHENTICATION: &str = "Authentication";
/// The base of most: small, and with a workspace, so that CORE has all of its fields.
const BASE: &str = "workspace";

fn bytes(len: usize) -> Item {
    Item::Bytes(vec![7; len])
}

fn text(text: &str) -> Item {
    Item::Text(text.to_owned())
}

fn raw(bytes: &[u8]) -> Item {
    Item::Raw(bytes.to_vec())
}

impl Forgeries<'_> {
    fn parts(&self, base: &str) -> Parts {
        Parts::of(&self.base(base).envelope)
    }

    /// A header with these parts and a right MAC.
    fn with_mac(&mut self, name: &str, base: &str, error: &str, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts(base);
        change(&mut parts);
        let forged = parts.join_with_mac(&self.base(base).dek);
        self.forged(name, base, error, &forged);
    }

    fn core_with(&mut self, name: &str, change: impl FnOnce(&mut Vec<(u64, Item)>)) {
        self.with_mac(name, BASE, FORMAT, |parts| {
            let mut fields = entries(&parts.core);
            change(&mut fields);
            parts.core = map(&fields);
        });
    }

    fn recipient_with(
        &mut self,
        name: &str,
        error: &str,
        change: impl FnOnce(&mut Vec<(u64, Item)>),
    ) {
        self.with_mac(name, BASE, error, |parts| {
            let mut fields = entries(&parts.recipients[1..]);
            change(&mut fields);
            parts.recipients = array(&[map(&fields)]);
        });
    }

    pub(super) fn prefix(&mut self) {
        for bit in [0, 7, 13, 42, 63] {
            let name = format!("magic-bit-{bit}");
            self.flipped(&name, BASE, FORMAT, bit / 8, 1 << (bit % 8));
        }
        for (name, at, value) in [
            ("version-0", 8, &[0][..]),
            ("version-2", 8, &[2]),
            ("flags", 9, &[1]),
            ("flags-high-bit", 9, &[0x80]),
            ("suite-0", 10, &[0, 0]),
            ("suite-2", 10, &[0, 2]),
            ("suite-byte-order", 10, &[1, 0]),
            ("core-len-0", 12, &[0, 0]),
            ("recipients-len-0", 14, &[0, 0]),
            ("header-oversized", 12, &[0xFF; 4]),
        ] {
            self.edited(name, BASE, FORMAT, &[set(at, value)]);
        }
        for (name, at, add) in [
            ("core-len-plus-1", 12, 1),
            ("core-len-minus-1", 12, -1),
            ("recipients-len-plus-3", 14, 3),
            ("recipients-len-minus-1", 14, -1),
        ] {
            let envelope = &self.base(BASE).envelope;
            let len = i32::from(u16::from_be_bytes([envelope[at], envelope[at + 1]])) + add;
            let len = u16::try_from(len).unwrap().to_be_bytes();
            self.edited(name, BASE, FORMAT, &[set(at, &len)]);
        }
        // The suite is in the MAC, the capsule and the body's keys; a reader that knew it would notice thrice.
        self.with_mac("suite-2-with-mac", BASE, FORMAT, |parts| {
            parts.prefix[11] = 2;
        });
    }

    pub(super) fn core(&mut self) {
        let core = self.parts(BASE).range(Part::Core);
        self.flipped("dek-id-changed", BASE, AUTHENTICATION, core.start + 5, 1);
        self.flipped("created-changed", BASE, AUTHENTICATION, core.end - 1, 1);

        self.core_with("core-keys-out-of-order", |f| f.swap(0, 1));
        self.core_with("core-key-twice", |f| f.insert(1, f[0].clone()));
        self.core_with("core-key-unknown", |f| f.push((5, Item::Unsigned(0))));
        self.core_with("core-key-0", |f| f.insert(0, (0, Item::Unsigned(0))));
        self.core_with("core-without-dek-id", |f| drop(f.remove(0)));
        self.core_with("core-without-purpose", |f| drop(f.remove(1)));
        self.core_with("core-without-created", |f| drop(f.pop()));
        self.core_with("dek-id-short", |f| f[0].1 = bytes(15));
        self.core_with("dek-id-long", |f| f[0].1 = bytes(17));
        self.core_with("dek-id-text", |f| f[0].1 = text("0123456789abcdef"));
        self.core_with("dek-id-indefinite", |f| {
            let chunks = [&[0x5F, 0x50][..], &[7; 16], &[0xFF]].concat();
            f[0].1 = Item::Raw(chunks);
        });
        self.core_with("dek-id-length-not-shortest", |f| {
            f[0].1 = Item::Raw([&[0x58, 16][..], &[7; 16]].concat());
        });
        self.core_with("purpose-0", |f| f[1].1 = Item::Unsigned(0));
        self.core_with("purpose-4", |f| f[1].1 = Item::Unsigned(4));
        self.core_with("purpose-negative", |f| f[1].1 = Item::Negative(0));
        self.core_with("purpose-not-shortest", |f| f[1].1 = raw(&[0x18, 1]));
        self.core_with("purpose-tagged", |f| f[1].1 = raw(&[0xC1, 1]));
        self.core_with("purpose-true", |f| f[1].1 = raw(&[0xF5]));
        self.core_with("workspace-empty", |f| f[2].1 = text(""));
        self.core_with("workspace-too-long", |f| f[2].1 = text(&"w".repeat(513)));
        self.core_with("workspace-bytes", |f| f[2].1 = bytes(3));
        self.core_with("workspace-null", |f| f[2].1 = raw(&[0xF6]));
        self.core_with("workspace-not-utf8", |f| f[2].1 = raw(&[0x61, 0xFF]));
        self.core_with("workspace-surrogate", |f| {
            f[2].1 = raw(&[0x63, 0xED, 0xA0, 0x80]);
        });
        self.core_with("workspace-indefinite", |f| {
            f[2].1 = raw(&[0x7F, 0x61, b'w', 0xFF]);
        });
        self.core_with("created-float", |f| f[3].1 = raw(&[0xF9, 0, 0]));
        self.core_with("created-negative", |f| f[3].1 = Item::Negative(1));
        self.core_with("created-2-to-63", |f| f[3].1 = Item::Unsigned(1 << 63));
        self.core_with("created-reserved-head", |f| f[3].1 = raw(&[0x1C]));
        self.core_with("created-not-shortest", |f| {
            f[3].1 = raw(&[&[0x1B, 0, 0, 0, 0][..], &[0x68; 4]].concat());
        });
        for (name, head) in [
            ("core-indefinite-map", &[0xBF][..]),
            ("core-map-length-not-shortest", &[0xB8, 4]),
            (
                "core-map-length-huge",
                &[0xBB, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            ),
            ("core-array", &[0x84]),
        ] {
            self.with_mac(name, BASE, FORMAT, |parts| {
                let end = if name == "core-indefinite-map" {
                    &[0xFF][..]
                } else {
                    &[]
                };
                parts.core = [head, &parts.core[1..], end].concat();
            });
        }
        self.with_mac("core-trailing-byte", BASE, FORMAT, |parts| {
            parts.core.push(0)
        });
        self.with_mac("core-cut", BASE, FORMAT, |parts| {
            parts.core.pop();
        });
        self.with_mac("core-bytes-longer-than-core", BASE, FORMAT, |parts| {
            parts.core = [
                &[0xA4, 1, 0x5A, 0x7F, 0xFF, 0xFF, 0xFF][..],
                &parts.core[3..],
            ]
            .concat();
        });
    }

    pub(super) fn recipients(&mut self) {
        let range = self.parts(BASE).range(Part::Recipients);
        self.flipped("wrapped-at-changed", BASE, AUTHENTICATION, range.end - 1, 1);
        self.flipped("wrapped-changed", BASE, AUTHENTICATION, range.end - 20, 4);
        let mac = self.parts(BASE).range(Part::Mac);
        self.flipped("mac-first-bit", BASE, AUTHENTICATION, mac.start, 0x80);
        self.flipped("mac-last-bit", BASE, AUTHENTICATION, mac.end - 1, 1);

        let stranger = all(self.dir).pop().unwrap();
        let other_version = format!("local:golden/{}", "0".repeat(32));
        self.recipient_with("key-version-unknown", "KeyNotFound", |f| {
            f[1].1 = text(&other_version);
        });
        self.recipient_with("key-not-allowed", "KeyNotAllowed", |f| {
            f[1].1 = text(stranger.as_str());
        });
        for (name, id) in [
            ("key-id-without-version", "local:golden"),
            (
                "key-id-upper-case-version",
                &format!("local:golden/{}", "A".repeat(32)),
            ),
            (
                "key-id-path",
                &format!("local:../golden/{}", "0".repeat(32)),
            ),
            (
                "key-id-http",
                &format!("http://h/keys/golden/{}", "0".repeat(32)),
            ),
            (
                "key-id-userinfo",
                &format!("https://u@h/keys/golden/{}", "0".repeat(32)),
            ),
            (
                "key-id-upper-case-host",
                &format!("https://H/keys/golden/{}", "0".repeat(32)),
            ),
            (
                "key-id-query",
                &format!("https://h/keys/golden/{}?x", "0".repeat(32)),
            ),
            (
                "key-id-trailing-slash",
                &format!("https://h/keys/golden/{}/", "0".repeat(32)),
            ),
            (
                "key-id-port-65536",
                &format!("https://h:65536/keys/golden/{}", "0".repeat(32)),
            ),
            (
                "key-id-newline",
                &format!("local:golden/{}\n", "0".repeat(32)),
            ),
            ("key-id-empty", ""),
        ] {
            self.recipient_with(name, FORMAT, |f| f[1].1 = text(id));
        }
        self.recipient_with("recipient-keys-out-of-order", FORMAT, |f| f.swap(3, 4));
        self.recipient_with("recipient-key-twice", FORMAT, |f| f.insert(1, f[0].clone()));
        self.recipient_with("recipient-key-unknown", FORMAT, |f| {
            f.push((6, Item::Unsigned(0)));
        });
        self.recipient_with("recipient-without-wrapped-at", FORMAT, |f| drop(f.pop()));
        self.recipient_with("provider-empty", FORMAT, |f| f[0].1 = text(""));
        self.recipient_with("provider-too-long", FORMAT, |f| {
            f[0].1 = text(&"p".repeat(65))
        });
        self.recipient_with("algorithm-a128kw", FORMAT, |f| f[2].1 = Item::Negative(2));
        self.recipient_with("algorithm-rsa-oaep-sha1", FORMAT, |f| {
            f[2].1 = Item::Negative(39)
        });
        self.recipient_with("algorithm-positive", FORMAT, |f| f[2].1 = Item::Unsigned(4));
        self.recipient_with("algorithm-not-shortest", FORMAT, |f| {
            f[2].1 = raw(&[0x38, 4])
        });
        self.recipient_with("wrapped-empty", FORMAT, |f| f[3].1 = bytes(0));
        self.recipient_with("wrapped-too-long", FORMAT, |f| f[3].1 = bytes(1025));
        self.recipient_with("wrapped-text", FORMAT, |f| f[3].1 = text(&"w".repeat(80)));
        self.recipient_with("wrapped-short", AUTHENTICATION, |f| f[3].1 = bytes(72));
        self.recipient_with("wrapped-odd-length", AUTHENTICATION, |f| f[3].1 = bytes(81));
        self.recipient_with("wrapped-one-byte", AUTHENTICATION, |f| f[3].1 = bytes(1));
        self.recipient_with("wrapped-zeros", AUTHENTICATION, |f| {
            f[3].1 = Item::Bytes(vec![0; 80]);
        });
        self.lists();
    }

    /// The array as a whole, and the padding.
    fn lists(&mut self) {
        let one = self.parts(BASE).recipients[1..].to_vec();
        for (name, recipients) in [
            ("recipients-map", one.clone()),
            (
                "recipients-indefinite",
                [&[0x9F][..], &one, &[0xFF]].concat(),
            ),
            (
                "recipients-length-not-shortest",
                [&[0x98, 1][..], &one].concat(),
            ),
            ("recipients-missing-one", [&[0x82][..], &one].concat()),
            (
                "recipients-same-key-twice",
                array(&[one.clone(), one.clone()]),
            ),
            (
                "recipients-trailing-byte",
                [&[0x81][..], &one, &[0]].concat(),
            ),
            ("padding-text", [&[0x81][..], &one, &[0x61, 0]].concat()),
            (
                "padding-twice",
                [&[0x81][..], &one, &[0x41, 0, 0x41, 0]].concat(),
            ),
            (
                "padding-not-zero",
                [&[0x81][..], &one, &[0x42, 0, 1]].concat(),
            ),
            (
                "padding-length-not-shortest",
                [&[0x81][..], &one, &[0x58, 1, 0]].concat(),
            ),
            ("padding-cut", [&[0x81][..], &one, &[0x43, 0, 0]].concat()),
        ] {
            self.with_mac(name, BASE, FORMAT, |parts| parts.recipients = recipients);
        }
        self.with_mac("recipients-17", BASE, FORMAT, |parts| {
            let seventeen = (0..17).map(|n| {
                let mut fields = entries(&parts.recipients[1..]);
                fields[1].1 = text(&format!("local:golden/{n:032x}"));
                map(&fields)
            });
            parts.recipients = array(&seventeen.collect::<Vec<_>>());
        });
        // The lengths fit their fields, and the whole is above 65 536 bytes.
        self.with_mac("header-above-65536", BASE, FORMAT, |parts| {
            let padding = 65_535 - parts.recipients.len();
            parts.recipients.extend_from_slice(&[0x59]);
            let zeros = u16::try_from(padding - 3).unwrap();
            parts.recipients.extend_from_slice(&zeros.to_be_bytes());
            parts.recipients.resize(65_535, 0);
        });

        let two = "two-recipients";
        let parts = self.parts(two);
        let first = {
            let mut reader_len = entries(&parts.recipients[1..]);
            reader_len.truncate(5);
            map(&reader_len)
        };
        let second = parts.recipients[1 + first.len()..].to_vec();
        let foreign = self.parts("one-byte").recipients[1..].to_vec();
        for (name, recipients) in [
            ("recipient-removed", array(std::slice::from_ref(&first))),
            (
                "first-recipient-removed",
                array(std::slice::from_ref(&second)),
            ),
            (
                "recipients-swapped",
                array(&[second.clone(), first.clone()]),
            ),
            (
                "padding-added",
                [parts.recipients.clone(), vec![0x41, 0]].concat(),
            ),
            (
                "recipient-of-another-envelope",
                array(std::slice::from_ref(&foreign)),
            ),
        ] {
            let mut parts = parts.clone();
            parts.recipients = recipients;
            self.forged(name, two, AUTHENTICATION, &parts.join());
        }
        // A stranger adds himself: his wrap of a DEK of his own, and the MAC that he can make.
        let stranger = all(self.dir).pop().unwrap();
        let capsule = [7; 72];
        let wrapped = key_wrap::wrap(&kek(self.dir, &stranger), &capsule).unwrap();
        let mut fields = entries(&second);
        fields[1].1 = text(stranger.as_str());
        fields[3].1 = Item::Bytes(wrapped);
        let mut parts = parts;
        parts.recipients = array(&[first, map(&fields), second]);
        self.forged(
            "foreign-recipient-added",
            two,
            AUTHENTICATION,
            &parts.join(),
        );
        let forged = parts.join_with_mac(&[7; 32]);
        self.forged("known-dek-id-other-dek", two, AUTHENTICATION, &forged);
    }

    /// Capsules that a KEK's holder wrapped for something else. The MAC is right.
    pub(super) fn capsule(&mut self) {
        let key = all(self.dir).into_iter().find(|id| id.name() == "golden");
        let kek = kek(self.dir, &key.unwrap());
        let right = {
            let fields = entries(&self.parts(BASE).recipients[1..]);
            let Item::Bytes(wrapped) = &fields[3].1 else {
                panic!()
            };
            key_wrap::unwrap(&kek, wrapped).unwrap().to_vec()
        };
        let changed = |at: usize| {
            let mut capsule = right.clone();
            capsule[at] ^= 1;
            capsule
        };
        for (name, capsule) in [
            ("capsule-tag", changed(3)),
            ("capsule-version", changed(4)),
            ("capsule-kind", changed(5)),
            ("capsule-suite", changed(7)),
            ("capsule-binding", changed(71)),
            ("capsule-cut", right[..64].to_vec()),
            ("capsule-longer", [&right[..], &[0; 8]].concat()),
        ] {
            let wrapped = key_wrap::wrap(&kek, &capsule).unwrap();
            self.recipient_with(name, AUTHENTICATION, |f| f[3].1 = Item::Bytes(wrapped));
        }
        // What the capsule is bound to, changed in CORE.
        for (name, error, change) in [
            ("capsule-of-another-workspace", "Policy", &[0x61, b'v'][..]),
            ("capsule-of-another-dek-id", AUTHENTICATION, &[]),
        ] {
            self.with_mac(name, BASE, error, |parts| {
                let mut fields = entries(&parts.core);
                match change {
                    [] => fields[0].1 = bytes(16),
                    workspace => fields[2].1 = raw(workspace),
                }
                parts.core = map(&fields);
            });
        }
        self.with_mac(
            "capsule-with-workspace-removed",
            "workspace",
            "Policy",
            |parts| {
                let mut fields = entries(&parts.core);
                fields.remove(2);
                parts.core = map(&fields);
            },
        );
    }

    /// Purposes, and recipients that don't fit them.
    pub(super) fn forms(&mut self) {
        for (name, base, purpose) in [
            ("purpose-key-store-with-recipients", BASE, 3),
            ("purpose-volume", BASE, 2),
            ("compact-purpose-data", "compact", 1),
            ("compact-purpose-volume", "compact", 2),
        ] {
            self.with_mac(name, base, FORMAT, |parts| {
                let mut fields = entries(&parts.core);
                fields[1].1 = Item::Unsigned(purpose);
                parts.core = map(&fields);
            });
        }
        self.with_mac("data-without-recipients", BASE, FORMAT, |parts| {
            parts.recipients = array(&[]);
        });
        self.with_mac("compact-with-recipients", "compact", FORMAT, |parts| {
            parts.recipients = vec![0x81];
            let other = self.bases["one-byte"].envelope.clone();
            parts.recipients = Parts::of(&other).recipients;
        });
    }
}
