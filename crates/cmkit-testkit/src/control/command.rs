//! What a test can order. As JSON: `POST /control/NAME` with the fields of the variant.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::op::Op;
use super::rule::Rule;
use crate::server::tls::Certificate;
use crate::tokens::store::TimeFormat;

/// A permission that is taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// Only on this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What isn't allowed any more.
    pub op: Op,
    /// The inner code of the 403.
    #[serde(default = "by_rbac")]
    pub inner: String,
}

fn by_rbac() -> String {
    "ForbiddenByRbac".into()
}

/// A change to a vault. What is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultChange {
    /// The vault's host.
    pub host: String,
    /// Whether its firewall refuses everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<bool>,
    /// Whether there is no such host any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<bool>,
    /// The `recoveryLevel` of keys made from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_level: Option<String>,
    /// The whole challenge; empty: a 401 without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// Whether GET of a disabled key is 403 rather than 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hide_disabled: Option<bool>,
}

/// What a test can order. Keys and vaults are named by host and name; without a version the newest is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Command {
    /// Makes a key or a new version, without a token. Answers with the bundle.
    CreateKey {
        /// The vault's host.
        host: String,
        /// The key's name.
        key: String,
        /// As the service's `create` takes it: `kty`, `key_size`, `key_ops`, `attributes`, `tags`...
        #[serde(default)]
        body: Map<String, Value>,
    },
    /// Makes a new version of a key. Answers with the bundle.
    Rotate {
        /// The vault's host.
        host: String,
        /// The key's name.
        key: String,
    },
    /// Changes a version, without any check. Answers with the bundle.
    Set {
        /// The vault's host.
        host: String,
        /// The key's name.
        key: String,
        /// Which version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// Merged into its attributes: `enabled`, `nbf`, `exp`, `recoveryLevel`, `exportable`... Null removes.
        #[serde(default)]
        attributes: Map<String, Value>,
        /// Its operations.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_ops: Option<Vec<String>>,
    },
    /// Deletes a key.
    Delete {
        /// The vault's host.
        host: String,
        /// The key's name.
        key: String,
    },
    /// Recovers a deleted key.
    Recover {
        /// The vault's host.
        host: String,
        /// The key's name.
        key: String,
    },
    /// Destroys a deleted key, whatever the vault's protection says.
    Purge {
        /// The vault's host.
        host: String,
        /// The key's name.
        key: String,
    },
    /// Changes a vault.
    Vault(VaultChange),
    /// Takes a permission away.
    Deny(Denial),
    /// Gives a permission back that was taken away in the same words.
    Allow {
        /// Only on this host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// What is allowed again.
        op: Op,
    },
    /// Adds a rule to the end of the queue.
    Rule(Box<Rule>),
    /// Forgets all rules, and lets what they hold up go on.
    ClearRules {},
    /// From now on tokens without these claims are answered with a claims challenge; null ends that.
    Claims {
        /// As in `{"access_token": {"nbf": {"essential": true, "value": "1"}}}`.
        claims: Option<Value>,
    },
    /// Sets virtual time, by which keys and tokens begin and end.
    Clock {
        /// Seconds ahead of this machine's clock.
        offset: i64,
    },
    /// How tokens are made. What is absent stays.
    Tokens {
        /// Seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lifetime: Option<i64>,
        /// The form of `expires_on` at the identity endpoints.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_on: Option<TimeFormat>,
    },
    /// Makes every token that was given out worthless.
    RevokeTokens {},
    /// Puts a new token into the federated token file; the old one is worthless.
    NewFederatedToken {},
    /// What clients see that connect from now on.
    Tls {
        /// The certificate.
        #[serde(default)]
        certificate: Certificate,
        /// Whether TLS 1.3 is off.
        #[serde(default)]
        only_tls12: bool,
    },
    /// Answers with the log.
    Log {},
    /// Answers with the number of requests of each kind.
    Counts {},
    /// Answers with the number of requests that a rule holds up at this moment.
    Held {},
    /// Everything as it was at the start: no vaults, no tokens, no rules, no log.
    Reset {},
}
