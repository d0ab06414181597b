//! Key providers written in Python: objects as `cmkit.KeyProvider` describes them.

use cmkit::{
    KeyId, KeyProvider, KeyRef, KeyState, NewestKey, NewestRequest, ProviderError,
    ProviderErrorKind, SecretBytes, UnwrapRequest, WrapAlgorithm, WrapRequest, WrappedKey,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyString, PyTuple};

use crate::buffer::Input;
use crate::error::provider_error;
use crate::raised;

/// Calls a Python object; the interpreter is taken for each call and no lock is held.
pub(crate) struct PythonProvider {
    object: Py<PyAny>,
    name: String,
    has_owns: bool,
    has_state: bool,
    has_newest: bool,
    is_remote: bool,
}

impl PythonProvider {
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        for method in ["wrap", "unwrap"] {
            if !object.getattr_opt(method)?.is_some_and(|m| m.is_callable()) {
                return Err(PyTypeError::new_err(format!(
                    "a key provider is a LocalKeyProvider, a KeyVaultProvider or has the methods of cmkit.KeyProvider; {} has no {method}()",
                    object.get_type().name()?
                )));
            }
        }
        let name: String = match object.getattr_opt("name")? {
            Some(name) if name.is_instance_of::<PyString>() => name.extract()?,
            _ => return Err(PyTypeError::new_err("a key provider's name must be a str")),
        };
        if !(1..=64).contains(&name.len()) {
            return Err(PyValueError::new_err(
                "a key provider's name has 1 to 64 bytes",
            ));
        }
        let is_remote = match object.getattr_opt("remote")? {
            Some(remote) => remote
                .cast::<PyBool>()
                .map_err(|_| PyTypeError::new_err("a key provider's remote must be a bool"))?
                .is_true(),
            None => false,
        };
        Ok(Self {
            is_remote,
            has_newest: object.getattr_opt("newest")?.is_some(),
            has_owns: object.getattr_opt("owns")?.is_some(),
            has_state: object.getattr_opt("state")?.is_some(),
            object: object.clone().unbind(),
            name,
        })
    }

    fn call<T>(
        &self,
        key: &KeyRef,
        call: impl FnOnce(Python<'_>, &Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Result<T, ProviderError> {
        Python::try_attach(|py| {
            call(py, self.object.bind(py))
                .map_err(|e| provider_error(py, &self.name, key.as_str(), e))
        })
        .unwrap_or_else(|| {
            Err(
                ProviderError::new(ProviderErrorKind::Other, "the interpreter is shutting down")
                    .on_key(key),
            )
        })
    }
}

impl KeyProvider for PythonProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn owns(&self, key: &KeyRef) -> bool {
        if !self.has_owns {
            return key.scheme() == self.name;
        }
        Python::try_attach(|py| {
            let answer = self
                .object
                .bind(py)
                .call_method1("owns", (key.as_str(),))
                .and_then(|a| a.is_truthy());
            answer.unwrap_or_else(|e| {
                // There is no way to fail here; a provider that can't say so doesn't own the key.
                e.write_unraisable(py, Some(self.object.bind(py)));
                false
            })
        })
        .unwrap_or(false)
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        self.call(request.key, |py, object| {
            let capsule = PyBytes::new(py, request.plaintext);
            let wrapped = object.call_method1("wrap", (request.key.as_str(), capsule))?;
            let wrong = || {
                PyTypeError::new_err(
                    "wrap() must return WrappedKey(key_id: str, algorithm: str, wrapped: bytes)",
                )
            };
            let wrapped = wrapped.cast_into::<PyTuple>().map_err(|_| wrong())?;
            if wrapped.len() != 3 {
                return Err(wrong());
            }
            let id: String = wrapped.get_item(0)?.extract().map_err(|_| wrong())?;
            let algorithm: String = wrapped.get_item(1)?.extract().map_err(|_| wrong())?;
            let Some(algorithm) = WrapAlgorithm::from_name(&algorithm) else {
                return Err(PyValueError::new_err(
                    "wrap() must return the algorithm A256KW or RSA-OAEP-256",
                ));
            };
            let key = KeyId::parse(&id)
                .map_err(|e| PyValueError::new_err(format!("wrap() returned: {e}")))?;
            Ok(WrappedKey {
                key,
                algorithm,
                wrapped: bytes_of(py, &wrapped.get_item(2)?, "wrapped")?,
            })
        })
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        self.call(request.key, |py, object| {
            let wrapped = PyBytes::new(py, request.wrapped);
            let arguments = (request.key.as_str(), request.algorithm.name(), wrapped);
            let capsule = object.call_method1("unwrap", arguments)?;
            bytes_of(py, &capsule, "what unwrap() returns").map(SecretBytes::new)
        })
    }

    fn state(&self, key: &KeyId) -> KeyState {
        if !self.has_state {
            return KeyState::Active;
        }
        Python::try_attach(|py| {
            let object = self.object.bind(py);
            let state = object
                .call_method1("state", (key.as_str(),))
                .and_then(|s| state_of(&s));
            state.unwrap_or_else(|e| {
                if e.is_instance_of::<pyo3::exceptions::PyException>(py) {
                    e.write_unraisable(py, Some(object));
                } else {
                    raised::keep(e);
                }
                // Cached DEKs don't serve on an answer that isn't one: the provider is asked again.
                KeyState::Unknown
            })
        })
        .unwrap_or(KeyState::Unknown)
    }

    fn is_remote(&self) -> bool {
        self.is_remote
    }

    fn newest(&self, request: &NewestRequest<'_>) -> Result<Option<NewestKey>, ProviderError> {
        if !self.has_newest {
            return Ok(None);
        }
        self.call(request.key, |_, object| {
            let wrong = || PyTypeError::new_err("newest() must return a full key id (str) or None");
            let id = object.call_method1("newest", (request.key.as_str(),))?;
            if id.is_none() {
                return Ok(None);
            }
            let id: String = id.extract().map_err(|_| wrong())?;
            let key = KeyId::parse(&id)
                .map_err(|e| PyValueError::new_err(format!("newest() returned: {e}")))?;
            Ok(Some(NewestKey { key, created: None }))
        })
    }
}

fn state_of(answer: &Bound<'_, PyAny>) -> PyResult<KeyState> {
    match answer.extract::<&str>() {
        Ok("active") => Ok(KeyState::Active),
        Ok("unavailable") => Ok(KeyState::Unavailable),
        Ok("revoked") => Ok(KeyState::Revoked),
        Ok("unknown") => Ok(KeyState::Unknown),
        _ => Err(PyValueError::new_err(
            "state() must return active, unavailable, revoked or unknown",
        )),
    }
}

/// A copy of what a Python object returned.
pub(crate) fn bytes_of(py: Python<'_>, object: &Bound<'_, PyAny>, name: &str) -> PyResult<Vec<u8>> {
    let input = Input::of(object, name)?;
    Ok(match &input {
        Input::Shared(shared) => {
            let mut copy = vec![0; shared.len()];
            shared.copy(py, 0, &mut copy);
            copy
        }
        fixed => fixed.fixed().unwrap_or_default().to_vec(),
    })
}
