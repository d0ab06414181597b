//! What cmkit's tests run against.
//!
//! [`FakeVault`] stands in for Azure Key Vault, Managed HSM, Entra and the identity endpoints of a node,
//! in this process; the program `cmkit-fake-vault` is the same for tests in other languages. It is strict
//! where the service is: unpadded base64url, exact paths, `api-version` demanded, tokens checked for
//! audience and end, errors in the service's form. Tests make it fail by [`Command`]s and [`Rule`]s.
//!
//! ```
//! use cmkit_testkit::{FakeVault, Op, Rule, Source};
//!
//! let fake = FakeVault::start()?;
//! let kid = fake.create_key("customer.vault.azure.net", "kek");
//! // The next two unwraps are throttled.
//! fake.rule(Rule::status(Op::Unwrap, 429).times(2));
//! // How a client in another process finds the fake vault and signs in:
//! let env = &fake.addresses().env[&Source::ClientSecret];
//! assert!(env.contains_key("HTTPS_PROXY"));
//! // ... and after it did its work:
//! assert_eq!(fake.count(Op::Unwrap), 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! It listens on loopback only, keeps everything in memory, and is no safe place for anybody's keys.

mod addresses;
mod clock;
mod control;
mod fake;
mod random;
mod server;
mod state;
mod tokens;
mod vault;

pub use addresses::{Addresses, Source};
pub use control::command::{Command, Denial, VaultChange};
pub use control::log::Entry;
pub use control::op::Op;
pub use control::rule::Rule;
pub use fake::{FakeVault, Options};
pub use server::tls::Certificate;
pub use tokens::identity::Identity;
pub use tokens::store::TimeFormat;
