//! A key of a provider as other libraries' client-side encryption wants it.

use std::sync::{Arc, OnceLock};

use cmkit::{
    Error, KeyId, KeyProvider, KeyRef, NewestRequest, Rotate, SecretBytes, UnwrapRequest,
    WrapAlgorithm, WrapRequest, WrappedKey,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use crate::arguments::key_ref;
use crate::error::{blocking, guard};
use crate::keyring::{Keyring, provider_of};
use crate::provider::bytes_of;

/// A key that wraps other libraries' data keys: the key-encryption key of azure-storage-blob.
#[pyclass(frozen, module = "cmkit", name = "KeyEncryptionKey")]
pub(crate) struct KeyEncryptionKey {
    holder: Holder,
    key: KeyRef,
    /// The version that wraps, and how, once it is known. It stays for this object's life.
    pinned: OnceLock<(KeyId, WrapAlgorithm)>,
}

/// Who has the key.
enum Holder {
    Provider(Arc<dyn KeyProvider>),
    Keyring(cmkit::Keyring),
}

impl Holder {
    fn wrap(&self, key: &KeyRef, plaintext: &[u8]) -> cmkit::Result<WrappedKey> {
        match self {
            Self::Provider(provider) => Ok(provider.wrap(&WrapRequest::new(key, plaintext))?),
            Self::Keyring(keyring) => keyring.wrap_foreign(key, plaintext),
        }
    }

    fn unwrap(
        &self,
        key: &KeyId,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> cmkit::Result<SecretBytes> {
        match self {
            Self::Provider(provider) => {
                Ok(provider.unwrap(&UnwrapRequest::new(key, algorithm, wrapped))?)
            }
            Self::Keyring(keyring) => keyring.unwrap_foreign(key, algorithm, wrapped),
        }
    }

    /// The newest version, where it can be told without wrapping.
    fn newest(&self, key: &KeyRef) -> cmkit::Result<Option<KeyId>> {
        match self {
            Self::Provider(provider) => {
                let newest = provider.newest(&NewestRequest::new(key))?;
                Ok(newest.map(|newest| newest.key))
            }
            Self::Keyring(keyring) if keyring.wrapping_keys().contains(key) => {
                let rotation = keyring.rotation(&Rotate::default())?;
                let mut newest = rotation.newest().iter().map(|newest| newest.key.clone());
                Ok(newest.find(|newest| newest.same_key(key)))
            }
            Self::Keyring(_) => Ok(None),
        }
    }
}

/// Whether it is a data key of cmkit's own: those don't come out this way, and nobody passes one off as another's.
fn is_capsule(plaintext: &[u8]) -> bool {
    plaintext.starts_with(b"cmkD")
}

#[pymethods]
impl KeyEncryptionKey {
    #[new]
    fn new(provider: &Bound<'_, PyAny>, key_id: &str) -> PyResult<Self> {
        guard(|| {
            let key = key_ref(provider.py(), key_id)?;
            let holder = match provider.cast::<Keyring>() {
                Ok(keyring) => Holder::Keyring(keyring.get().core().clone()),
                Err(_) => Holder::Provider(provider_of(provider)?),
            };
            if let Holder::Provider(provider) = &holder
                && !provider.owns(&key)
            {
                return Err(PyValueError::new_err(format!(
                    "key {key} is not one of this provider's; give it the key, or allow its host"
                )));
            }
            Ok(Self {
                holder,
                key,
                pinned: OnceLock::new(),
            })
        })
    }

    /// Wraps a data key.
    fn wrap_key<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let py = key.py();
            let plaintext = Zeroizing::new(bytes_of(py, key, "key")?);
            if is_capsule(&plaintext) {
                return Err(PyValueError::new_err(
                    "key must not be a data key of cmkit's own",
                ));
            }
            let wrapped = blocking(py, || {
                let (id, _) = self.pin()?;
                self.holder.wrap(&id, &plaintext)
            })?;
            Ok(PyBytes::new(py, &wrapped.wrapped))
        })
    }

    /// Gives back what wrap_key() wrapped.
    fn unwrap_key<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        algorithm: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let py = key.py();
            let Some(algorithm) = WrapAlgorithm::from_name(algorithm) else {
                return Err(PyValueError::new_err(
                    "algorithm must be A256KW or RSA-OAEP-256",
                ));
            };
            let wrapped = bytes_of(py, key, "key")?;
            if !(1..=1024).contains(&wrapped.len()) {
                return Err(PyValueError::new_err("a wrapped key has 1 to 1024 bytes"));
            }
            let plaintext: SecretBytes = blocking(py, || {
                let id = self.version()?;
                let plaintext = self.holder.unwrap(&id, algorithm, &wrapped)?;
                if is_capsule(plaintext.expose()) {
                    return Err(Error::AuthenticationFailed);
                }
                Ok(plaintext)
            })?;
            Ok(PyBytes::new(py, plaintext.expose()))
        })
    }

    /// The full id of the key version that wraps.
    fn get_kid(&self, py: Python<'_>) -> PyResult<String> {
        guard(|| blocking(py, || Ok(self.version()?.to_string())))
    }

    /// How it wraps: "RSA-OAEP-256" or "A256KW".
    fn get_key_wrap_algorithm(&self, py: Python<'_>) -> PyResult<&'static str> {
        guard(|| blocking(py, || Ok(self.pin()?.1.name())))
    }

    fn __repr__(&self) -> PyResult<String> {
        guard(|| Ok(format!("<cmkit.KeyEncryptionKey {}>", self.key)))
    }
}

impl KeyEncryptionKey {
    /// The version, which needs asking only where it isn't given.
    fn version(&self) -> cmkit::Result<KeyId> {
        match KeyId::parse(self.key.as_str()) {
            Ok(id) => Ok(id),
            Err(_) => Ok(self.pin()?.0),
        }
    }

    /// The version and the algorithm. Only something wrapped tells the latter: 32 zero bytes, which are no secret.
    fn pin(&self) -> cmkit::Result<(KeyId, WrapAlgorithm)> {
        if let Some(pinned) = self.pinned.get() {
            return Ok(pinned.clone());
        }
        let newest = match self.key.version() {
            Some(_) => None,
            None => self.holder.newest(&self.key)?,
        };
        let key = newest.map_or_else(|| self.key.clone(), KeyRef::from);
        let wrapped = self.holder.wrap(&key, &[0; 32])?;
        let found = (wrapped.key, wrapped.algorithm);
        // The first one stays, should two threads have found different ones.
        Ok(self.pinned.get_or_init(|| found).clone())
    }
}
