//! Envelopes that every reader refuses, each made from one that it opens.

mod body;
mod header;
mod outside;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::check_json;
use super::forge::{Edit, With, difference};
use super::valid::{Base, Bases};

/// The forgeries of one list.
pub(super) struct Forgeries<'a> {
    dir: &'a Path,
    bases: &'a Bases,
    list: Vec<Value>,
}

/// Makes all of them and compares the list.
pub(super) fn check(dir: &Path, bases: &Bases) {
    let mut forgeries = Forgeries {
        dir,
        bases,
        list: Vec::new(),
    };
    forgeries.prefix();
    forgeries.core();
    forgeries.recipients();
    forgeries.capsule();
    forgeries.forms();
    forgeries.cuts();
    forgeries.chunks();
    forgeries.callers();
    forgeries.rows();
    check_json(&dir.join("refused.json"), forgeries.list);
}

impl<'a> Forgeries<'a> {
    fn base(&self, name: &str) -> &'a Base {
        &self.bases[name]
    }

    fn push(&mut self, name: &str, base: &str, error: &str, more: Value) {
        let mut case = Map::new();
        case.insert("name".into(), name.into());
        case.insert("base".into(), base.into());
        case.insert("error".into(), error.into());
        let Value::Object(more) = more else { panic!() };
        case.extend(more);
        let fresh = self.list.iter().all(|other| other["name"] != name);
        assert!(fresh, "two cases are called {name}");
        self.list.push(case.into());
    }

    fn edited(&mut self, name: &str, base: &str, error: &str, edits: &[Edit]) {
        let edits: Vec<_> = edits.iter().map(Edit::json).collect();
        self.push(name, base, error, json!({ "edits": edits }));
    }

    /// The base turned into `forged`.
    fn forged(&mut self, name: &str, base: &str, error: &str, forged: &[u8]) {
        let edits = difference(&self.base(base).envelope, forged);
        self.edited(name, base, error, &edits);
    }

    fn flipped(&mut self, name: &str, base: &str, error: &str, at: usize, mask: u8) {
        let byte = self.base(base).envelope[at] ^ mask;
        self.edited(name, base, error, &[set(at, &[byte])]);
    }
}

/// Overwrites bytes.
fn set(at: usize, bytes: &[u8]) -> Edit {
    Edit {
        at,
        remove: bytes.len(),
        with: With::Bytes(bytes.to_vec()),
    }
}

/// Leaves nothing behind `len`.
fn cut(base: &Base, len: usize) -> Edit {
    Edit {
        at: len,
        remove: base.envelope.len() - len,
        with: With::Bytes(Vec::new()),
    }
}
