//! Faults beside the envelope: the caller's context, workspace and keys, and the key store's row.

use serde_json::{Value, json};

use super::super::forge::{Edit, Item, Parts, With, difference, entries, map};
use super::super::keys::all;
use super::{Forgeries, cut, set};

const AUTHENTICATION: &str = "Authentication";
const KEY_STORE: &str = "KeyStore";

impl Forgeries<'_> {
    pub(super) fn callers(&mut self) {
        for (name, context) in [
            ("context-none", json!([])),
            ("context-value", json!([["doc", "43"], ["table", "jobs"]])),
            ("context-case", json!([["Doc", "42"], ["table", "jobs"]])),
            ("context-missing-pair", json!([["doc", "42"]])),
            (
                "context-more",
                json!([["doc", "42"], ["table", "jobs"], ["x", ""]]),
            ),
            (
                "context-keys-and-values-swapped",
                json!([["42", "doc"], ["jobs", "table"]]),
            ),
            (
                "context-values-swapped",
                json!([["doc", "jobs"], ["table", "42"]]),
            ),
            ("context-shifted", json!([["doc4", "2"], ["table", "jobs"]])),
        ] {
            self.push(
                name,
                "one-byte",
                AUTHENTICATION,
                json!({ "context": context }),
            );
        }
        self.push(
            "context-given-for-none",
            "no-context",
            AUTHENTICATION,
            json!({"context": [["doc", "42"]]}),
        );
        let mut normalised = self.base("context-order").context.clone();
        normalised.retain(|(key, _)| key != "e\u{301}");
        self.push(
            "context-normalised",
            "context-order",
            AUTHENTICATION,
            json!({ "context": normalised }),
        );

        for (name, base, workspace) in [
            ("workspace-not-given", "workspace", Value::Null),
            ("workspace-other", "workspace", "t\u{e9}nant 2".into()),
            (
                "workspace-not-normalised",
                "workspace",
                "te\u{301}nant 1".into(),
            ),
            ("workspace-prefix", "workspace", "t\u{e9}nant".into()),
            ("workspace-given-for-none", "one-byte", "tenant-1".into()),
            (
                "workspace-of-compact-other",
                "compact-workspace",
                "tenant-2".into(),
            ),
        ] {
            self.push(name, base, "Policy", json!({ "workspace": workspace }));
        }

        let keys = all(self.dir);
        let stranger = keys[keys.len() - 1].to_string();
        self.push(
            "key-of-a-stranger",
            "one-byte",
            "KeyNotAllowed",
            json!({"keys": [stranger]}),
        );
        self.push(
            "key-missing",
            "one-byte",
            "KeyNotFound",
            json!({"keys": [], "allow": ["local:golden"]}),
        );
        self.push(
            "key-of-other-version",
            "one-byte",
            "KeyNotFound",
            json!({"keys": [keys[1].to_string()]}),
        );

        let whole = |base: &super::Base, bytes: &[u8]| Edit {
            at: 0,
            remove: base.envelope.len(),
            with: With::Bytes(bytes.to_vec()),
        };
        for (name, bytes) in [
            ("a-text", &b"Dear reader, this was never encrypted.\n"[..]),
            ("a-png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
            (
                "text-mode-transfer",
                b"\x89CMK\n\x1a\n\x01\0\0\x01\0\x40\0\x40",
            ),
            ("zeros", &[0; 64]),
        ] {
            let edit = whole(self.base("one-byte"), bytes);
            self.edited(name, "one-byte", "Format", &[edit]);
        }
    }

    fn row_edited(&mut self, name: &str, error: &str, edits: &[Edit]) {
        let edits: Vec<_> = edits.iter().map(Edit::json).collect();
        self.push(name, "compact", error, json!({ "row_edits": edits }));
    }

    fn row_forged(&mut self, name: &str, error: &str, forged: &[u8]) {
        let row = self.base("compact").row.as_deref().unwrap();
        let edits = difference(row, forged);
        self.row_edited(name, error, &edits);
    }

    pub(super) fn rows(&mut self) {
        let compact = self.base("compact");
        let row = compact.row.clone().unwrap();
        self.push("row-missing", "compact", KEY_STORE, json!({"row": null}));
        self.push(
            "row-of-another-dek",
            "compact",
            KEY_STORE,
            json!({"row": "compact-workspace"}),
        );
        self.row_forged(
            "row-with-body",
            KEY_STORE,
            &[&row[..], &compact.envelope[compact.envelope.len() - 72..]].concat(),
        );
        self.row_forged("row-trailing-byte", KEY_STORE, &[&row[..], &[0]].concat());
        self.row_forged("row-cut", KEY_STORE, &row[..row.len() - 1]);
        self.row_forged("row-empty", KEY_STORE, &[]);
        let parts = Parts::of(&compact.envelope);
        self.row_forged(
            "row-compact-itself",
            KEY_STORE,
            &compact.envelope[..compact.envelope.len() - parts.body.len()],
        );
        let last = row.len() - 1;
        self.row_edited(
            "row-mac-changed",
            AUTHENTICATION,
            &[set(last, &[row[last] ^ 1])],
        );
        let wrapped = row.len() - 60;
        self.row_edited(
            "row-wrapped-changed",
            AUTHENTICATION,
            &[set(wrapped, &[row[wrapped] ^ 1])],
        );
        // A right row, with a MAC of its own, whose CORE is not this envelope's.
        let mut parts = Parts::of(&row);
        let mut fields = entries(&parts.core);
        fields[2].1 = Item::Unsigned(1);
        parts.core = map(&fields);
        let forged = parts.join_with_mac(&compact.dek);
        self.row_forged("row-core-changed", KEY_STORE, &forged);
        let mut parts = Parts::of(&row);
        let mut fields = entries(&parts.core);
        fields[1].1 = Item::Unsigned(1);
        parts.core = map(&fields);
        let forged = parts.join_with_mac(&compact.dek);
        self.row_forged("row-of-purpose-data", KEY_STORE, &forged);

        let header = compact.envelope.len() - Parts::of(&compact.envelope).body.len();
        self.flipped(
            "compact-mac-changed",
            "compact",
            AUTHENTICATION,
            header - 1,
            1,
        );
        // The row's MAC is right for the row alone.
        let mut parts = Parts::of(&compact.envelope);
        parts.mac = Parts::of(&row).mac;
        self.forged(
            "compact-with-mac-of-row",
            "compact",
            AUTHENTICATION,
            &parts.join(),
        );
        // A header under a DEK that isn't the row's.
        let parts = Parts::of(&compact.envelope);
        self.forged(
            "compact-known-dek-id",
            "compact",
            AUTHENTICATION,
            &parts.join_with_mac(&[7; 32]),
        );
        self.edited(
            "compact-cut",
            "compact",
            "Truncated",
            &[cut(compact, header)],
        );
    }
}
