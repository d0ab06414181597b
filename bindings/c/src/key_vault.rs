//! Keys in Azure Key Vault and Managed HSM.
//!
//! The builder holds plain values, so that it can build more than once and exists in builds without Azure, too.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "azure")]
use cmkit_azure::KeyVaultProvider;
use zeroize::Zeroizing;

use crate::arg::{Handle, OneAtATime};
use crate::builder::cmk_keyring_builder;
use crate::call::{Outcome, invalid};
use crate::error::cmk_error;
use crate::identity::{Identity, cmk_token_source};
use crate::result::cmk_result;

/// Collects what a Key Vault provider is made of. It belongs to one thread at a time.
pub struct cmk_key_vault_builder(OneAtATime<Parts>);

impl Handle for cmk_key_vault_builder {
    fn in_use(&self) -> bool {
        self.0.in_use()
    }
}

#[derive(Clone, Default)]
pub(crate) struct Parts {
    keys: Vec<cmkit::KeyRef>,
    hosts: Vec<String>,
    pub(crate) identity: Identity,
    client_id: Option<String>,
    tenant: Option<String>,
    ca_file: Option<PathBuf>,
    rsa_2048: bool,
    no_get: bool,
    audiences: Vec<(String, String)>,
    timeout: Option<Duration>,
}

/// Keys in Azure Key Vault and Managed HSM, "https://VAULT.vault.azure.net/keys/NAME/VERSION". Any number of threads may use one at the same time; a forked
/// child may go on with it. It starts no thread.
pub struct cmk_key_vault {
    #[cfg(feature = "azure")]
    pub(crate) provider: Arc<KeyVaultProvider>,
    #[cfg(not(feature = "azure"))]
    provider: Arc<dyn cmkit::KeyProvider>,
    identity: CString,
}

impl Handle for cmk_key_vault {}

#[cfg(feature = "azure")]
impl Parts {
    fn build(self) -> Outcome<cmk_key_vault> {
        let mut builder = KeyVaultProvider::builder();
        for key in self.keys {
            builder = builder.key(key);
        }
        for host in self.hosts {
            builder = builder.allow_host(host);
        }
        for (suffix, audience) in self.audiences {
            builder = builder.audience(suffix, audience);
        }
        let mut identity = self.identity.of_azure()?;
        if let Some(id) = self.client_id {
            identity = identity.client_id(id);
        }
        if let Some(tenant) = self.tenant {
            identity = identity.tenant(tenant);
        }
        builder = builder.identity(identity);
        if let Some(path) = self.ca_file {
            builder = builder.ca_file(path);
        }
        if self.rsa_2048 {
            builder = builder.allow_rsa_2048();
        }
        if self.no_get {
            builder = builder.no_get();
        }
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        let provider = builder.build()?;
        Ok(cmk_key_vault {
            identity: crate::error::c_string(provider.identity()),
            provider: Arc::new(provider),
        })
    }
}

#[cfg(not(feature = "azure"))]
impl Parts {
    fn build(self) -> Outcome<cmk_key_vault> {
        Err(lacking())
    }
}

/// What a build without Azure says.
#[cfg(not(feature = "azure"))]
pub(crate) fn lacking() -> crate::call::Fault {
    crate::call::Fault::Unsupported("this build of libcmkit has no Azure Key Vault in it".into())
}

/// Makes an empty builder. It needs at least one key or host.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_new(
    out: *mut *mut cmk_key_vault_builder,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); => {
        *out = Box::into_raw(Box::new(cmk_key_vault_builder(OneAtATime::new(Parts::default()))));
        Ok(())
    })
}

/// A key to use, with or without a version: "https://VAULT.vault.azure.net/keys/NAME". Its host is thereby allowed. May be called several times.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_key(
    builder: *mut cmk_key_vault_builder,
    key: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); key = text(key); => {
        let key = cmkit::KeyRef::parse(key)?;
        builder.0.enter()?.keys.push(key);
        Ok(())
    })
}

/// A further host that may be talked to, exactly as in key ids: "contoso.vault.azure.net". Other keys in that vault are opened, too, if the
/// keyring allows them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_allow_host(
    builder: *mut cmk_key_vault_builder,
    host: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); host = text(host); => {
        builder.0.enter()?.hosts.push(host.to_owned());
        Ok(())
    })
}

/// As whom to sign in: a CMK_IDENTITY_..., by default CMK_IDENTITY_AUTO. The environment is read when the provider is built.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_identity(
    builder: *mut cmk_key_vault_builder,
    identity: u32,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        let identity = Identity::of_number(identity)?;
        let previous = std::mem::replace(&mut builder.0.enter()?.identity, identity);
        // After the builder was left: it may call back.
        drop(previous);
        Ok(())
    })
}

/// To sign in as an application by its secret, which is copied. CMK_IDENTITY_CLIENT_SECRET takes all three from the environment instead.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_client_secret(
    builder: *mut cmk_key_vault_builder,
    tenant: *const c_char,
    client_id: *const c_char,
    secret: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); tenant = text(tenant); client_id = text(client_id); secret = text(secret); => {
        if tenant.is_empty() || client_id.is_empty() || secret.is_empty() {
            return Err(invalid("a client secret needs its tenant, its client id and the secret, none of them empty"));
        }
        let identity = Identity::Secret {
            tenant: tenant.to_owned(),
            client_id: client_id.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
        };
        let previous = std::mem::replace(&mut builder.0.enter()?.identity, identity);
        drop(previous);
        Ok(())
    })
}

/// To sign in with tokens that the caller gets elsewhere.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_token_source(
    builder: *mut cmk_key_vault_builder,
    source: *const cmk_token_source,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); source = structure(source); => {
        let (identity, userdata) = Identity::of_source(&source)?;
        let previous = std::mem::replace(&mut builder.0.enter()?.identity, identity);
        userdata.own();
        drop(previous);
        Ok(())
    })
}

/// A user-assigned managed identity, or an application, by its client id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_client_id(
    builder: *mut cmk_key_vault_builder,
    client_id: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); client_id = text(client_id); => {
        builder.0.enter()?.client_id = Some(client_id.to_owned());
        Ok(())
    })
}

/// The tenant to sign in to, for workload identity, client secrets and the Azure CLI.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_tenant(
    builder: *mut cmk_key_vault_builder,
    tenant: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); tenant = text(tenant); => {
        builder.0.enter()?.tenant = Some(tenant.to_owned());
        Ok(())
    })
}

/// A PEM file of at most 4 MiB with roots to trust besides the system's: those of an inspecting proxy, or of an emulator.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_ca_file(
    builder: *mut cmk_key_vault_builder,
    path: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); path = path(path); => {
        builder.0.enter()?.ca_file = Some(path.to_owned());
        Ok(())
    })
}

/// Takes RSA keys of 2048 bits, too. By default 3072 are the least.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_allow_rsa_2048(
    builder: *mut cmk_key_vault_builder,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        builder.0.enter()?.rsa_2048 = true;
        Ok(())
    })
}

/// Never asks for the key itself, for key owners who don't grant `get`. Then keys are named with their version, rotations aren't noticed, and of the
/// rules for keys only that it wraps and unwraps is checked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_no_get(
    builder: *mut cmk_key_vault_builder,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        builder.0.enter()?.no_get = true;
        Ok(())
    })
}

/// For a private cloud or an emulator: hosts below `suffix`, or exactly that one, take tokens for `audience`, such as "https://vault.azure.net".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_audience(
    builder: *mut cmk_key_vault_builder,
    suffix: *const c_char,
    audience: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); suffix = text(suffix); audience = text(audience); => {
        builder.0.enter()?.audiences.push((suffix.to_owned(), audience.to_owned()));
        Ok(())
    })
}

/// How long one call to the vault may take with all its retries, 1 s to 10 min; by default 30 s. Signing in comes on top: up to 90 s the first time.
/// cmk_keyring_builder_call_timeout_ms ends both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_timeout_ms(
    builder: *mut cmk_key_vault_builder,
    timeout_ms: u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        builder.0.enter()?.timeout = Some(Duration::from_millis(timeout_ms));
        Ok(())
    })
}

/// Makes a provider. Nothing is contacted before its first operation. The builder stays as it is: it can build another one, and has to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_build(
    builder: *const cmk_key_vault_builder,
    out: *mut *mut cmk_key_vault,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); builder = shared(builder); => {
        let parts = builder.0.enter()?.clone();
        *out = Box::into_raw(Box::new(parts.build()?));
        Ok(())
    })
}

/// Ends a builder and wipes its secret. Providers made with it stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_builder_free(builder: *mut cmk_key_vault_builder) {
    free!(builder)
}

/// As whom a provider signs in, and what that was chosen by: "auto: Azure ML managed identity (MSI_ENDPOINT, MSI_SECRET)". Lives as long as
/// the provider; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_identity(key_vault: *const cmk_key_vault) -> *const c_char {
    value!(ptr::null(); key_vault = shared(key_vault); => key_vault.identity.as_ptr())
}

/// Ends a provider. Keyrings that have it go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_key_vault_free(key_vault: *mut cmk_key_vault) {
    free!(key_vault)
}

/// Adds a Key Vault provider, which may be freed afterwards. Several keyrings may share one: its tokens and what it knows about keys, too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_add_key_vault(
    builder: *mut cmk_keyring_builder,
    key_vault: *const cmk_key_vault,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); key_vault = shared(key_vault); => {
        builder.0.enter()?.providers.push(key_vault.provider.clone());
        Ok(())
    })
}
