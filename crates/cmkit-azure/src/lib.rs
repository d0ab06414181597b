//! Azure Key Vault and Managed HSM as a [key provider](cmkit::KeyProvider), and the identities that sign in to them.
//!
//! The KEK never leaves the vault: every new DEK is wrapped by it there, every unknown one unwrapped, and both stand in the key owner's
//! audit log. A keyring caches DEKs, so these are a few calls per hour and key, not one per message.
//!
//! # Where to begin
//!
//! * [`KeyVaultProvider::builder`]: for which keys, as whom. Give the provider to a [`cmkit::Keyring`].
//! * [`Identity`]: managed identities of virtual machines, App Service, Azure Arc and Azure ML, workload identity, client secrets, the Azure CLI,
//!   or a callback. [`Identity::auto`] chooses by the environment and says what it chose.
//! * [`KeyVaultProvider::doctor`]: tries everything that a key needs and says what to do about what fails.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use cmkit::{EncryptionContext, KeyRef, Keyring};
//! use cmkit_azure::KeyVaultProvider;
//!
//! let key = KeyRef::parse("https://contoso.vault.azure.net/keys/documents")?;
//! let provider = KeyVaultProvider::builder().key(key.clone()).build()?;
//! let keyring = Keyring::builder()
//!     .provider(Arc::new(provider))
//!     .wrap_with(key)
//!     .build()?;
//! let envelope = keyring.encrypt(b"attack at dawn", &EncryptionContext::empty())?;
//! # Ok::<(), cmkit::Error>(())
//! ```
//!
//! # What it talks to
//!
//! The hosts of the keys that it was given and those explicitly allowed, the sign-in host of Microsoft Entra where an identity needs it, and the node's
//! own identity endpoint. Vaults and sign-in are https only, checked against the system's roots and an optional file of further ones, through the proxy that
//! `HTTPS_PROXY` and `NO_PROXY` name. Identity endpoints of the node are plain http and never go through a proxy. Redirects are not followed and
//! answers longer than 64 KiB are refused.
//!
//! Calls block. There is no background thread, and a process that forks may go on using the provider in the child.

mod audience;
mod bind;
mod builder;
mod call;
mod clock;
mod doctor;
mod environment;
mod failure;
#[cfg(test)]
mod fake;
mod flight;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod identity;
mod key;
mod policy;
mod process;
mod provider;
mod rest;
#[cfg(test)]
mod tests;
mod text;
mod token;

pub use builder::KeyVaultBuilder;
pub use doctor::{Check, Outcome, Report, Row};
pub use environment::Environment;
pub use identity::{Identity, Token, TokenRequest};
pub use provider::KeyVaultProvider;
