//! Envelopes that every reader opens.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::keys::{Home, Vault, all};
use super::{blessing, check_file, check_json, hex, plaintext};
use crate::crypto::sha256;
use crate::envelope::Header;
use crate::keyring::KeyringBuilder;
use crate::seams::{Clock, Random};
use crate::{
    DekId, DirectoryKeyStore, EncryptionContext, HeaderPadding, KeyRef, KeyStore, Keyring, Rewrap,
    StreamOptions,
};

/// When the vectors' DEKs were made.
const CREATED: u64 = 1_750_000_000;

/// An envelope, the row of its DEK where it has one, and its DEK.
pub(super) struct Base {
    pub(super) envelope: Vec<u8>,
    pub(super) row: Option<Vec<u8>>,
    pub(super) dek: [u8; 32],
    pub(super) context: Vec<(String, String)>,
}

/// The vectors by name.
pub(super) type Bases = BTreeMap<String, Base>;

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Document,
    /// A stream with a padded header.
    File,
    Compact,
    /// A file that was rewrapped from the first key to the second, an hour later.
    Rewrapped,
}

struct Vector {
    name: &'static str,
    about: &'static str,
    len: usize,
    workspace: Option<&'static str>,
    context: Vec<(String, String)>,
    form: Form,
    keys: Vec<KeyRef>,
}

impl Vector {
    fn deterministic(&self) -> bool {
        !self.keys.iter().any(|key| key.name() == "rsa")
    }
}

/// Makes all of them and compares them with the files.
pub(super) fn check(dir: &Path) -> Bases {
    let mut bases = Bases::new();
    let mut list = Vec::new();
    for (seed, vector) in (1..).zip(vectors(dir)) {
        let mut base = make(dir, seed, &vector);
        let [file, row_file] = ["cmk", "row"].map(|end| format!("{}.{end}", vector.name));
        if vector.deterministic() {
            check_file(&dir.join(&file), &base.envelope);
            if let Some(row) = &base.row {
                check_file(&dir.join(&row_file), row);
            }
        } else {
            // RSA-OAEP is random: made once and kept.
            let path = dir.join(&file);
            if blessing() && !path.exists() {
                fs::write(&path, &base.envelope).unwrap();
            }
            base.envelope = fs::read(&path).unwrap();
        }
        list.push(describe(&vector, &base, &file, &row_file));
        bases.insert(vector.name.to_owned(), base);
    }
    check_json(&dir.join("valid.json"), list);
    bases
}

fn describe(vector: &Vector, base: &Base, file: &str, row_file: &str) -> Value {
    let opens = base.row.as_deref().unwrap_or(&base.envelope);
    let header = Header::parse(opens).unwrap();
    let keys: Vec<_> = header
        .recipients
        .iter()
        .map(|r| r.key_id.to_string())
        .collect();
    json!({
        "name": vector.name,
        "about": vector.about,
        "file": file,
        "row": base.row.as_ref().map(|_| row_file),
        "keys": keys,
        "workspace": vector.workspace,
        "context": vector.context,
        "plaintext_len": vector.len,
        "plaintext_sha256": hex(&sha256(&[&plaintext(vector.len)])),
        "deterministic": vector.deterministic(),
    })
}

fn make(dir: &Path, seed: u8, vector: &Vector) -> Base {
    let home = Home::with(dir, |_| true);
    let (clock, seconds) = Clock::manual(CREATED);
    let store_dir = tempfile::tempdir().unwrap();
    let store =
        Arc::new(DirectoryKeyStore::open_or_create(store_dir.path().join("store")).unwrap());
    let mut builder = Keyring::builder()
        .provider(Arc::new(home.provider()))
        .provider(Vault::read(dir))
        .key_store(Arc::clone(&store) as Arc<dyn KeyStore>)
        .clock(clock)
        .random(Random::Fixed {
            seed,
            counter: AtomicU64::new(0),
        });
    if let Some(workspace) = vector.workspace {
        builder = builder.workspace(workspace);
    }
    let keyring = vector
        .keys
        .iter()
        .cloned()
        .fold(builder, KeyringBuilder::wrap_with)
        .build()
        .unwrap();
    let context = EncryptionContext::new(vector.context.clone()).unwrap();
    let text = plaintext(vector.len);
    let envelope = match vector.form {
        Form::Document => keyring.encrypt(&text, &context).unwrap(),
        Form::Compact => keyring.encrypt_compact(&text, &context).unwrap(),
        Form::File | Form::Rewrapped => {
            let options = StreamOptions::default().padded_header(HeaderPadding::FileBlock);
            let mut stream = keyring
                .encryptor_with(Vec::new(), &context, options)
                .unwrap();
            stream.write_all(&text).unwrap();
            stream.finish().unwrap()
        }
    };
    let envelope = if vector.form == Form::Rewrapped {
        seconds.store(3600, Ordering::SeqCst);
        let to = Rewrap::to(all_golden(dir)[1].clone());
        keyring.rewrap(&envelope, &to).unwrap()
    } else {
        envelope
    };
    let row = store.list().unwrap().first().map(|id: &DekId| {
        let row = store.get(id).unwrap().unwrap();
        row.bytes
    });
    Base {
        envelope,
        row,
        dek: sha256(&[&[seed], &0u64.to_be_bytes()]),
        context: vector.context.clone(),
    }
}

fn all_golden(dir: &Path) -> Vec<KeyRef> {
    let golden = all(dir).into_iter().filter(|id| id.name() == "golden");
    golden.map(KeyRef::from).collect()
}

/// In this order: a vector's place is the seed of its random bytes, so new ones go to the end.
fn vectors(dir: &Path) -> Vec<Vector> {
    let golden = all_golden(dir);
    let rsa = KeyRef::local("rsa").unwrap();
    let first = vec![golden[0].clone()];
    let some = [("doc", "42"), ("table", "jobs")];
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        owned.collect()
    };
    let document = |name, about, len| Vector {
        name,
        about,
        len,
        workspace: None,
        context: pairs(&some),
        form: Form::Document,
        keys: first.clone(),
    };
    let small = |name, about| document(name, about, 100);
    vec![
        document("empty", "no plaintext: one chunk of a tag alone", 0),
        document("one-byte", "", 1),
        document("chunk-minus-1", "the longest last chunk", 16_383),
        document("chunk", "a full chunk and an empty last one", 16_384),
        document("chunk-plus-1", "", 16_385),
        document("three-chunks", "", 40_000),
        Vector {
            context: pairs(&[]),
            ..small("no-context", "the empty map, A0")
        },
        Vector {
            context: pairs(&[
                ("bb", "1"),
                ("a", "2"),
                ("", "the empty key"),
                ("\u{e9}", "one character"),
                ("e\u{301}", "two characters that look the same"),
                ("\u{1f511}", "\u{20ac}"),
                ("a key of more than twenty-three bytes", ""),
            ]),
            ..small(
                "context-order",
                "keys sorted as encoded, shorter first; not normalised",
            )
        },
        Vector {
            context: vec![("k".to_owned(), "v".repeat(8186))],
            ..small("context-longest", "8192 bytes encoded")
        },
        Vector {
            workspace: Some("t\u{e9}nant 1"),
            ..small("workspace", "")
        },
        Vector {
            form: Form::File,
            ..document("padded", "a stream whose header has 4096 bytes", 16_384)
        },
        Vector {
            form: Form::Rewrapped,
            ..document("rewrapped", "to the second version, an hour later", 16_384)
        },
        Vector {
            keys: golden[..2].to_vec(),
            ..small("two-recipients", "")
        },
        Vector {
            keys: golden.clone(),
            form: Form::File,
            ..small("sixteen-recipients", "padded")
        },
        Vector {
            keys: vec![KeyRef::from(Vault::read(dir).id().clone())],
            ..small("vault-key-id", "an https key id")
        },
        Vector {
            form: Form::Compact,
            ..small("compact", "the DEK is in the row")
        },
        Vector {
            form: Form::Compact,
            workspace: Some("tenant-1"),
            keys: golden[..2].to_vec(),
            ..small("compact-workspace", "with two recipients in the row")
        },
        Vector {
            keys: vec![rsa.clone()],
            ..small("rsa", "RSA-OAEP-256 alone")
        },
        Vector {
            keys: vec![golden[0].clone(), rsa],
            form: Form::File,
            ..small("oct-and-rsa", "two recipients of two kinds, padded")
        },
    ]
}
