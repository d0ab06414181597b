//! `cmkit.Keyring`: the entry point.

use std::path::PathBuf;
use std::sync::Arc;

use cmkit::{
    AllowEntry, BlockSize, KeyProvider, KeyRef, KeyringBuilder, Rewrap, SectorSize, VolumeLayout,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::arguments::{key_ref, seconds, texts};
use crate::audit::sink;
use crate::block_key::BlockKey;
use crate::document::{Documents, Form};
use crate::error::{blocking, guard, to_python};
use crate::key_store::key_store;
use crate::local::{DEFAULT_KEY, LocalKeyProvider, WithDefaultKey};
use crate::maintenance::{MaintenanceContext, maintain};
use crate::policy::{AllowHost, DekPolicy, Freshness};
use crate::provider::{PythonProvider, bytes_of};
use crate::rotation::Rotation;
use crate::vault::{Interruptible, KeyVaultProvider};
use crate::xts_key::{XtsKey, layout_of};
use crate::{file, streams};

/// The keys that data is encrypted under and may be decrypted with, for one workspace.
#[pyclass(frozen, weakref, module = "cmkit", name = "Keyring")]
pub(crate) struct Keyring {
    documents: Documents,
}

#[pymethods]
impl Keyring {
    #[new]
    #[pyo3(signature = (
        providers, *, keys=None, workspace=None, allow=None, policy=None, key_store=None, freshness=None, call_timeout=None, audit=None,
        high_business_impact=false
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords")]
    fn new(
        providers: &Bound<'_, PyAny>,
        keys: Option<&Bound<'_, PyAny>>,
        workspace: Option<&str>,
        allow: Option<&Bound<'_, PyAny>>,
        policy: Option<&DekPolicy>,
        key_store: Option<&Bound<'_, PyAny>>,
        freshness: Option<&Freshness>,
        call_timeout: Option<f64>,
        audit: Option<&Bound<'_, PyAny>>,
        high_business_impact: bool,
    ) -> PyResult<Self> {
        guard(|| {
            let options = Options {
                workspace,
                allow,
                policy,
                key_store,
                freshness,
                call_timeout,
                audit,
                high_business_impact,
            };
            let py = providers.py();
            let (providers, default_keys) = keyring_providers(providers, keys.is_none())?;
            let keys = match keys {
                Some(keys) => texts(keys)?
                    .iter()
                    .map(|key| key_ref(py, key))
                    .collect::<PyResult<_>>()?,
                None => default_keys,
            };
            Self::build(py, providers, keys, &options)
        })
    }

    /// A keyring of the user's own key directory, wrapping with its key `local:default`, which the first encryption makes.
    #[staticmethod]
    #[pyo3(signature = (
        *, workspace=None, allow=None, policy=None, key_store=None, freshness=None, call_timeout=None, audit=None, high_business_impact=false
    ))]
    #[expect(clippy::too_many_arguments, reason = "keywords")]
    fn local(
        py: Python<'_>,
        workspace: Option<&str>,
        allow: Option<&Bound<'_, PyAny>>,
        policy: Option<&DekPolicy>,
        key_store: Option<&Bound<'_, PyAny>>,
        freshness: Option<&Freshness>,
        call_timeout: Option<f64>,
        audit: Option<&Bound<'_, PyAny>>,
        high_business_impact: bool,
    ) -> PyResult<Self> {
        guard(|| {
            let options = Options {
                workspace,
                allow,
                policy,
                key_store,
                freshness,
                call_timeout,
                audit,
                high_business_impact,
            };
            let dir = cmkit::default_dir()
                .and_then(cmkit::LocalKeyProvider::at)
                .map_err(|e| to_python(py, e))?;
            let keys = vec![key_ref(py, DEFAULT_KEY)?];
            Self::build(
                py,
                vec![Arc::new(WithDefaultKey(Arc::new(dir)))],
                keys,
                &options,
            )
        })
    }

    /// The workspace that its envelopes belong to.
    #[getter]
    fn workspace(&self) -> Option<&str> {
        self.documents.core().workspace()
    }

    /// The ids of the keys that it wraps with, each a recipient of its envelopes.
    #[getter]
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        guard(|| {
            PyTuple::new(
                py,
                self.documents
                    .core()
                    .wrapping_keys()
                    .iter()
                    .map(KeyRef::as_str),
            )
        })
    }

    /// Encrypts data in memory.
    #[pyo3(signature = (data, context=None))]
    fn encrypt<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| self.documents.encrypt(data, context, Form::Full))
    }

    /// Encrypts data into a writable buffer and gives the envelope's length.
    #[pyo3(signature = (data, out, context=None))]
    fn encrypt_into(
        &self,
        data: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        guard(|| self.documents.encrypt_into(data, out, context, Form::Full))
    }

    /// Encrypts data in the compact form, whose wrapped DEK is kept in the key store.
    #[pyo3(signature = (data, context=None))]
    fn encrypt_compact<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| self.documents.encrypt(data, context, Form::Compact))
    }

    /// The compact form into a writable buffer.
    #[pyo3(signature = (data, out, context=None))]
    fn encrypt_compact_into(
        &self,
        data: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        guard(|| {
            self.documents
                .encrypt_into(data, out, context, Form::Compact)
        })
    }

    /// Decrypts an envelope of any form.
    #[pyo3(signature = (data, context=None))]
    fn decrypt<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| self.documents.decrypt(data, context))
    }

    /// Decrypts an envelope into a writable buffer and gives the plaintext's length.
    #[pyo3(signature = (data, out, context=None))]
    fn decrypt_into(
        &self,
        data: &Bound<'_, PyAny>,
        out: &Bound<'_, PyAny>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        guard(|| self.documents.decrypt_into(data, out, context))
    }

    /// Bytes in the envelope of so many bytes of plaintext, exactly.
    fn encrypted_len(&self, py: Python<'_>, length: u64) -> PyResult<u64> {
        guard(|| self.documents.encrypted_len(py, length, Form::Full))
    }

    /// Bytes in the compact envelope of so many bytes of plaintext, exactly.
    fn compact_len(&self, py: Python<'_>, length: u64) -> PyResult<u64> {
        guard(|| self.documents.encrypted_len(py, length, Form::Compact))
    }

    /// A stream that encrypts what is written to it into a file object.
    #[pyo3(signature = (fileobj, context=None))]
    fn encryptor<'py>(
        slf: &Bound<'py, Self>,
        fileobj: &Bound<'py, PyAny>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| streams::of_python(slf, "Encryptor", fileobj, context))
    }

    /// A stream that decrypts what it reads from a file object.
    #[pyo3(signature = (fileobj, context=None))]
    fn decryptor<'py>(
        slf: &Bound<'py, Self>,
        fileobj: &Bound<'py, PyAny>,
        context: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        guard(|| streams::of_python(slf, "Decryptor", fileobj, context))
    }

    /// Encrypts a file into another one and gives the plaintext's length.
    #[pyo3(signature = (source, destination, context=None, *, overwrite=false, progress=None))]
    fn encrypt_file(
        &self,
        py: Python<'_>,
        source: PathBuf,
        destination: PathBuf,
        context: Option<&Bound<'_, PyAny>>,
        overwrite: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        guard(|| {
            let job = file::Job {
                source,
                destination,
                overwrite,
                progress,
            };
            job.run(py, context, |job, context, options| {
                self.documents
                    .core()
                    .encrypt_file(&job.source, &job.destination, context, options)
            })
        })
    }

    /// Decrypts a file into another one and gives the plaintext's length.
    #[pyo3(signature = (source, destination, context=None, *, overwrite=false, progress=None))]
    fn decrypt_file(
        &self,
        py: Python<'_>,
        source: PathBuf,
        destination: PathBuf,
        context: Option<&Bound<'_, PyAny>>,
        overwrite: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        guard(|| {
            let job = file::Job {
                source,
                destination,
                overwrite,
                progress,
            };
            job.run(py, context, |job, context, options| {
                self.documents
                    .core()
                    .decrypt_file(&job.source, &job.destination, context, options)
            })
        })
    }

    /// An envelope, or the header of one, with its DEK wrapped by another key.
    #[pyo3(signature = (data, to, *, only=false, allow_other_vault=false))]
    fn rewrap<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        to: &str,
        only: bool,
        allow_other_vault: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        guard(|| {
            let py = data.py();
            let rewrap = rewrap_to(py, to, only, allow_other_vault)?;
            let envelope = bytes_of(py, data, "data")?;
            let rewrapped = blocking(py, || self.documents.core().rewrap(&envelope, &rewrap))?;
            Ok(PyBytes::new(py, &rewrapped))
        })
    }

    /// Rewraps a file: "in place", or "copied" where the new header didn't fit.
    #[pyo3(signature = (path, to, *, only=false, allow_other_vault=false))]
    fn rewrap_file(
        &self,
        py: Python<'_>,
        path: PathBuf,
        to: &str,
        only: bool,
        allow_other_vault: bool,
    ) -> PyResult<&'static str> {
        guard(|| {
            let rewrap = rewrap_to(py, to, only, allow_other_vault)?;
            let outcome = blocking(py, || self.documents.core().rewrap_file(&path, &rewrap))?;
            Ok(if outcome == cmkit::RewrapOutcome::Copied {
                "copied"
            } else {
                "in place"
            })
        })
    }

    /// Rewraps every row of the key store and gives their number.
    #[pyo3(signature = (to, *, only=false, allow_other_vault=false))]
    fn rewrap_key_store(
        &self,
        py: Python<'_>,
        to: &str,
        only: bool,
        allow_other_vault: bool,
    ) -> PyResult<usize> {
        guard(|| {
            let rewrap = rewrap_to(py, to, only, allow_other_vault)?;
            blocking(py, || self.documents.core().rewrap_key_store(&rewrap))
        })
    }

    /// Finds the newest version of each wrapping key, to bring envelopes to.
    #[pyo3(signature = (*, keep_old=86_400.0, dry_run=false))]
    fn rotation(&self, py: Python<'_>, keep_old: f64, dry_run: bool) -> PyResult<Rotation> {
        guard(|| Rotation::new(py, self.core(), seconds("keep_old", keep_old)?, dry_run))
    }

    /// Asks remote keys again where that is due.
    fn maintain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        guard(|| maintain(py, self.core()))
    }

    /// A thread that calls maintain() during a `with` block.
    fn maintenance(&self) -> PyResult<MaintenanceContext> {
        guard(|| Ok(MaintenanceContext::new(self.core())))
    }

    /// A new DEK for blocks of a scratch disk, wrapped by the keyring's keys, and its key.
    #[pyo3(signature = (block_size=4096))]
    fn new_block_key(&self, py: Python<'_>, block_size: u32) -> PyResult<BlockKey> {
        guard(|| {
            let size = BlockSize::from_bytes(block_size).map_err(|e| to_python(py, e))?;
            blocking(py, || self.core().new_block_key(size)).map(BlockKey::of)
        })
    }

    /// The key of a new volume in XTS mode, and the volume file that opens it again.
    #[pyo3(signature = (size, sector_size=4096, iv_offset=0))]
    fn create_xts_volume<'py>(
        &self,
        py: Python<'py>,
        size: u64,
        sector_size: u32,
        iv_offset: u64,
    ) -> PyResult<(XtsKey, Bound<'py, PyBytes>)> {
        guard(|| {
            let layout = VolumeLayout {
                sector_size: SectorSize::from_bytes(sector_size).map_err(|e| to_python(py, e))?,
                iv_offset,
                len: size,
            };
            let (key, file) = blocking(py, || self.core().create_xts_volume(&layout))?;
            Ok((XtsKey::of(key), PyBytes::new(py, &file)))
        })
    }

    /// The key and the layout of a volume, from its volume file.
    fn open_xts_volume<'py>(
        &self,
        volume_file: &Bound<'py, PyAny>,
    ) -> PyResult<(XtsKey, Bound<'py, PyAny>)> {
        guard(|| {
            let py = volume_file.py();
            let file = bytes_of(py, volume_file, "volume_file")?;
            let (key, layout) = blocking(py, || self.core().open_xts_volume(&file))?;
            Ok((XtsKey::of(key), layout_of(py, &layout)?))
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        guard(|| {
            let keys = self.keys(py)?.repr()?;
            if self.core().is_high_business_impact() {
                return Ok(format!("<cmkit.Keyring keys={keys} high_business_impact>"));
            }
            let workspace = match self.workspace() {
                Some(workspace) => PyString::new(py, workspace).repr()?.to_string(),
                None => "None".to_owned(),
            };
            Ok(format!("<cmkit.Keyring keys={keys} workspace={workspace}>"))
        })
    }
}

impl Keyring {
    fn build(
        py: Python<'_>,
        providers: Providers,
        keys: Vec<KeyRef>,
        options: &Options<'_, '_>,
    ) -> PyResult<Self> {
        let mut builder = cmkit::Keyring::builder();
        for provider in providers {
            builder = builder.provider(provider);
        }
        for key in keys {
            builder = builder.wrap_with(key);
        }
        builder = options.put_into(builder)?;
        let core = blocking(py, || builder.build())?;
        Ok(Self {
            documents: Documents::new(core),
        })
    }

    pub(crate) fn core(&self) -> &cmkit::Keyring {
        self.documents.core()
    }
}

/// What `Keyring` and `Keyring.local` have in common.
struct Options<'a, 'py> {
    workspace: Option<&'a str>,
    allow: Option<&'a Bound<'py, PyAny>>,
    policy: Option<&'a DekPolicy>,
    key_store: Option<&'a Bound<'py, PyAny>>,
    freshness: Option<&'a Freshness>,
    call_timeout: Option<f64>,
    audit: Option<&'a Bound<'py, PyAny>>,
    high_business_impact: bool,
}

impl Options<'_, '_> {
    fn put_into(&self, mut builder: KeyringBuilder) -> PyResult<KeyringBuilder> {
        if let Some(workspace) = self.workspace {
            builder = builder.workspace(workspace);
        }
        for entry in allow_entries(self.allow)? {
            builder = builder.allow(entry);
        }
        if let Some(policy) = self.policy {
            builder = builder.policy(policy.to_core()?);
        }
        if let Some(store) = self.key_store {
            builder = builder.key_store(key_store(store)?);
        }
        if let Some(freshness) = self.freshness {
            builder = builder.freshness(freshness.to_core()?);
        }
        if let Some(limit) = self.call_timeout {
            builder = builder.call_timeout(seconds("call_timeout", limit)?);
        }
        if let Some(audit) = self.audit {
            builder = builder.audit(sink(audit)?);
        }
        if self.high_business_impact {
            builder = builder.high_business_impact();
        }
        Ok(builder)
    }
}

type Providers = Vec<Arc<dyn KeyProvider>>;

/// The providers that the argument is or lists, and the keys to wrap with where the caller names none: those of the Key Vault providers, else the
/// local default key.
fn keyring_providers(
    providers: &Bound<'_, PyAny>,
    by_default: bool,
) -> PyResult<(Providers, Vec<KeyRef>)> {
    let list = if providers.is_instance_of::<PyList>() || providers.is_instance_of::<PyTuple>() {
        providers.try_iter()?.collect::<PyResult<Vec<_>>>()?
    } else {
        vec![providers.clone()]
    };
    let mut keys: Vec<KeyRef> = Vec::new();
    for provider in &list {
        if let Ok(vault) = provider.cast::<KeyVaultProvider>() {
            keys.extend(vault.get().keys.iter().cloned());
        }
    }
    let is_local = by_default && keys.is_empty();
    let mut made = Vec::with_capacity(list.len());
    for provider in &list {
        if let (true, Ok(local)) = (is_local, provider.cast::<LocalKeyProvider>()) {
            keys = vec![key_ref(provider.py(), DEFAULT_KEY)?];
            made.push(
                Arc::new(WithDefaultKey(Arc::clone(&local.get().inner))) as Arc<dyn KeyProvider>
            );
        } else {
            made.push(provider_of(provider)?);
        }
    }
    Ok((made, keys))
}

/// The provider that a Python object is.
pub(crate) fn provider_of(object: &Bound<'_, PyAny>) -> PyResult<Arc<dyn KeyProvider>> {
    if let Ok(local) = object.cast::<LocalKeyProvider>() {
        return Ok(Arc::clone(&local.get().inner) as Arc<dyn KeyProvider>);
    }
    if let Ok(vault) = object.cast::<KeyVaultProvider>() {
        return Ok(Arc::new(Interruptible(Arc::clone(&vault.get().inner))));
    }
    Ok(Arc::new(PythonProvider::new(object)?))
}

fn allow_entries(allow: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<AllowEntry>> {
    let Some(allow) = allow else {
        return Ok(Vec::new());
    };
    let items = if allow.is_instance_of::<PyString>() || allow.is_instance_of::<AllowHost>() {
        vec![allow.clone()]
    } else {
        allow.try_iter()?.collect::<PyResult<Vec<_>>>()?
    };
    let entries = items.iter().map(|item| {
        if let Ok(host) = item.cast::<AllowHost>() {
            return Ok(host.get().entry());
        }
        let text = item
            .extract::<&str>()
            .map_err(|_| PyTypeError::new_err("allow must hold key ids (str) or AllowHost"))?;
        key_ref(item.py(), text).map(AllowEntry::Key)
    });
    entries.collect()
}

fn rewrap_to(py: Python<'_>, to: &str, only: bool, other_vault: bool) -> PyResult<Rewrap> {
    let mut rewrap = Rewrap::to(key_ref(py, to)?);
    if only {
        rewrap = rewrap.only();
    }
    if other_vault {
        rewrap = rewrap.allow_other_vault();
    }
    Ok(rewrap)
}
