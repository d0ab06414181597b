//! A provider and a key store in memory that remember what they were asked, and fail when told to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::crypto::{key_wrap, sha256};
use crate::{
    DekId, KeyId, KeyProvider, KeyRef, KeyState, KeyStore, ProviderError, ProviderErrorKind,
    Result, SecretBytes, StoredKey, UnwrapRequest, WrapAlgorithm, WrapRequest, WrappedKey,
};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    /// The key as it was asked for.
    Wrap(String),
    Unwrap(String),
}

type Hook = Arc<dyn Fn(&Call) -> Result<(), ProviderError> + Send + Sync>;

/// Holds every key `test:NAME/VERSION` there could be: the KEK is the hash of its id.
#[derive(Default)]
pub(super) struct Fake {
    calls: Mutex<Vec<Call>>,
    states: Mutex<HashMap<String, KeyState>>,
    hook: Mutex<Option<Hook>>,
    newest: AtomicU64,
    /// Wrap something else than asked for.
    pub(super) garbles: AtomicBool,
    /// Say that this key wrapped.
    pub(super) says: Mutex<Option<KeyId>>,
    /// Give these instead of the capsule.
    pub(super) capsule: Mutex<Option<Vec<u8>>>,
}

impl Fake {
    pub(super) fn count(&self, which: impl Fn(&Call) -> bool) -> usize {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .filter(|call| which(call))
            .count()
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(super) fn forget_calls(&self) {
        self.calls.lock().unwrap().clear();
    }

    pub(super) fn rotate(&self) {
        self.newest.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn set_state(&self, key: &str, state: KeyState) {
        self.states.lock().unwrap().insert(key.to_owned(), state);
    }

    /// Runs before every call, which fails if it does.
    pub(super) fn hook(
        &self,
        hook: impl Fn(&Call) -> Result<(), ProviderError> + Send + Sync + 'static,
    ) {
        *self.hook.lock().unwrap() = Some(Arc::new(hook));
    }

    pub(super) fn unhook(&self) {
        *self.hook.lock().unwrap() = None;
    }

    /// Fails every call that is about this key.
    pub(super) fn fail(&self, about: &'static str, kind: ProviderErrorKind) {
        self.hook(move |call| {
            let (Call::Wrap(key) | Call::Unwrap(key)) = call;
            if key.starts_with(about) {
                Err(ProviderError::new(kind, "as told").on_key(key))
            } else {
                Ok(())
            }
        });
    }

    fn called(&self, call: Call) -> Result<(), ProviderError> {
        self.calls.lock().unwrap().push(call.clone());
        let hook = self.hook.lock().unwrap().clone();
        hook.map_or(Ok(()), |hook| hook(&call))
    }
}

pub(super) fn kek(id: &KeyId) -> [u8; 32] {
    sha256(&[id.as_str().as_bytes()])
}

impl KeyProvider for Fake {
    fn name(&self) -> &str {
        "test"
    }

    fn owns(&self, key: &KeyRef) -> bool {
        key.scheme() == "test" || key.scheme() == "https"
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        self.called(Call::Wrap(request.key.to_string()))?;
        let newest = format!("{:032x}", self.newest.load(Ordering::SeqCst));
        let version = request.key.version().unwrap_or(&newest);
        let key = request.key.with_version(version).unwrap();
        let plaintext = match self.garbles.load(Ordering::SeqCst) {
            true => &[7; 72],
            false => request.plaintext,
        };
        let wrapped = key_wrap::wrap(&kek(&key), plaintext).unwrap();
        let key = self.says.lock().unwrap().clone().unwrap_or(key);
        Ok(WrappedKey {
            key,
            algorithm: WrapAlgorithm::A256Kw,
            wrapped,
        })
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        self.called(Call::Unwrap(request.key.to_string()))?;
        if let Some(capsule) = &*self.capsule.lock().unwrap() {
            return Ok(SecretBytes::new(capsule.clone()));
        }
        key_wrap::unwrap(&kek(request.key), request.wrapped)
            .map(SecretBytes::from)
            .map_err(|_| {
                ProviderError::new(ProviderErrorKind::Rejected, "not what this key wrapped")
            })
    }

    fn state(&self, key: &KeyId) -> KeyState {
        let states = self.states.lock().unwrap();
        states
            .get(key.as_str())
            .copied()
            .unwrap_or(KeyState::Active)
    }
}

type Change = Box<dyn FnOnce(&mut HashMap<DekId, Vec<u8>>) + Send>;

/// Rows in memory. Their tag is the row itself.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: Mutex<HashMap<DekId, Vec<u8>>>,
    pub(super) gets: AtomicU64,
    /// Says that a row was there already.
    pub(super) refuses: AtomicBool,
    /// Somebody else's change just before the next replacement.
    pub(super) meanwhile: Mutex<Option<Change>>,
}

impl KeyStore for Rows {
    fn get(&self, id: &DekId) -> Result<Option<StoredKey>> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        let row = self.rows.lock().unwrap().get(id).cloned();
        Ok(row.map(|bytes| StoredKey {
            tag: bytes.clone(),
            bytes,
        }))
    }

    fn put_if_absent(&self, id: &DekId, bytes: &[u8]) -> Result<bool> {
        if self.refuses.load(Ordering::SeqCst) {
            return Ok(false);
        }
        Ok(self
            .rows
            .lock()
            .unwrap()
            .insert(*id, bytes.to_vec())
            .is_none())
    }

    fn replace_if_unchanged(&self, id: &DekId, bytes: &[u8], tag: &[u8]) -> Result<bool> {
        let mut rows = self.rows.lock().unwrap();
        if let Some(meanwhile) = self.meanwhile.lock().unwrap().take() {
            meanwhile(&mut rows);
        }
        match rows.get_mut(id) {
            Some(row) if row == tag => {
                *row = bytes.to_vec();
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn list(&self) -> Result<Vec<DekId>> {
        Ok(self.rows.lock().unwrap().keys().copied().collect())
    }
}
