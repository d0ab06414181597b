//! The fake vault, and providers for it.

// Each test file uses some of these.
#![allow(dead_code)]
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use cmkit::{
    KeyId, KeyProvider, KeyRef, ProviderError, ProviderErrorKind, UnwrapRequest, WrapRequest,
    WrappedKey,
};
use cmkit_azure::{Environment, Identity, KeyVaultBuilder, KeyVaultProvider};
use cmkit_testkit::FakeVault;

pub(crate) const HOST: &str = "contoso.vault.azure.net";
pub(crate) const HSM: &str = "contoso.managedhsm.azure.net";
pub(crate) const CAPSULE: &[u8] = &[7; 72];

/// A fake vault with one key.
pub(crate) struct World {
    pub(crate) vault: FakeVault,
    /// With its version.
    pub(crate) kid: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let vault = FakeVault::start().unwrap();
        let kid = vault.create_key(HOST, "team");
        Self { vault, kid }
    }

    /// The key without a version.
    pub(crate) fn key(&self) -> KeyRef {
        self.id().without_version()
    }

    pub(crate) fn id(&self) -> KeyId {
        KeyId::parse(&self.kid).unwrap()
    }

    /// The way to the fake vault, and these variables.
    pub(crate) fn environment(&self, more: &[(&str, &str)]) -> Environment {
        let mut pairs = vec![("HTTPS_PROXY", &*self.vault.addresses().proxy)];
        pairs.extend(more);
        Environment::from_pairs(pairs)
    }

    pub(crate) fn application(&self) -> Identity {
        let identity = &self.vault.addresses().identity;
        Identity::client_secret_of(
            identity.tenant_id.as_str(),
            identity.client_id.as_str(),
            identity.client_secret.as_str(),
        )
    }

    pub(crate) fn builder(&self) -> KeyVaultBuilder {
        KeyVaultProvider::builder()
            .key(self.key())
            .identity(self.application())
            .ca_file(&self.vault.addresses().ca_file)
            .environment(self.environment(&[]))
    }

    pub(crate) fn provider(&self) -> KeyVaultProvider {
        self.builder().build().unwrap()
    }
}

pub(crate) fn wrap(provider: &KeyVaultProvider, key: &KeyRef) -> Result<WrappedKey, ProviderError> {
    provider.wrap(&WrapRequest::new(key, CAPSULE))
}

pub(crate) fn unwrap(
    provider: &KeyVaultProvider,
    wrapped: &WrappedKey,
) -> Result<Vec<u8>, ProviderError> {
    let request = UnwrapRequest::new(&wrapped.key, wrapped.algorithm, &wrapped.wrapped);
    provider
        .unwrap(&request)
        .map(|bytes| bytes.expose().to_vec())
}

/// The error, which must be of this kind and have all of these words in its text.
pub(crate) fn expect<T>(
    result: Result<T, ProviderError>,
    kind: ProviderErrorKind,
    words: &[&str],
) -> ProviderError {
    let Err(error) = result else {
        panic!("expected {kind:?}, and it succeeded");
    };
    let text = error.to_string();
    assert_eq!(error.kind, kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    error
}
