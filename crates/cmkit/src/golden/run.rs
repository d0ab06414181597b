//! Runs the lists as any reader does: from the files alone, through every way to decrypt.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::keys::{Home, Vault};
use super::{plaintext, read_json, unhex};
use crate::keyring::KeyringBuilder;
use crate::{
    AllowEntry, DirectoryKeyStore, EncryptionContext, Error, ErrorKind, KeyRef, KeyStore, Keyring,
    Reader, Result, error_from_io, inspect,
};

/// What a reader is given for one vector.
struct Case {
    keyring: Keyring,
    context: EncryptionContext,
    envelope: Vec<u8>,
    /// They hold keys and rows for as long as the case is in use.
    _dirs: (Home, tempfile::TempDir),
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().unwrap().iter();
    list.map(|item| text(item).to_owned()).collect()
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let list = value.as_array().unwrap().iter();
    list.map(|pair| (text(&pair[0]).to_owned(), text(&pair[1]).to_owned()))
        .collect()
}

/// `vector` with the members that `case` has in their place.
fn read(dir: &Path, vector: &Value, case: &Value) -> Case {
    let member = |name: &str| case.get(name).unwrap_or(&vector[name]);
    let keys = strings(member("keys"));
    let home = Home::with(dir, |kid| keys.iter().any(|key| key == kid));
    let rows = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryKeyStore::open_or_create(rows.path().join("store")).unwrap());
    let mut builder: KeyringBuilder = Keyring::builder()
        .provider(Arc::new(home.provider()))
        .provider(Vault::read(dir));
    let allow = case.get("allow").map_or_else(|| keys.clone(), strings);
    for key in &allow {
        builder = builder.allow(AllowEntry::Key(KeyRef::parse(key).unwrap()));
    }
    if let Some(workspace) = member("workspace").as_str() {
        builder = builder.workspace(workspace);
    }
    let mut envelope = fs::read(dir.join(text(&vector["file"]))).unwrap();
    if let Some(name) = vector["row"].as_str() {
        let id = inspect(&envelope).unwrap().dek_id;
        if let Some(row) = row(dir, name, case) {
            assert!(store.put_if_absent(&id, &row).unwrap());
        }
        builder = builder.key_store(store);
    }
    if let Some(edits) = case.get("edits") {
        envelope = edited(&envelope, edits);
    }
    Case {
        keyring: builder.build().unwrap(),
        context: EncryptionContext::new(pairs(member("context"))).unwrap(),
        envelope,
        _dirs: (home, rows),
    }
}

fn row(dir: &Path, name: &str, case: &Value) -> Option<Vec<u8>> {
    let name = match case.get("row") {
        Some(Value::Null) => return None,
        Some(other) => format!("{}.row", text(other)),
        None => name.to_owned(),
    };
    let row = fs::read(dir.join(name)).unwrap();
    Some(match case.get("row_edits") {
        Some(edits) => edited(&row, edits),
        None => row,
    })
}

fn edited(base: &[u8], edits: &Value) -> Vec<u8> {
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let mut out = Vec::new();
    let mut done = 0;
    for edit in edits.as_array().unwrap() {
        let at = number(&edit["at"]);
        out.extend_from_slice(&base[done..at]);
        if let Some(hex) = edit.get("hex") {
            out.extend(unhex(text(hex)));
        } else if let Some(zeros) = edit.get("zeros") {
            out.resize(out.len() + number(zeros), 0);
        } else {
            let range = &edit["copy"];
            out.extend_from_slice(&base[number(&range[0])..number(&range[1])]);
        }
        done = at + number(&edit["remove"]);
    }
    out.extend_from_slice(&base[done..]);
    out
}

impl Case {
    /// The case decrypted in every way; all of them agree on the outcome.
    fn run(&self, name: &str) -> Result<Vec<u8>> {
        let outcome = self.keyring.decrypt(&self.envelope, &self.context);
        let mut out = vec![0xAA; self.envelope.len()];
        let into = self
            .keyring
            .decrypt_into(&self.envelope, &self.context, &mut out);
        check(name, "decrypt_into", &outcome, into, &out, 0xAA);
        let mut buffer = self.envelope.clone();
        let in_place = self.keyring.decrypt_in_place(&mut buffer, &self.context);
        check(name, "decrypt_in_place", &outcome, in_place, &buffer, 0);
        agree(name, "Decryptor", &outcome, self.stream());
        agree(name, "Reader", &outcome, self.reader());
        outcome
    }

    fn stream(&self) -> Result<Vec<u8>> {
        let mut stream = self.keyring.decryptor(&self.envelope[..], &self.context)?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).map_err(error_from_io)?;
        Ok(text)
    }

    fn reader(&self) -> Result<Vec<u8>> {
        let mut reader: Reader<_> = self.keyring.reader(&self.envelope[..], &self.context)?;
        let mut text = Vec::new();
        reader.read_to_end(&mut text).map_err(error_from_io)?;
        assert_eq!(reader.len(), text.len() as u64);
        Ok(text)
    }
}

fn agree(name: &str, way: &str, one: &Result<Vec<u8>>, other: Result<Vec<u8>>) {
    match (one, other) {
        (Ok(one), Ok(other)) => assert!(*one == other, "{name}: {way} gives other bytes"),
        (one, other) => {
            let kinds = [one.as_ref().err(), other.as_ref().err()];
            let [one, other] = kinds.map(|e| e.map(Error::kind));
            assert_eq!(one, other, "{name}: decrypt and {way}");
        }
    }
}

/// On success the rest of `out` is `rest`, on failure all of it is zero.
fn check(name: &str, way: &str, one: &Result<Vec<u8>>, other: Result<usize>, out: &[u8], rest: u8) {
    if let Ok(len) = other {
        assert!(out[len..].iter().all(|b| *b == rest), "{name}: {way}");
    } else {
        assert!(out.iter().all(|b| *b == 0), "{name}: {way} left something");
    }
    agree(name, way, one, other.map(|len| out[..len].to_vec()));
}

pub(super) fn valid(dir: &Path) {
    for vector in read_json(&dir.join("valid.json")) {
        let name = text(&vector["name"]);
        let case = read(dir, &vector, &Value::Null);
        let got = case.run(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let len = usize::try_from(vector["plaintext_len"].as_u64().unwrap()).unwrap();
        assert!(got == plaintext(len), "{name}");
    }
}

pub(super) fn refused(dir: &Path) {
    let vectors = read_json(&dir.join("valid.json"));
    let mut failed = Vec::new();
    for case in read_json(&dir.join("refused.json")) {
        let name = text(&case["name"]);
        let base = vectors.iter().find(|v| v["name"] == case["base"]).unwrap();
        let got = match read(dir, base, &case).run(name) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        assert!(
            ErrorKind::ALL
                .iter()
                .any(|kind| case["error"] == format!("{kind:?}"))
        );
        if case["error"] != got {
            failed.push(format!("{name}: {got}, not {}", text(&case["error"])));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
