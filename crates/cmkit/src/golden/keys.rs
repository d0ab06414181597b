//! The vectors' KEKs: a key directory of the local provider, and a key that stands for a vault's.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::crypto::{self, KEY_LEN};
use crate::error::{ProviderError, ProviderErrorKind};
use crate::{
    KeyId, KeyProvider, KeyRef, LocalKeyProvider, SecretBytes, UnwrapRequest, WrapAlgorithm,
    WrapRequest, WrappedKey,
};

/// The KEK ids of the key directory, in the order of their names and then their age.
pub(super) fn all(dir: &Path) -> Vec<KeyId> {
    let home = Home::with(dir, |_| true);
    let mut listed = home.provider().list().unwrap();
    listed.sort_by(|a, b| (a.id.name(), a.created).cmp(&(b.id.name(), b.created)));
    listed.into_iter().map(|info| info.id).collect()
}

/// A private copy of the key directory: a checkout's files can be read by others.
pub(super) struct Home(tempfile::TempDir);

impl Home {
    pub(super) fn with(dir: &Path, wanted: impl Fn(&str) -> bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let make_dir = |path: &Path| {
            let made = fs::DirBuilder::new().mode(0o700).create(path);
            made.unwrap();
        };
        let keys = home.path().join("home/keys");
        make_dir(&home.path().join("home"));
        make_dir(&keys);
        for name in fs::read_dir(dir.join("home/keys")).unwrap() {
            let name = name.unwrap();
            make_dir(&keys.join(name.file_name()));
            for file in fs::read_dir(name.path()).unwrap() {
                let file = file.unwrap().path();
                let text = fs::read(&file).unwrap();
                let jwk: Value = serde_json::from_slice(&text).unwrap();
                if !wanted(jwk["kid"].as_str().unwrap()) {
                    continue;
                }
                let mut options = fs::OpenOptions::new();
                let copy = keys.join(name.file_name()).join(file.file_name().unwrap());
                let mut copy = options.write(true).create_new(true).mode(0o600).open(copy);
                std::io::Write::write_all(copy.as_mut().unwrap(), &text).unwrap();
            }
        }
        Self(home)
    }

    pub(super) fn provider(&self) -> LocalKeyProvider {
        LocalKeyProvider::open(self.0.path().join("home")).unwrap()
    }
}

/// One KEK of a vault's kind, in memory.
pub(super) struct Vault {
    id: KeyId,
    kek: Zeroizing<[u8; KEY_LEN]>,
}

impl Vault {
    pub(super) fn read(dir: &Path) -> Arc<Self> {
        let jwk: Value = serde_json::from_slice(&fs::read(dir.join("vault.jwk")).unwrap()).unwrap();
        let kek = URL_SAFE_NO_PAD.decode(jwk["k"].as_str().unwrap()).unwrap();
        Arc::new(Self {
            id: KeyId::parse(jwk["kid"].as_str().unwrap()).unwrap(),
            kek: Zeroizing::new(kek.try_into().unwrap()),
        })
    }

    pub(super) fn id(&self) -> &KeyId {
        &self.id
    }
}

impl KeyProvider for Vault {
    fn name(&self) -> &str {
        "azure-key-vault"
    }

    fn owns(&self, key: &KeyRef) -> bool {
        key.host() == self.id.host()
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        assert!(request.key.same_key(&self.id));
        Ok(WrappedKey {
            key: self.id.clone(),
            algorithm: WrapAlgorithm::A256Kw,
            wrapped: crypto::key_wrap::wrap(&self.kek, request.plaintext).unwrap(),
        })
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        assert_eq!(request.key, &self.id);
        crypto::key_wrap::unwrap(&self.kek, request.wrapped)
            .map(SecretBytes::from)
            .map_err(|_| ProviderError::new(ProviderErrorKind::Rejected, "not this key's"))
    }
}

/// An A256KW key of the directory, for forging.
pub(super) fn kek(dir: &Path, id: &KeyId) -> [u8; KEY_LEN] {
    let file = dir.join(format!("home/keys/{}/{}.jwk", id.name(), id.version()));
    let jwk: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let kek = URL_SAFE_NO_PAD.decode(jwk["k"].as_str().unwrap()).unwrap();
    kek.try_into().unwrap()
}
