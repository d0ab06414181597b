//! What cmkit's tests run against.
//!
//! [`FakeVault`] stands in for Azure Key Vault, Managed HSM, Entra and the identity endpoints of a node,
//! in this process; the program `cmkit-fake-vault` is the same for tests in other languages. It is strict
//! where the service is: unpadded base64url, exact paths, `api-version` demanded, tokens checked for
//! audience and end, errors in the service's form. Tests make it fail by [`Command`]s and [`Rule`]s.
//!
//! It listens on loopback only, keeps everything in memory, and is no safe place for anybody's keys.

mod clock;
mod control;
mod fake;
mod random;
mod server;
mod state;
mod tokens;
mod vault;

pub use control::command::{Command, Denial, VaultChange};
pub use control::log::Entry;
pub use control::op::Op;
pub use control::rule::Rule;
pub use fake::{Addresses, FakeVault, Options};
pub use server::tls::Certificate;
pub use tokens::identity::Identity;
pub use tokens::store::TimeFormat;
