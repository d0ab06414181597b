//! The key provider.

use std::fmt;
use std::time::Duration;

use cmkit::{
    Call, KeyProvider, KeyRef, NewestKey, NewestRequest, ProviderError, ProviderErrorKind,
    SecretBytes, UnwrapRequest, WrapRequest, WrappedKey,
};

use crate::bind::Bindings;
use crate::builder::KeyVaultBuilder;
use crate::call::Operation;
use crate::rest::Rest;

/// Keys in Azure Key Vault and Managed HSM: `https://VAULT.vault.azure.net/keys/NAME/VERSION`.
///
/// RSA keys wrap with RSA-OAEP-256, the HSM's oct keys with A256KW. Before a key wraps, and every hour from then on, it is looked at: it must be enabled, within its
/// dates, of a fit type and size, allowed to wrap and unwrap and not to be exported, in a vault with soft delete and purge protection; and 32 random bytes
/// must come back from a wrap and unwrap. Unwrapping asks for exactly the version that wrapped.
///
/// It keeps no memory of what the vault refused: each call says what the vault says now. What to do with cached DEKs then is the keyring's part.
pub struct KeyVaultProvider {
    rest: Rest,
    bindings: Bindings,
    timeout: Duration,
}

impl KeyVaultProvider {
    /// Sets up a provider.
    #[must_use]
    pub fn builder() -> KeyVaultBuilder {
        KeyVaultBuilder::default()
    }

    pub(crate) fn new(rest: Rest, bindings: Bindings, timeout: Duration) -> Self {
        Self {
            rest,
            bindings,
            timeout,
        }
    }

    /// As whom it signs in, and what that was chosen by: `auto: Azure ML managed identity (MSI_ENDPOINT, MSI_SECRET)`.
    #[must_use]
    pub fn identity(&self) -> String {
        self.rest.credential.describe()
    }

    /// The hosts that it may talk to, beside the one for signing in.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        &self.rest.hosts
    }

    pub(crate) fn rest(&self) -> &Rest {
        &self.rest
    }

    pub(crate) fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    pub(crate) fn operation<'a>(&self, call: &'a Call) -> Operation<'a> {
        Operation::new(call, self.timeout, &*self.rest.net.clock)
    }
}

impl KeyProvider for KeyVaultProvider {
    fn name(&self) -> &str {
        "azure-key-vault"
    }

    /// Whether the key is in one of the vaults that this provider was given: it talks to no other.
    fn owns(&self, key: &KeyRef) -> bool {
        self.rest.allows(key)
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        let own = Call::default();
        let operation = self.operation(request.call.unwrap_or(&own));
        let begun = self.rest.net.clock.now();
        loop {
            let bound = self.bindings.get(&self.rest, request.key, &operation)?;
            match self
                .rest
                .wrap(&bound.id, bound.algorithm, request.plaintext, &operation)
            {
                Ok(wrapped) => {
                    return Ok(WrappedKey {
                        key: bound.id,
                        algorithm: bound.algorithm,
                        wrapped,
                    });
                }
                Err(e) => {
                    if !is_definite(e.kind) {
                        return Err(e);
                    }
                    // The key may have got a new version since: look once more, unless that has just been done.
                    self.bindings.forget(request.key, &bound);
                    if bound.since >= begun || request.key.version().is_some() {
                        return Err(e);
                    }
                }
            }
        }
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        let own = Call::default();
        let operation = self.operation(request.call.unwrap_or(&own));
        self.rest
            .unwrap(request.key, request.algorithm, request.wrapped, &operation)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn newest(&self, request: &NewestRequest<'_>) -> Result<Option<NewestKey>, ProviderError> {
        if self.bindings.is_without_get() {
            return Ok(None);
        }
        let own = Call::default();
        let operation = self.operation(request.call.unwrap_or(&own));
        let key = request.key.without_version();
        let bound = self.bindings.renew(&self.rest, &key, &operation)?;
        Ok(Some(NewestKey {
            key: bound.id,
            created: bound.created,
        }))
    }
}

/// Whether the answer is about the key, not about the moment.
fn is_definite(kind: ProviderErrorKind) -> bool {
    matches!(
        kind,
        ProviderErrorKind::NotFound
            | ProviderErrorKind::Deleted
            | ProviderErrorKind::Disabled
            | ProviderErrorKind::Denied
            | ProviderErrorKind::Policy
            | ProviderErrorKind::Unusable
            | ProviderErrorKind::WrongVault
    )
}

impl fmt::Debug for KeyVaultProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVaultProvider")
            .field("hosts", &self.rest.hosts)
            .field("identity", &self.identity())
            .finish_non_exhaustive()
    }
}
