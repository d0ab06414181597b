//! Key providers by callbacks.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use cmkit::{
    KeyId, KeyProvider, KeyRef, KeyState, NewestKey, NewestRequest, ProviderError,
    ProviderErrorKind, SecretBytes, UnwrapRequest, WrapRequest, WrappedKey,
};

use crate::arg;
use crate::builder::cmk_keyring_builder;
use crate::call::{Outcome, invalid};
use crate::callback::{Owned, cmk_destroy_callback, required, with_id};
use crate::error::cmk_error;
use crate::inspection::algorithm_number;
use crate::result::{CMK_OK, cmk_result};
use crate::sink::{Question, cmk_sink};
use crate::structure::Structure;

/// The key version is in use.
pub const CMK_KEY_STATE_ACTIVE: u32 = 0;
/// It is out of reach for now; cached data keys serve until they are too old.
pub const CMK_KEY_STATE_UNAVAILABLE: u32 = 1;
/// It was taken away; cached data keys stop serving at once.
pub const CMK_KEY_STATE_REVOKED: u32 = 2;
/// The provider has never seen it.
pub const CMK_KEY_STATE_UNKNOWN: u32 = 3;

/// Wraps a data key (`plaintext`, 72 secret bytes) with a key, "NAME:KEY" for the newest version or "NAME:KEY/VERSION" for exactly
/// that one. Returns CMK_OK after cmk_sink_put_key and cmk_sink_put, else a CMK_ERR_...
pub type cmk_wrap_callback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        key: *const c_char,
        plaintext: *const u8,
        plaintext_len: usize,
        sink: *mut cmk_sink,
    ) -> cmk_result,
>;

/// Unwraps what `wrap` wrapped, with exactly this key version and algorithm (a CMK_WRAP_...). The bytes come from an envelope that nobody
/// vouched for yet. Returns CMK_OK after cmk_sink_put, else a CMK_ERR_...: CMK_ERR_AUTHENTICATION when this isn't what the key wrapped.
pub type cmk_unwrap_callback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        key: *const c_char,
        algorithm: i32,
        wrapped: *const u8,
        wrapped_len: usize,
        sink: *mut cmk_sink,
    ) -> cmk_result,
>;

/// What is known about a key version at this moment: a CMK_KEY_STATE_... Called for every message under a cached data key, so it must be
/// fast and must not block.
pub type cmk_state_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, key: *const c_char) -> u32>;

/// Whether this provider is the one for a key: 1, or 0.
pub type cmk_owns_callback =
    Option<unsafe extern "C" fn(userdata: *mut c_void, key: *const c_char) -> i32>;

/// The newest version of a key, named without its version, after checking that it may be used to wrap. Returns CMK_OK after cmk_sink_put_newest; CMK_OK without it: the
/// provider can't tell. Else a CMK_ERR_..., as `wrap` would. Called about once an hour, by maintenance, and when a rotation is followed. May block.
pub type cmk_newest_callback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        key: *const c_char,
        sink: *mut cmk_sink,
    ) -> cmk_result,
>;

/// A key provider: it holds keys and wraps and unwraps data keys with them.
///
/// Fill it with zeros, set struct_size, then the members. It is copied. The callbacks are called from any thread, several at a time. They may block, but for
/// `state` and `owns`. They must not call the keyring that is calling them, which is refused with CMK_ERR_POLICY, and must not free it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_provider {
    /// sizeof(cmk_provider).
    pub struct_size: usize,
    /// The first argument of every callback.
    pub userdata: *mut c_void,
    /// 1 to 64 bytes that go into every envelope, and the scheme of its keys unless there is `owns`. Copied. Never change it.
    pub name: *const c_char,
    /// Wraps.
    pub wrap: cmk_wrap_callback,
    /// Unwraps.
    pub unwrap: cmk_unwrap_callback,
    /// Or NULL: always CMK_KEY_STATE_ACTIVE.
    pub state: cmk_state_callback,
    /// Or NULL: the keys "NAME:...", with the provider's name.
    pub owns: cmk_owns_callback,
    /// Or NULL. Called exactly once, when the last builder, keyring and unfinished encryptor that know the provider are gone; not if
    /// adding it failed.
    pub destroy: cmk_destroy_callback,
    /// 1 when keys can be taken away without the provider noticing by itself, as in a service over a network: then a keyring counts from when such a key last
    /// worked, asks again while its data keys are in use, and lets them go when the answer is no or stays out. Else 0.
    pub remote: u32,
    /// Or NULL: the provider can't tell which version is the newest.
    pub newest: cmk_newest_callback,
}

// SAFETY: `repr(C)` with the size first; zeros are NULL.
unsafe impl Structure for cmk_provider {
    const MIN_SIZE: usize = std::mem::offset_of!(Self, remote);
}

/// Adds a provider of the caller's own. Of several providers the first one that owns a key is asked for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_add_provider(
    builder: *mut cmk_keyring_builder,
    provider: *const cmk_provider,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); provider = structure(provider); => {
        let provider = CallbackProvider::new(&provider)?;
        let owned = provider.userdata.clone();
        builder.0.enter()?.providers.push(Arc::new(provider));
        owned.own();
        Ok(())
    })
}

type Wrap =
    unsafe extern "C" fn(*mut c_void, *const c_char, *const u8, usize, *mut cmk_sink) -> cmk_result;
type Unwrap = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    i32,
    *const u8,
    usize,
    *mut cmk_sink,
) -> cmk_result;

struct CallbackProvider {
    userdata: Arc<Owned>,
    name: String,
    wrap: Wrap,
    unwrap: Unwrap,
    state: cmk_state_callback,
    owns: cmk_owns_callback,
    remote: bool,
    newest: cmk_newest_callback,
}

impl CallbackProvider {
    fn new(provider: &cmk_provider) -> Outcome<Self> {
        // SAFETY: the header asks the caller of cmk_keyring_builder_add_provider that this points to a string.
        let name = unsafe { arg::text("name", provider.name) }?;
        if !(1..=64).contains(&name.len()) {
            return Err(invalid("a provider's name has 1 to 64 bytes"));
        }
        Ok(Self {
            userdata: Owned::new(provider.userdata, provider.destroy),
            name: name.to_owned(),
            wrap: required("wrap", provider.wrap)?,
            unwrap: required("unwrap", provider.unwrap)?,
            state: provider.state,
            owns: provider.owns,
            remote: match provider.remote {
                0 => false,
                1 => true,
                other => return Err(invalid(format!("remote is 0 or 1, not {other}"))),
            },
            newest: provider.newest,
        })
    }
}

fn incomplete(key: &str, problem: &str) -> ProviderError {
    ProviderError::new(ProviderErrorKind::Other, problem).on_key(key)
}

impl KeyProvider for CallbackProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn owns(&self, key: &KeyRef) -> bool {
        match self.owns {
            Some(owns) => {
                let userdata = self.userdata.pointer();
                // SAFETY: the header asks for callbacks that can be called with these arguments from any thread.
                with_id(key.as_str(), |key| unsafe { owns(userdata, key) }) != 0
            }
            None => key.scheme() == self.name,
        }
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        let name = request.key.as_str();
        let (code, answer) = cmk_sink::ask(Question::Wrap, |sink| {
            let secret = request.plaintext;
            // SAFETY: as for `owns`.
            with_id(name, |key| unsafe {
                (self.wrap)(
                    self.userdata.pointer(),
                    key,
                    secret.as_ptr(),
                    secret.len(),
                    sink,
                )
            })
        });
        if code != CMK_OK {
            return Err(answer.provider_error(code, name));
        }
        match (answer.key, answer.bytes) {
            (Some((key, algorithm)), Some(wrapped)) => Ok(WrappedKey {
                key,
                algorithm,
                wrapped: wrapped.to_vec(),
            }),
            _ => Err(incomplete(
                name,
                "its wrap callback returned CMK_OK, but put no wrapped key or no key id",
            )),
        }
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        let name = request.key.as_str();
        let algorithm = algorithm_number(request.algorithm);
        let (code, answer) = cmk_sink::ask(Question::Unwrap, |sink| {
            let wrapped = request.wrapped;
            // SAFETY: as for `owns`.
            with_id(name, |key| unsafe {
                (self.unwrap)(
                    self.userdata.pointer(),
                    key,
                    algorithm,
                    wrapped.as_ptr(),
                    wrapped.len(),
                    sink,
                )
            })
        });
        if code != CMK_OK {
            return Err(answer.provider_error(code, name));
        }
        let bytes = answer.bytes.ok_or_else(|| {
            incomplete(name, "its unwrap callback returned CMK_OK, but put no key")
        })?;
        Ok(bytes.into())
    }

    fn is_remote(&self) -> bool {
        self.remote
    }

    fn newest(&self, request: &NewestRequest<'_>) -> Result<Option<NewestKey>, ProviderError> {
        let Some(newest) = self.newest else {
            return Ok(None);
        };
        let name = request.key.without_version();
        let name = name.as_str();
        let (code, answer) = cmk_sink::ask(Question::Newest, |sink| {
            // SAFETY: as for `owns`.
            with_id(name, |key| unsafe {
                newest(self.userdata.pointer(), key, sink)
            })
        });
        match code {
            CMK_OK => Ok(answer.newest),
            code => Err(answer.provider_error(code, name)),
        }
    }

    fn state(&self, key: &KeyId) -> KeyState {
        let Some(state) = self.state else {
            return KeyState::Active;
        };
        // SAFETY: as for `owns`.
        match with_id(key.as_str(), |key| unsafe {
            state(self.userdata.pointer(), key)
        }) {
            CMK_KEY_STATE_ACTIVE => KeyState::Active,
            CMK_KEY_STATE_UNAVAILABLE => KeyState::Unavailable,
            CMK_KEY_STATE_UNKNOWN => KeyState::Unknown,
            // And what is no state at all: better no answer than a wrong one.
            _ => KeyState::Revoked,
        }
    }
}
