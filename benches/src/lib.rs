//! What the Criterion suites and `compare` share: a keyring on a fresh local key, the bare primitives, and measuring.

pub mod bare;
pub mod cases;
pub mod fio;
pub mod machine;
pub mod measure;

use std::sync::Arc;

use cmkit::{KeyRef, KeyType, Keyring, LocalKeyProvider};

/// A keyring that wraps with a fresh A256KW key in a temporary directory, which goes with the guard.
///
/// # Panics
/// When the directory can't be made: a benchmark has nothing else to do then.
#[must_use]
pub fn keyring() -> (Keyring, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let provider =
        LocalKeyProvider::open_or_create(dir.path().join("keys")).expect("a key directory");
    provider
        .create_key("bench", KeyType::Oct256)
        .expect("a key");
    let key = KeyRef::local("bench").expect("a key name");
    let keyring = Keyring::builder()
        .provider(Arc::new(provider))
        .wrap_with(key)
        .build()
        .expect("a keyring");
    (keyring, dir)
}
