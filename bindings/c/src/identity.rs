//! As whom to sign in to a vault.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::arg;
use crate::call::{Outcome, invalid};
use crate::callback::{Owned, cmk_destroy_callback, required};
use crate::result::cmk_result;
use crate::sink::cmk_sink;
use crate::structure::Structure;

#[cfg(feature = "azure")]
mod azure;

/// The first of the others that the environment has: never another one because that one fails.
pub const CMK_IDENTITY_AUTO: u32 = 0;
/// The managed identity of App Service, Functions and Container Apps: IDENTITY_ENDPOINT, IDENTITY_HEADER.
pub const CMK_IDENTITY_APP_SERVICE: u32 = 1;
/// The managed identity of a machine with Azure Arc: IDENTITY_ENDPOINT, IMDS_ENDPOINT.
pub const CMK_IDENTITY_ARC: u32 = 2;
/// The managed identity of Azure ML compute: MSI_ENDPOINT, MSI_SECRET, and DEFAULT_IDENTITY_CLIENT_ID if no client id is given.
pub const CMK_IDENTITY_AZURE_ML: u32 = 3;
/// Workload identity, as in Kubernetes: AZURE_FEDERATED_TOKEN_FILE, AZURE_CLIENT_ID, AZURE_TENANT_ID.
pub const CMK_IDENTITY_WORKLOAD: u32 = 4;
/// An application's secret: AZURE_CLIENT_SECRET, AZURE_CLIENT_ID, AZURE_TENANT_ID.
pub const CMK_IDENTITY_CLIENT_SECRET: u32 = 5;
/// The managed identity of a virtual machine or a scale set.
pub const CMK_IDENTITY_IMDS: u32 = 6;
/// Whoever is signed in at the Azure CLI: for a developer's machine.
pub const CMK_IDENTITY_CLI: u32 = 7;

/// Gets an access token for an audience, `resource` ("https://vault.azure.net"), or the same as an OAuth 2.0 scope. `claims` are further claims that the
/// vault demands, as JSON: then a token from a cache won't do; mostly NULL. Returns CMK_OK after cmk_sink_put_token, else a CMK_ERR_...: whichever it is, the caller
/// gets CMK_ERR_IDENTITY with the message of cmk_sink_fail.
pub type cmk_token_callback = Option<
    unsafe extern "C" fn(
        userdata: *mut c_void,
        resource: *const c_char,
        scope: *const c_char,
        claims: *const c_char,
        sink: *mut cmk_sink,
    ) -> cmk_result,
>;

/// Tokens that the caller gets, such as from another library.
///
/// Fill it with zeros, set struct_size, then the members. It is copied. The callback is called from any thread, one call at a time for each audience, and its
/// tokens are kept until shortly before they end. It may block. It must not call the keyring that is calling it, which is refused with CMK_ERR_POLICY.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cmk_token_source {
    /// sizeof(cmk_token_source).
    pub struct_size: usize,
    /// The first argument of every callback.
    pub userdata: *mut c_void,
    /// What messages call it. Copied.
    pub name: *const c_char,
    /// Gets a token.
    pub token: cmk_token_callback,
    /// Or NULL. Called exactly once, when the last builder, provider and keyring that know it are gone; not if setting it failed.
    pub destroy: cmk_destroy_callback,
}

// SAFETY: `repr(C)` with the size first; zeros are NULL.
unsafe impl Structure for cmk_token_source {
    const MIN_SIZE: usize = size_of::<Self>();
}

type TokenFunction = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const c_char,
    *const c_char,
    *mut cmk_sink,
) -> cmk_result;

/// What a builder was told.
#[derive(Clone, Default)]
#[cfg_attr(not(feature = "azure"), allow(dead_code))]
pub(crate) enum Identity {
    #[default]
    Auto,
    Number(u32),
    Secret {
        tenant: String,
        client_id: String,
        secret: Zeroizing<String>,
    },
    Source(Arc<Source>),
}

#[cfg_attr(not(feature = "azure"), allow(dead_code))]
pub(crate) struct Source {
    userdata: Arc<Owned>,
    name: String,
    token: TokenFunction,
}

impl Identity {
    pub(crate) fn of_number(number: u32) -> Outcome<Self> {
        match number {
            CMK_IDENTITY_AUTO => Ok(Self::Auto),
            CMK_IDENTITY_APP_SERVICE..=CMK_IDENTITY_CLI => Ok(Self::Number(number)),
            other => Err(invalid(format!("{other} is no CMK_IDENTITY_..."))),
        }
    }

    /// And the userdata, which is cmkit's to end once the builder has it.
    pub(crate) fn of_source(source: &cmk_token_source) -> Outcome<(Self, Arc<Owned>)> {
        // SAFETY: the header asks the caller of cmk_key_vault_builder_token_source that this points to a string.
        let name = unsafe { arg::text("name", source.name) }?;
        let token = required("token", source.token)?;
        let userdata = Owned::new(source.userdata, source.destroy);
        let source = Source {
            userdata: Arc::clone(&userdata),
            name: name.to_owned(),
            token,
        };
        Ok((Self::Source(Arc::new(source)), userdata))
    }
}
