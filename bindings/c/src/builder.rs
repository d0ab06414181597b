//! Setting up a keyring.

#![allow(unsafe_code)]

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use cmkit::{
    AllowEntry, AuditSink, DekPolicy, DirectoryKeyStore, Freshness, KeyProvider, KeyRef, KeyStore,
    Keyring,
};

use crate::arg::{Handle, OneAtATime};
use crate::error::cmk_error;
use crate::keyring::cmk_keyring;
use crate::local::cmk_local_provider;
use crate::result::cmk_result;

/// Collects what a keyring is made of. It belongs to one thread at a time.
pub struct cmk_keyring_builder(pub(crate) OneAtATime<Parts>);

impl Handle for cmk_keyring_builder {
    fn in_use(&self) -> bool {
        self.0.in_use()
    }
}

/// Kept apart from cmkit's own builder, which is used up by building: this one can build more than once, and stays the caller's.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    pub(crate) providers: Vec<Arc<dyn KeyProvider>>,
    wrap_with: Vec<KeyRef>,
    allow: Vec<AllowEntry>,
    workspace: Option<String>,
    policy: DekPolicy,
    pub(crate) freshness: Freshness,
    pub(crate) call_timeout: Option<Duration>,
    pub(crate) audit: Vec<Arc<dyn AuditSink>>,
    pub(crate) high_business_impact: bool,
    pub(crate) key_store: Option<Arc<dyn KeyStore>>,
}

impl Parts {
    fn build(self) -> cmkit::Result<Keyring> {
        let mut builder = Keyring::builder()
            .policy(self.policy)
            .freshness(self.freshness);
        if let Some(limit) = self.call_timeout {
            builder = builder.call_timeout(limit);
        }
        for sink in self.audit {
            builder = builder.audit(sink);
        }
        if self.high_business_impact {
            builder = builder.high_business_impact();
        }
        for provider in self.providers {
            builder = builder.provider(provider);
        }
        for key in self.wrap_with {
            builder = builder.wrap_with(key);
        }
        for entry in self.allow {
            builder = builder.allow(entry);
        }
        if let Some(workspace) = self.workspace {
            builder = builder.workspace(workspace);
        }
        if let Some(store) = self.key_store {
            builder = builder.key_store(store);
        }
        builder.build()
    }
}

/// Makes an empty builder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_new(
    out: *mut *mut cmk_keyring_builder,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); => {
        *out = Box::into_raw(Box::new(cmk_keyring_builder(OneAtATime::new(Parts::default()))));
        Ok(())
    })
}

/// Adds the keys of a directory. The provider may be freed afterwards. Of several providers the first one that owns a key is
/// asked for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_add_local(
    builder: *mut cmk_keyring_builder,
    provider: *const cmk_local_provider,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); provider = shared(provider); => {
        builder.0.enter()?.providers.push(provider.0.clone());
        Ok(())
    })
}

/// Keeps the data keys of the compact form in a directory, which is made if it is missing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_key_store_directory(
    builder: *mut cmk_keyring_builder,
    path: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); path = path(path); => {
        let store = DirectoryKeyStore::open_or_create(path)?;
        let previous = builder.0.enter()?.key_store.replace(Arc::new(store));
        // After the builder was left: it may call back.
        drop(previous);
        Ok(())
    })
}

/// Adds a recipient: new data keys are wrapped with this key, such as "local:team", in its newest version unless one is given. At
/// most 16; a keyring without any only decrypts. What is added here may also unwrap, in any version.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_wrap_with(
    builder: *mut cmk_keyring_builder,
    key: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); key = text(key); => {
        let key = KeyRef::parse(key)?;
        builder.0.enter()?.wrap_with.push(key);
        Ok(())
    })
}

/// Also lets this key unwrap, in any version. What is on no list is refused before any provider is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_allow_key(
    builder: *mut cmk_keyring_builder,
    key: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); key = text(key); => {
        let key = KeyRef::parse(key)?;
        builder.0.enter()?.allow.push(AllowEntry::Key(key));
        Ok(())
    })
}

/// Also lets every key of this host unwrap, given as in a key id: "v.example.net", with its port if it has one. Exact, never a
/// suffix; what no key id can have, such as a URL or capitals, fails the build of the keyring.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_allow_host(
    builder: *mut cmk_keyring_builder,
    host: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); host = text(host); => {
        builder.0.enter()?.allow.push(AllowEntry::Host(host.to_owned()));
        Ok(())
    })
}

/// Ties every data key to this workspace, 1 to 512 bytes. Envelopes of other workspaces, or of none, are refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_workspace(
    builder: *mut cmk_keyring_builder,
    name: *const c_char,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); name = text(name); => {
        builder.0.enter()?.workspace = Some(name.to_owned());
        Ok(())
    })
}

/// How long a data key serves, at most 24 hours; by default one. 0: nothing is cached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_max_age_ms(
    builder: *mut cmk_keyring_builder,
    age_ms: u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        let mut parts = builder.0.enter()?;
        parts.policy = parts.policy.max_age(Duration::from_millis(age_ms));
        Ok(())
    })
}

/// How many messages a data key encrypts, at most 2^32; by default 2^20. 0: nothing is cached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_max_messages(
    builder: *mut cmk_keyring_builder,
    messages: u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        let mut parts = builder.0.enter()?;
        parts.policy = parts.policy.max_messages(messages);
        Ok(())
    })
}

/// After how many bytes of plaintext a data key takes no other message; by default 256 GiB. 0: nothing is cached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_max_bytes(
    builder: *mut cmk_keyring_builder,
    bytes: u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        let mut parts = builder.0.enter()?;
        parts.policy = parts.policy.max_bytes(bytes);
        Ok(())
    })
}

/// How many unwrapped data keys are kept for decrypting; by default 1000. 0: nothing is cached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_max_entries(
    builder: *mut cmk_keyring_builder,
    entries: usize,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        let mut parts = builder.0.enter()?;
        parts.policy = parts.policy.max_entries(entries);
        Ok(())
    })
}

/// Makes a keyring. The builder stays as it is: it can build another one, and has to be freed. Calls no provider to wrap or unwrap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_build(
    builder: *const cmk_keyring_builder,
    out: *mut *mut cmk_keyring,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); builder = shared(builder); => {
        let parts = builder.0.enter()?.clone();
        *out = cmk_keyring::handle(parts.build()?);
        Ok(())
    })
}

/// Ends a builder. Keyrings made with it stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_free(builder: *mut cmk_keyring_builder) {
    free!(builder)
}
