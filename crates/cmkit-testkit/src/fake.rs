//! The fake vault as a value: started, steered, and gone when it is dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::addresses::{Addresses, CA_FILE, SELF_SIGNED_FILE};
use crate::control::apply::new_federated_token;
use crate::control::command::{Command, Denial, VaultChange};
use crate::control::{self, log::Entry, op::Op, rule::Rule};
use crate::server::Server;
use crate::server::tls::{Authority, Certificate};
use crate::state::Shared;
use crate::tokens::arc::KeyFiles;
use crate::tokens::identity::Identity;

/// Where things lie; what is absent lies in a temporary directory.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// For the CA and the other files.
    pub dir: Option<PathBuf>,
    /// For Azure Arc's key files. Official SDKs read them in `/var/opt/azcmagent/tokens` only.
    pub arc_dir: Option<PathBuf>,
}

/// A running fake vault. Dropping it closes every connection and removes its temporary files.
pub struct FakeVault {
    shared: Arc<Shared>,
    addresses: Addresses,
    _server: Server,
    _temporary: TempDir,
}

impl fmt::Debug for FakeVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = &self.addresses.proxy;
        f.debug_struct("FakeVault")
            .field("proxy", proxy)
            .finish_non_exhaustive()
    }
}

impl FakeVault {
    /// Starts one on ports that are free.
    ///
    /// # Errors
    /// When its files can't be written or it can't listen on loopback.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Options::default())
    }

    /// Starts one with its files in given places.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(options: Options) -> io::Result<Self> {
        let temporary = TempDir::with_prefix("cmkit-fake-vault-")?;
        let dir = options.dir.unwrap_or_else(|| temporary.path().to_owned());
        fs::create_dir_all(&dir)?;
        let key_files = KeyFiles::new(options.arc_dir.unwrap_or_else(|| dir.join("tokens")))?;
        let authority = Arc::new(Authority::new()?);
        fs::write(dir.join(CA_FILE), authority.ca_pem())?;
        fs::write(dir.join(SELF_SIGNED_FILE), authority.self_signed_pem())?;
        let shared = Arc::new(Shared::new(authority, Identity::new(), key_files, dir));
        new_federated_token(&shared)?;
        let server = Server::start(Arc::clone(&shared))?;
        let addresses = Addresses::new(&shared, server.plain(), server.tls());
        Ok(Self {
            shared,
            addresses,
            _server: server,
            _temporary: temporary,
        })
    }

    /// Where everything is.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Carries a command out, and returns what it answers.
    ///
    /// # Errors
    /// A sentence that says what was wrong with it.
    pub fn order(&self, command: Command) -> Result<Value, String> {
        control::apply(&self.shared, command)
    }

    /// Makes a key, or a new version: RSA of 3072 bits, or in an HSM AES of 256. Returns its full id.
    pub fn create_key(&self, host: &str, key: &str) -> String {
        self.create_key_with(host, key, json!({}))
    }

    /// Makes a key or a new version as the service's `create` takes it. Returns its full id.
    ///
    /// # Panics
    /// When the service would refuse it.
    pub fn create_key_with(&self, host: &str, key: &str, body: Value) -> String {
        let body: Map<String, Value> = match body {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        kid(&self.must(Command::CreateKey {
            host: host.into(),
            key: key.into(),
            body,
        }))
    }

    /// Makes a new version and returns its full id.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn rotate(&self, host: &str, key: &str) -> String {
        kid(&self.must(Command::Rotate {
            host: host.into(),
            key: key.into(),
        }))
    }

    /// Merges attributes into a version, given by its full id; null removes.
    ///
    /// # Panics
    /// When there is no such version.
    pub fn set_attributes(&self, kid: &str, attributes: Value) {
        let (host, key, version) = parts(kid);
        let attributes = match attributes {
            Value::Object(attributes) => attributes,
            _ => Map::new(),
        };
        self.must(Command::Set {
            host,
            key,
            version,
            attributes,
            key_ops: None,
        });
    }

    /// Sets what a version may be used for.
    ///
    /// # Panics
    /// When there is no such version.
    pub fn set_key_ops(&self, kid: &str, key_ops: &[&str]) {
        let (host, key, version) = parts(kid);
        self.must(Command::Set {
            host,
            key,
            version,
            attributes: Map::new(),
            key_ops: Some(key_ops.iter().map(ToString::to_string).collect()),
        });
    }

    /// Disables a version.
    ///
    /// # Panics
    /// When there is no such version.
    pub fn disable(&self, kid: &str) {
        self.set_attributes(kid, json!({"enabled": false}));
    }

    /// Enables a version.
    ///
    /// # Panics
    /// When there is no such version.
    pub fn enable(&self, kid: &str) {
        self.set_attributes(kid, json!({"enabled": true}));
    }

    /// Deletes a key.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn delete(&self, host: &str, key: &str) {
        self.must(Command::Delete {
            host: host.into(),
            key: key.into(),
        });
    }

    /// Recovers a deleted key.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn recover(&self, host: &str, key: &str) {
        self.must(Command::Recover {
            host: host.into(),
            key: key.into(),
        });
    }

    /// Takes a permission away, with the inner code `ForbiddenByRbac`.
    pub fn deny(&self, op: Op) {
        self.must(Command::Deny(Denial {
            host: None,
            op,
            inner: "ForbiddenByRbac".into(),
        }));
    }

    /// Gives it back.
    pub fn allow(&self, op: Op) {
        self.must(Command::Allow { host: None, op });
    }

    /// Changes a vault.
    pub fn change_vault(&self, change: VaultChange) {
        self.must(Command::Vault(change));
    }

    /// Makes every token that was given out worthless.
    pub fn revoke_tokens(&self) {
        self.must(Command::RevokeTokens {});
    }

    /// From now on tokens without these claims are answered with a claims challenge; `None` ends that.
    pub fn demand_claims(&self, claims: Option<Value>) {
        self.must(Command::Claims { claims });
    }

    /// Says what clients see that connect from now on.
    pub fn set_certificate(&self, certificate: Certificate) {
        self.must(Command::Tls {
            certificate,
            only_tls12: false,
        });
    }

    /// Adds a rule to the end of the queue.
    pub fn rule(&self, rule: Rule) {
        self.must(Command::Rule(Box::new(rule)));
    }

    /// Forgets all rules, and lets what they hold up go on.
    pub fn clear_rules(&self) {
        self.must(Command::ClearRules {});
    }

    /// Sets virtual time, in seconds ahead of this machine's clock.
    pub fn set_clock(&self, offset: i64) {
        self.must(Command::Clock { offset });
    }

    /// How many requests a rule holds up at this moment.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.held()
    }

    /// Requests since the last reset, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.shared.state().log.entries()
    }

    /// How many requests of a kind there were.
    #[must_use]
    pub fn count(&self, op: Op) -> u64 {
        self.counts().get(&op).copied().unwrap_or_default()
    }

    /// How many requests of each kind there were.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Op, u64> {
        self.shared.state().log.counts().clone()
    }

    /// Everything as it was at the start.
    ///
    /// # Panics
    /// When the federated token can't be written.
    pub fn reset(&self) {
        self.must(Command::Reset {});
    }

    fn must(&self, command: Command) -> Value {
        match self.order(command) {
            Ok(answer) => answer,
            Err(error) => panic!("the fake vault refused: {error}"),
        }
    }
}

fn kid(bundle: &Value) -> String {
    bundle["key"]["kid"].as_str().unwrap_or_default().to_owned()
}

/// Host, name and version of a key id.
fn parts(kid: &str) -> (String, String, Option<String>) {
    let mut parts = kid.trim_start_matches("https://").split('/');
    let host = parts.next().unwrap_or_default().to_owned();
    let key = parts.nth(1).unwrap_or_default().to_owned();
    (host, key, parts.next().map(str::to_owned))
}
