//! `cmkit.KeyVaultProvider`: keys in Azure Key Vault and Managed HSM.

use std::path::PathBuf;
use std::sync::Arc;

use cmkit::{
    Call, KeyProvider, KeyRef, NewestKey, NewestRequest, ProviderError, ProviderErrorKind,
    SecretBytes, UnwrapRequest, WrapRequest, WrappedKey,
};
use cmkit_azure::{Outcome, Report};
use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arguments::{key_ref, seconds, texts};
use crate::credential::identity;
use crate::error::{blocking, guard};
use crate::interrupt::interruptible;
use crate::raised;

/// Keys in Azure Key Vault and Managed HSM.
#[pyclass(frozen, module = "cmkit", name = "KeyVaultProvider")]
pub(crate) struct KeyVaultProvider {
    pub(crate) inner: Arc<cmkit_azure::KeyVaultProvider>,
    pub(crate) keys: Vec<KeyRef>,
}

#[pymethods]
impl KeyVaultProvider {
    #[new]
    #[pyo3(signature = (
        key_id, credential=None, *, client_id=None, ca_file=None, allow_hosts=None, allow_rsa_2048=false, no_get=false, timeout=None, audience=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords")]
    fn new(
        py: Python<'_>,
        key_id: &Bound<'_, PyAny>,
        credential: Option<&Bound<'_, PyAny>>,
        client_id: Option<&str>,
        ca_file: Option<PathBuf>,
        allow_hosts: Option<&Bound<'_, PyAny>>,
        allow_rsa_2048: bool,
        no_get: bool,
        timeout: Option<f64>,
        audience: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        guard(|| {
            let keys: Vec<KeyRef> = texts(key_id)?
                .iter()
                .map(|key| key_ref(py, key))
                .collect::<PyResult<_>>()?;
            let mut builder =
                cmkit_azure::KeyVaultProvider::builder().identity(identity(credential, client_id)?);
            for key in &keys {
                builder = builder.key(key.clone());
            }
            for host in allow_hosts.map(texts).transpose()?.unwrap_or_default() {
                builder = builder.allow_host(&*host);
            }
            if let Some(path) = ca_file {
                builder = builder.ca_file(path);
            }
            if allow_rsa_2048 {
                builder = builder.allow_rsa_2048();
            }
            if no_get {
                builder = builder.no_get();
            }
            if let Some(timeout) = timeout {
                builder = builder.timeout(seconds("timeout", timeout)?);
            }
            for (suffix, audience) in audience.into_iter().flatten() {
                builder =
                    builder.audience(suffix.extract::<String>()?, audience.extract::<String>()?);
            }
            let inner = Arc::new(blocking(py, || builder.build())?);
            Ok(Self { inner, keys })
        })
    }

    /// "azure-key-vault": what its envelopes call it.
    #[getter]
    fn name(&self) -> &str {
        self.inner.name()
    }

    /// The ids of the keys that it was given.
    #[getter]
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        guard(|| PyTuple::new(py, self.keys.iter().map(KeyRef::as_str)))
    }

    /// The hosts that it may talk to, beside the one for signing in.
    #[getter]
    fn hosts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        guard(|| PyTuple::new(py, self.inner.hosts()))
    }

    /// As whom it signs in, and what that was chosen by.
    #[getter]
    fn identity(&self) -> PyResult<String> {
        guard(|| Ok(self.inner.identity()))
    }

    /// Tries everything that a key needs, and says what to do about what fails.
    #[pyo3(signature = (key_id=None))]
    fn doctor<'py>(&self, py: Python<'py>, key_id: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| {
            let key = match (key_id, &*self.keys) {
                (Some(id), _) => key_ref(py, id)?,
                (None, [key]) => key.clone(),
                (None, _) => {
                    return Err(PyValueError::new_err(
                        "name the key: this provider was given none, or several",
                    ));
                }
            };
            let inner = Arc::clone(&self.inner);
            raised::begin(py);
            let report = py.detach(|| interruptible(move || inner.doctor(&key)));
            if let Some(interrupt) = raised::take_interrupt(py) {
                return Err(interrupt);
            }
            raised::begin(py);
            let report = report.ok_or_else(|| PyKeyboardInterrupt::new_err(()))?;
            to_dataclass(py, &report)
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        guard(|| {
            let keys = self.keys(py)?.repr()?;
            Ok(format!(
                "<cmkit.KeyVaultProvider keys={keys} identity={:?}>",
                self.inner.identity()
            ))
        })
    }
}

fn to_dataclass<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyAny>> {
    let types = py.import("cmkit._types")?;
    let class = types.getattr("Check")?;
    let rows = report.rows.iter().map(|row| {
        let outcome = match row.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            _ => "skipped",
        };
        class.call1((row.check.name(), outcome, &row.detail))
    });
    let rows = PyTuple::new(py, rows.collect::<PyResult<Vec<_>>>()?)?;
    let fields = PyDict::new(py);
    fields.set_item("key_id", &report.key)?;
    fields.set_item("identity", &report.identity)?;
    fields.set_item("rows", rows)?;
    types.getattr("DoctorReport")?.call((), Some(&fields))
}

/// The provider as a keyring calls it: on the main thread its calls can be interrupted.
pub(crate) struct Interruptible(pub(crate) Arc<cmkit_azure::KeyVaultProvider>);

impl Interruptible {
    /// Makes a call that owns all that it needs.
    fn call<T: Send + 'static>(
        &self,
        key: &KeyRef,
        call: Option<&Call>,
        work: impl FnOnce(&cmkit_azure::KeyVaultProvider, &Call) -> Result<T, ProviderError>
        + Send
        + 'static,
    ) -> Result<T, ProviderError> {
        let inner = Arc::clone(&self.0);
        let own = call.cloned().unwrap_or_default();
        let done = interruptible(move || {
            let result = work(&inner, &own);
            (result, own.answer())
        });
        let Some((result, answer)) = done else {
            // Passing, for the answer would have said more about the key.
            let stopped = "the call was interrupted and given up";
            return Err(ProviderError::new(ProviderErrorKind::Other, stopped)
                .on_key(key)
                .retryable(true));
        };
        if let Some(call) = call {
            call.learn(|known| *known = answer);
        }
        result
    }
}

impl KeyProvider for Interruptible {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn owns(&self, key: &KeyRef) -> bool {
        self.0.owns(key)
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        let key = request.key.clone();
        let plaintext = SecretBytes::new(request.plaintext.to_vec());
        self.call(request.key, request.call, move |inner, call| {
            inner.wrap(&WrapRequest::new(&key, plaintext.expose()).in_call(call))
        })
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        let (key, algorithm) = (request.key.clone(), request.algorithm);
        let wrapped = request.wrapped.to_vec();
        self.call(request.key, request.call, move |inner, call| {
            inner.unwrap(&UnwrapRequest::new(&key, algorithm, &wrapped).in_call(call))
        })
    }

    fn is_remote(&self) -> bool {
        self.0.is_remote()
    }

    fn newest(&self, request: &NewestRequest<'_>) -> Result<Option<NewestKey>, ProviderError> {
        let key = request.key.clone();
        self.call(request.key, request.call, move |inner, call| {
            inner.newest(&NewestRequest::new(&key).in_call(call))
        })
    }
}
