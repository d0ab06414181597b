//! What following a rotation does, when, and what it leaves alone.

mod bytes;
mod files;
mod trees;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::seams::Clock;
use crate::{
    EncryptionContext, KeyId, KeyProvider, KeyRef, KeyState, KeyType, Keyring, KeyringBuilder,
    LocalKeyProvider, NewestKey, NewestRequest, ProviderError, ProviderErrorKind, Rotate,
    SecretBytes, UnwrapRequest, WrapRequest, WrappedKey, inspect,
};

pub(super) const DAY: u64 = 24 * 3600;

/// A local provider that counts what it is asked.
pub(super) struct Counting {
    local: LocalKeyProvider,
    newest: AtomicU64,
    wraps: AtomicU64,
    /// Fail to unwrap by this one.
    broken: Mutex<Option<KeyId>>,
    /// Say this of the newest version.
    says: Mutex<Option<Option<NewestKey>>>,
}

impl KeyProvider for Counting {
    fn name(&self) -> &str {
        self.local.name()
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        self.wraps.fetch_add(1, Ordering::SeqCst);
        self.local.wrap(request)
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        if self.broken.lock().unwrap().as_ref() == Some(request.key) {
            return Err(ProviderError::new(ProviderErrorKind::Denied, "as told"));
        }
        self.local.unwrap(request)
    }

    fn state(&self, key: &KeyId) -> KeyState {
        self.local.state(key)
    }

    fn newest(&self, request: &NewestRequest<'_>) -> Result<Option<NewestKey>, ProviderError> {
        self.newest.fetch_add(1, Ordering::SeqCst);
        match &*self.says.lock().unwrap() {
            Some(said) => Ok(said.clone()),
            None => self.local.newest(request),
        }
    }
}

/// Keys `local:a` to `local:c`, at a time that stands still until it is told to pass.
pub(super) struct Scene {
    dir: tempfile::TempDir,
    keys: Arc<Counting>,
    clock: Clock,
    seconds: Arc<AtomicU64>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap();
        for name in ["a", "b", "c"] {
            local.create_key(name, KeyType::Oct256).unwrap();
        }
        let (clock, seconds) = Clock::manual(START);
        Self {
            dir,
            keys: Arc::new(Counting {
                local,
                newest: AtomicU64::new(0),
                wraps: AtomicU64::new(0),
                broken: Mutex::default(),
                says: Mutex::default(),
            }),
            clock,
            seconds,
        }
    }

    fn builder(&self) -> KeyringBuilder {
        Keyring::builder()
            .provider(Arc::clone(&self.keys) as _)
            .clock(self.clock.clone())
    }

    /// One that wraps with these and has nothing in its cache.
    fn keyring(&self, keys: &[&str]) -> Keyring {
        let wrap_with = |b: KeyringBuilder, name: &&str| b.wrap_with(key(name));
        keys.iter().fold(self.builder(), wrap_with).build().unwrap()
    }

    fn seal(&self, keys: &[&str]) -> Vec<u8> {
        self.keyring(keys).encrypt(TEXT, &none()).unwrap()
    }

    fn opens(&self, envelope: &[u8], keys: &[&str]) -> bool {
        let opened = self.keyring(keys).decrypt(envelope, &none());
        opened.is_ok_and(|text| text == TEXT)
    }

    fn rotate_key(&self, name: &str) -> KeyId {
        self.keys.local.rotate(name).unwrap()
    }

    fn newest(&self, name: &str) -> KeyId {
        let all = self.keys.local.list().unwrap();
        let is_it = |k: &&crate::KeyInfo| k.newest && k.id.name() == name;
        all.iter().find(is_it).unwrap().id.clone()
    }

    fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn wraps(&self) -> u64 {
        self.keys.wraps.load(Ordering::SeqCst)
    }
}

const START: u64 = 1_750_000_000;
const TEXT: &[u8] = b"attack at dawn";

fn none() -> EncryptionContext {
    EncryptionContext::empty()
}

fn key(name: &str) -> KeyRef {
    KeyRef::parse(&format!("local:{name}")).unwrap()
}

fn at_once() -> Rotate {
    Rotate::default().keep_old(std::time::Duration::ZERO)
}

fn keys_of(envelope: &[u8]) -> Vec<KeyId> {
    let recipients = inspect(envelope).unwrap().recipients;
    recipients.into_iter().map(|r| r.key_id).collect()
}
