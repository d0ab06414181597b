//! Tests of the local key provider, by room.

use super::*;
use crate::error::ErrorKind;
use crate::key_id::KeyId;
use crate::provider::{
    KeyProvider as _, KeyState, UnwrapRequest, WrapAlgorithm, WrapRequest, WrappedKey,
};
use crate::secret::SecretBytes;

mod basics;
mod exchange;
mod files;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(unix)]
mod modes;
mod portable;
#[cfg(unix)]
mod processes;
mod states;

struct Fixture {
    _home: tempfile::TempDir,
    provider: LocalKeyProvider,
}

impl Fixture {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let provider = LocalKeyProvider::open_or_create(home.path().join("cmkit")).unwrap();
        Self {
            _home: home,
            provider,
        }
    }

    fn with_key(name: &str) -> (Self, KeyId) {
        let f = Self::new();
        let id = f.provider.create_key(name, KeyType::Oct256).unwrap();
        (f, id)
    }

    /// The same directory, without what the first provider remembers.
    fn again(&self) -> LocalKeyProvider {
        LocalKeyProvider::open(self.provider.dir()).unwrap()
    }

    fn path(&self, id: &KeyId, suffix: &str) -> PathBuf {
        let name = format!("{}.{suffix}", id.version());
        self.provider
            .dir()
            .join(KEYS_DIR)
            .join(id.name())
            .join(name)
    }
}

const CAPSULE: [u8; 72] = [0xC5; 72];

fn wrap(provider: &LocalKeyProvider, key: &KeyRef) -> Result<WrappedKey, ProviderError> {
    provider.wrap(&WrapRequest::new(key, &CAPSULE))
}

fn unwrap(provider: &LocalKeyProvider, wrapped: &WrappedKey) -> Result<SecretBytes, ProviderError> {
    provider.unwrap(&UnwrapRequest::new(
        &wrapped.key,
        wrapped.algorithm,
        &wrapped.wrapped,
    ))
}

fn name(name: &str) -> KeyRef {
    KeyRef::local(name).unwrap()
}

fn info(provider: &LocalKeyProvider, id: &KeyId) -> KeyInfo {
    provider.show(id).unwrap().pop().unwrap()
}

/// That `wrapped` gives the capsule back.
#[track_caller]
fn assert_opens(provider: &LocalKeyProvider, wrapped: &WrappedKey) {
    assert_eq!(
        unwrap(provider, wrapped)
            .map_err(|e| e.to_string())
            .unwrap()
            .expose(),
        CAPSULE
    );
}

#[track_caller]
fn provider_error<T>(result: Result<T>) -> ProviderError {
    match result {
        Err(Error::Provider(error)) => error,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it worked"),
    }
}
