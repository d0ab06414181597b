//! Keys in a local directory.

use std::path::PathBuf;
use std::sync::Arc;

use cmkit::{
    KeyId, KeyProvider, KeyRef, KeyState, KeyType, NewestKey, NewestRequest, ProviderError,
    ProviderErrorKind, SecretBytes, UnwrapRequest, WrapRequest, WrappedKey,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use zeroize::Zeroizing;

use crate::arguments::{key_id, key_ref};
use crate::buffer::Input;
use crate::error::{blocking, guard, to_python};

/// KEKs in files of a private directory: `local:NAME/VERSION`.
#[pyclass(frozen, module = "cmkit", name = "LocalKeyProvider")]
pub(crate) struct LocalKeyProvider {
    pub(crate) inner: Arc<cmkit::LocalKeyProvider>,
}

#[pymethods]
impl LocalKeyProvider {
    #[new]
    #[pyo3(signature = (path=None))]
    fn new(py: Python<'_>, path: Option<PathBuf>) -> PyResult<Self> {
        guard(|| {
            let path = path.map_or_else(cmkit::default_dir, Ok);
            let inner = path
                .and_then(cmkit::LocalKeyProvider::at)
                .map_err(|e| to_python(py, e))?;
            Ok(Self {
                inner: Arc::new(inner),
            })
        })
    }

    /// The directory, as an absolute path.
    #[getter]
    fn path(&self) -> PyResult<PathBuf> {
        guard(|| Ok(self.inner.dir().to_owned()))
    }

    /// "local": what its key ids begin with.
    #[getter]
    fn name(&self) -> &'static str {
        "local"
    }

    /// Makes the first version of a key, and the directory if it is missing. Its id.
    #[pyo3(signature = (name, key_type="oct"))]
    fn create_key(&self, py: Python<'_>, name: &str, key_type: &str) -> PyResult<String> {
        guard(|| {
            let key_type: KeyType = key_type.parse().map_err(|e| to_python(py, e))?;
            blocking(py, || self.inner.create_key(name, key_type)).map(|id| id.to_string())
        })
    }

    /// Makes a new version of a key, which wraps from now on. Its id.
    fn rotate(&self, py: Python<'_>, name: &str) -> PyResult<String> {
        guard(|| blocking(py, || self.inner.rotate(name)).map(|id| id.to_string()))
    }

    /// Takes a version out of use until it is enabled.
    fn disable(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        guard(|| {
            let id = key_id(py, id)?;
            blocking(py, || self.inner.disable(&id))
        })
    }

    /// Puts a disabled version back into use.
    fn enable(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        guard(|| {
            let id = key_id(py, id)?;
            blocking(py, || self.inner.enable(&id))
        })
    }

    /// Removes a version for ever: what is encrypted under it alone is lost.
    fn destroy(&self, py: Python<'_>, id: &str) -> PyResult<()> {
        guard(|| {
            let id = key_id(py, id)?;
            blocking(py, || self.inner.destroy(&id))
        })
    }

    /// All versions of all keys, or those of one.
    #[pyo3(signature = (key=None))]
    fn list<'py>(&self, py: Python<'py>, key: Option<&str>) -> PyResult<Bound<'py, PyList>> {
        guard(|| {
            let key = key.map(|key| key_ref(py, key)).transpose()?;
            let infos = blocking(py, || match &key {
                Some(key) => self.inner.show(key),
                None => self.inner.list(),
            })?;
            let class = py.import("cmkit._types")?.getattr("KeyInfo")?;
            let infos = infos.iter().map(|info| {
                let fields = PyDict::new(py);
                fields.set_item("id", info.id.as_str())?;
                fields.set_item("key_type", info.key_type.map(KeyType::name))?;
                fields.set_item("created", info.created)?;
                fields.set_item("state", info.state.name())?;
                fields.set_item("public_only", info.public_only)?;
                fields.set_item("newest", info.newest)?;
                class.call((), Some(&fields))
            });
            PyList::new(py, infos.collect::<PyResult<Vec<_>>>()?)
        })
    }

    /// Takes a key in: a JSON Web Key, or PEM of an RSA private or public key. Its id.
    fn import_key(&self, py: Python<'_>, key: &str, text: &Bound<'_, PyAny>) -> PyResult<String> {
        guard(|| {
            let key = key_ref(py, key)?;
            let text = match text.extract::<&str>() {
                Ok(text) => Zeroizing::new(text.as_bytes().to_vec()),
                Err(_) => copied(py, text)?,
            };
            blocking(py, || self.inner.import(&key, &text)).map(|id| id.to_string())
        })
    }

    /// The whole key, secret, as a JSON Web Key: for a backup.
    fn export_key<'py>(&self, py: Python<'py>, id: &str) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let id = key_id(py, id)?;
            let key = blocking(py, || self.inner.export(&id))?;
            Ok(PyBytes::new(py, key.expose()))
        })
    }

    /// The public half of an RSA key as PEM, or as a JSON Web Key with its id.
    #[pyo3(signature = (id, format="pem"))]
    fn export_public(&self, py: Python<'_>, id: &str, format: &str) -> PyResult<String> {
        guard(|| {
            let id = key_id(py, id)?;
            match format {
                "pem" => blocking(py, || self.inner.export_public(&id)),
                "jwk" => blocking(py, || self.inner.export_public_jwk(&id)),
                _ => Err(pyo3::exceptions::PyValueError::new_err(
                    "format must be \"pem\" or \"jwk\"",
                )),
            }
        })
    }

    fn __repr__(&self) -> PyResult<String> {
        guard(|| {
            Ok(format!(
                "LocalKeyProvider({:?})",
                self.inner.dir().display().to_string()
            ))
        })
    }
}

fn copied(py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<Zeroizing<Vec<u8>>> {
    let input = Input::of(object, "text")?;
    let mut copy = Zeroizing::new(vec![0; input.len()]);
    match &input {
        Input::Shared(shared) => {
            shared.copy(py, 0, &mut copy);
        }
        fixed => copy.copy_from_slice(fixed.fixed().unwrap_or_default()),
    }
    Ok(copy)
}

/// A local provider whose key `local:default` is made by the first encryption that needs it; decrypting makes nothing.
pub(crate) struct WithDefaultKey(pub(crate) Arc<cmkit::LocalKeyProvider>);

pub(crate) const DEFAULT_KEY: &str = "local:default";
const DEFAULT_NAME: &str = "default";

impl KeyProvider for WithDefaultKey {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn owns(&self, key: &KeyRef) -> bool {
        self.0.owns(key)
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        let is_default = request.key.name() == DEFAULT_NAME && request.key.version().is_none();
        match self.0.wrap(request) {
            Err(e) if is_default && e.kind == ProviderErrorKind::NotFound => {}
            other => return other,
        }
        let made =
            self.0
                .create_key_if_absent(DEFAULT_NAME, KeyType::Oct256)
                .map_err(|e| match e.provider() {
                    Some(e) => e.clone(),
                    None => ProviderError::new(ProviderErrorKind::Other, e.to_string())
                        .on_key(request.key),
                })?;
        if let Some(id) = made {
            announce(&id, self.0.dir());
        }
        self.0.wrap(request)
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        self.0.unwrap(request)
    }

    fn state(&self, key: &KeyId) -> KeyState {
        self.0.state(key)
    }

    fn newest(&self, request: &NewestRequest<'_>) -> Result<Option<NewestKey>, ProviderError> {
        self.0.newest(request)
    }
}

/// A line in the log `cmkit`, which Python prints to stderr unless logging is set up otherwise.
fn announce(id: &KeyId, dir: &std::path::Path) {
    let text = format!(
        "created the key {id} in {}; back this directory up: what is encrypted under the key can't be read without it",
        dir.display()
    );
    Python::try_attach(|py| {
        let logged = py.import("logging").and_then(|logging| {
            logging
                .call_method1("getLogger", ("cmkit",))?
                .call_method1("warning", ("%s", text))
        });
        if let Err(e) = logged {
            e.write_unraisable(py, None);
        }
    });
}
