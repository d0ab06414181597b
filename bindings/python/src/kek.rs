//! A key of a provider as other libraries' client-side encryption wants it.

use std::sync::{Arc, OnceLock};

use cmkit::{
    KeyId, KeyProvider, KeyRef, NewestRequest, ProviderError, SecretBytes, UnwrapRequest,
    WrapAlgorithm, WrapRequest,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use crate::arguments::key_ref;
use crate::error::{blocking, guard};
use crate::keyring::provider_of;
use crate::provider::bytes_of;

/// A key that wraps other libraries' data keys: the key-encryption key of azure-storage-blob.
#[pyclass(frozen, module = "cmkit", name = "KeyEncryptionKey")]
pub(crate) struct KeyEncryptionKey {
    provider: Arc<dyn KeyProvider>,
    key: KeyRef,
    /// The version that wraps, and how, once it is known. It stays for this object's life.
    pinned: OnceLock<(KeyId, WrapAlgorithm)>,
}

#[pymethods]
impl KeyEncryptionKey {
    #[new]
    fn new(provider: &Bound<'_, PyAny>, key_id: &str) -> PyResult<Self> {
        guard(|| {
            let key = key_ref(provider.py(), key_id)?;
            let provider = provider_of(provider)?;
            if !provider.owns(&key) {
                return Err(PyValueError::new_err(format!(
                    "key {key} is not one of this provider's; give it the key, or allow its host"
                )));
            }
            Ok(Self {
                provider,
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
            let wrapped = blocking(py, || {
                let (id, _) = self.pin()?;
                Ok(self.provider.wrap(&WrapRequest::new(&id, &plaintext))?)
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
                let request = UnwrapRequest::new(&id, algorithm, &wrapped);
                Ok(self.provider.unwrap(&request)?)
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
    fn version(&self) -> Result<KeyId, ProviderError> {
        match KeyId::parse(self.key.as_str()) {
            Ok(id) => Ok(id),
            Err(_) => Ok(self.pin()?.0),
        }
    }

    /// The version and the algorithm. A provider says the latter only with something wrapped: 32 zero bytes, which are no secret.
    fn pin(&self) -> Result<(KeyId, WrapAlgorithm), ProviderError> {
        if let Some(pinned) = self.pinned.get() {
            return Ok(pinned.clone());
        }
        let newest = match self.key.version() {
            Some(_) => None,
            None => self.provider.newest(&NewestRequest::new(&self.key))?,
        };
        let key = newest.map_or_else(|| self.key.clone(), |newest| newest.key.into());
        let wrapped = self.provider.wrap(&WrapRequest::new(&key, &[0; 32]))?;
        let found = (wrapped.key, wrapped.algorithm);
        // The first one stays, should two threads have found different ones.
        Ok(self.pinned.get_or_init(|| found).clone())
    }
}
