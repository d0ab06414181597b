//! Vaults and HSMs, their keys and the versions of these.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::encoding;
use super::material::Material;
use crate::random;

/// Purge protection on, the service's longest time for getting a key back.
pub(crate) const PROTECTED: &str = "Recoverable";
const RECOVERABLE_DAYS: i64 = 90;
const DAY: i64 = 86_400;

/// One vault or HSM.
#[derive(Debug)]
pub(crate) struct Vault {
    pub(crate) host: String,
    /// By name in lower case: the service's names don't know case.
    pub(crate) keys: BTreeMap<String, Key>,
    pub(crate) deleted: BTreeMap<String, Deleted>,
    pub(crate) firewall: bool,
    /// No such host any more.
    pub(crate) gone: bool,
    /// For keys made from now on.
    pub(crate) recovery_level: String,
    pub(crate) challenge: Option<String>,
    /// GET of a disabled key is 403 rather than 200.
    pub(crate) hide_disabled: bool,
}

/// The versions of a key, oldest first; there is at least one.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) versions: Vec<Version>,
}

#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) material: Arc<Material>,
    pub(crate) kty: String,
    pub(crate) key_ops: Vec<String>,
    /// As they are sent, so that a test can make them say anything, or nothing.
    pub(crate) attributes: Map<String, Value>,
    pub(crate) tags: Option<Map<String, Value>>,
    pub(crate) release_policy: Option<Value>,
}

#[derive(Debug)]
pub(crate) struct Deleted {
    pub(crate) key: Key,
    pub(crate) at: i64,
}

impl Vault {
    pub(crate) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            keys: BTreeMap::new(),
            deleted: BTreeMap::new(),
            firewall: false,
            gone: false,
            recovery_level: PROTECTED.to_owned(),
            challenge: None,
            hide_disabled: false,
        }
    }

    pub(crate) fn is_hsm(&self) -> bool {
        self.host.contains(".managedhsm.")
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Key> {
        self.keys.get(&name.to_ascii_lowercase())
    }

    pub(crate) fn find_mut(&mut self, name: &str) -> Option<&mut Key> {
        self.keys.get_mut(&name.to_ascii_lowercase())
    }

    /// Adds a version, and the key if it is the first; returns its place.
    pub(crate) fn add(&mut self, name: &str, version: Version) -> (String, String) {
        let key = self.keys.entry(name.to_ascii_lowercase()).or_insert(Key {
            name: name.to_owned(),
            versions: Vec::new(),
        });
        let id = version.id.clone();
        key.versions.push(version);
        (key.name.clone(), id)
    }

    /// The key with its material and all: what GET answers.
    pub(crate) fn bundle(&self, key: &Key, version: &Version) -> Value {
        let mut jwk = json!({
            "kid": self.kid(&key.name, &version.id),
            "kty": version.kty,
            "key_ops": version.key_ops,
        });
        if let Material::Rsa(rsa) = &*version.material {
            jwk["n"] = encoding::encode(&rsa.n).into();
            jwk["e"] = encoding::encode(&rsa.e).into();
        }
        let mut bundle = json!({"key": jwk, "attributes": version.attributes});
        if let Some(tags) = &version.tags {
            bundle["tags"] = Value::Object(tags.clone());
        }
        if let Some(policy) = &version.release_policy {
            bundle["release_policy"] = policy.clone();
        }
        bundle
    }

    pub(crate) fn deleted_bundle(&self, deleted: &Deleted) -> Value {
        let key = &deleted.key;
        let mut bundle = match key.versions.last() {
            Some(version) => self.bundle(key, version),
            None => json!({}),
        };
        bundle["recoveryId"] = format!("https://{}/deletedkeys/{}", self.host, key.name).into();
        bundle["deletedDate"] = deleted.at.into();
        bundle["scheduledPurgeDate"] = (deleted.at + RECOVERABLE_DAYS * DAY).into();
        bundle
    }

    pub(crate) fn kid(&self, name: &str, version: &str) -> String {
        format!("https://{}/keys/{name}/{version}", self.host)
    }
}

impl Key {
    /// The version of that id, or the newest.
    pub(crate) fn version(&self, id: Option<&str>) -> Option<&Version> {
        match id {
            None => self.versions.last(),
            Some(id) => {
                let mut versions = self.versions.iter();
                versions.find(|version| version.id.eq_ignore_ascii_case(id))
            }
        }
    }

    pub(crate) fn version_mut(&mut self, id: Option<&str>) -> Option<&mut Version> {
        match id {
            None => self.versions.last_mut(),
            Some(id) => {
                let mut versions = self.versions.iter_mut();
                versions.find(|version| version.id.eq_ignore_ascii_case(id))
            }
        }
    }
}

impl Version {
    pub(crate) fn new(vault: &Vault, kty: &str, material: Material, now: i64) -> Self {
        let platform = match (vault.is_hsm(), kty.ends_with("-HSM")) {
            (true, _) | (_, true) => "2",
            _ => "0",
        };
        let mut attributes = Map::new();
        attributes.insert("enabled".into(), true.into());
        attributes.insert("created".into(), now.into());
        attributes.insert("updated".into(), now.into());
        attributes.insert("recoveryLevel".into(), vault.recovery_level.as_str().into());
        attributes.insert("recoverableDays".into(), RECOVERABLE_DAYS.into());
        attributes.insert("exportable".into(), false.into());
        attributes.insert("hsmPlatform".into(), platform.into());
        let ops: &[&str] = match material {
            Material::Rsa(_) => &[
                "encrypt",
                "decrypt",
                "sign",
                "verify",
                "wrapKey",
                "unwrapKey",
            ],
            Material::Oct(_) => &["encrypt", "decrypt", "wrapKey", "unwrapKey"],
        };
        Self {
            id: random::hex(16),
            material: Arc::new(material),
            kty: kty.to_owned(),
            key_ops: ops.iter().map(ToString::to_string).collect(),
            attributes,
            tags: None,
            release_policy: None,
        }
    }

    pub(crate) fn enabled(&self) -> bool {
        self.attributes.get("enabled").and_then(Value::as_bool) != Some(false)
    }

    pub(crate) fn time(&self, name: &str) -> Option<i64> {
        self.attributes.get(name).and_then(Value::as_i64)
    }

    pub(crate) fn recovery_level(&self) -> &str {
        let level = self.attributes.get("recoveryLevel");
        level.and_then(Value::as_str).unwrap_or_default()
    }

    /// Merges what is given; a null removes.
    pub(crate) fn merge_attributes(&mut self, changes: &Map<String, Value>) {
        for (name, value) in changes {
            match value {
                Value::Null => self.attributes.remove(name),
                value => self.attributes.insert(name.clone(), value.clone()),
            };
        }
    }
}
