//! Making, reading, changing and rotating keys.

use serde_json::{Map, Value};

use super::error;
use super::material::{self, Material};
use super::routes::is_name;
use super::store::{Vault, Version};
use crate::server::http::Response;
use crate::state::Shared;

const KEY_OPS: &[&str] = &[
    "encrypt",
    "decrypt",
    "sign",
    "verify",
    "wrapKey",
    "unwrapKey",
    "import",
    "export",
];

pub(crate) fn create(
    shared: &Shared,
    host: &str,
    name: &str,
    body: &Map<String, Value>,
) -> Result<Response, Response> {
    if !is_name(name) {
        return Err(error::bad(
            "The name of a key is 1 to 127 letters, digits and hyphens.",
        ));
    }
    let kty = body.get("kty").and_then(Value::as_str).unwrap_or_default();
    let size = size(body)?;
    // Making a key takes time: not under the lock.
    free(shared.state().vault(host), name)?;
    let made = match kty {
        "RSA" | "RSA-HSM" => material::rsa(size.unwrap_or(2048)),
        "oct-HSM" => Material::oct(size.unwrap_or(256)),
        _ => {
            return Err(error::bad(
                "The fake vault makes RSA, RSA-HSM and oct-HSM keys.",
            ));
        }
    };
    let made = made.ok_or_else(|| error::bad("key_size is not one of those allowed."))?;
    let mut state = shared.state();
    let now = state.now();
    let vault = state.vault(host);
    if vault.is_hsm() && kty == "RSA" {
        return Err(error::bad("A managed HSM makes RSA-HSM and oct-HSM keys."));
    }
    free(vault, name)?;
    let mut version = Version::new(vault, kty, made, now);
    change(&mut version, body)?;
    if let Some(exportable) = nested(body, "exportable").and_then(Value::as_bool) {
        version
            .attributes
            .insert("exportable".into(), exportable.into());
        if exportable && version.release_policy.is_none() {
            return Err(error::bad("An exportable key must have a release policy."));
        }
    }
    let (name, id) = vault.add(name, version);
    bundle(vault, &name, Some(&id))
}

pub(crate) fn get(
    shared: &Shared,
    host: &str,
    name: &str,
    version: Option<&str>,
) -> Result<Response, Response> {
    let mut state = shared.state();
    let vault = state.vault(host);
    let found = vault.find(name).and_then(|key| key.version(version));
    if vault.hide_disabled && found.is_some_and(|version| !version.enabled()) {
        let message = "Operation get is not allowed on a disabled key.";
        return Err(error::forbidden(message, "KeyDisabled"));
    }
    bundle(vault, name, version)
}

pub(crate) fn update(
    shared: &Shared,
    host: &str,
    name: &str,
    version: Option<&str>,
    body: &Map<String, Value>,
) -> Result<Response, Response> {
    let mut state = shared.state();
    let now = state.now();
    let vault = state.vault(host);
    let found = vault
        .find_mut(name)
        .and_then(|key| key.version_mut(version));
    let found = found.ok_or_else(|| error::no_key(name))?;
    change(found, body)?;
    found.attributes.insert("updated".into(), now.into());
    bundle(vault, name, version)
}

pub(crate) fn rotate(shared: &Shared, host: &str, name: &str) -> Result<Response, Response> {
    let bits = {
        let mut state = shared.state();
        let key = state
            .vault(host)
            .find(name)
            .ok_or_else(|| error::no_key(name))?;
        key.version(None).map(|version| match &*version.material {
            Material::Rsa(rsa) => (true, rsa.n.len() * 8),
            Material::Oct(bytes) => (false, bytes.len() * 8),
        })
    };
    let made = bits.and_then(|(rsa, bits)| match rsa {
        true => material::rsa(bits),
        false => Material::oct(bits),
    });
    let made = made.ok_or_else(|| error::general(500))?;
    let mut state = shared.state();
    let now = state.now();
    let vault = state.vault(host);
    let old = vault.find(name).and_then(|key| key.version(None));
    let old = old.ok_or_else(|| error::no_key(name))?;
    let mut version = Version::new(vault, &old.kty, made, now);
    version.key_ops.clone_from(&old.key_ops);
    version.tags.clone_from(&old.tags);
    version.release_policy.clone_from(&old.release_policy);
    for attribute in ["exportable", "recoveryLevel", "recoverableDays"] {
        if let Some(value) = old.attributes.get(attribute) {
            version.attributes.insert(attribute.into(), value.clone());
        }
    }
    vault.add(name, version);
    bundle(vault, name, None)
}

/// The answer that describes a version.
pub(crate) fn bundle(
    vault: &Vault,
    name: &str,
    version: Option<&str>,
) -> Result<Response, Response> {
    let key = vault.find(name).ok_or_else(|| error::no_key(name))?;
    let version = key.version(version).ok_or_else(|| error::no_key(name))?;
    Ok(Response::json(200, &vault.bundle(key, version)))
}

fn free(vault: &Vault, name: &str) -> Result<(), Response> {
    if vault.deleted.contains_key(&name.to_ascii_lowercase()) {
        let message = format!(
            "Key {name} is currently in a deleted but recoverable state, and its name cannot be \
             reused; in this state, the key can only be recovered or purged."
        );
        let inner = "ObjectIsDeletedButRecoverable";
        return Err(error::with_inner(409, "Conflict", &message, inner));
    }
    Ok(())
}

fn size(body: &Map<String, Value>) -> Result<Option<usize>, Response> {
    match body.get("key_size") {
        None | Some(Value::Null) => Ok(None),
        Some(size) => {
            let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
            size.map(Some)
                .ok_or_else(|| error::bad("key_size must be a number."))
        }
    }
}

fn nested<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get("attributes")?.get(name)
}

/// What `create` and PATCH have in common.
fn change(version: &mut Version, body: &Map<String, Value>) -> Result<(), Response> {
    match body.get("key_ops") {
        None | Some(Value::Null) => {}
        Some(Value::Array(ops)) => {
            let ops: Option<Vec<String>> = ops
                .iter()
                .map(|op| {
                    op.as_str()
                        .filter(|op| KEY_OPS.contains(op))
                        .map(str::to_owned)
                })
                .collect();
            version.key_ops = ops.ok_or_else(|| error::bad("key_ops has an unknown operation."))?;
        }
        Some(_) => return Err(error::bad("key_ops must be a list.")),
    }
    match nested(body, "enabled") {
        None | Some(Value::Null) => {}
        Some(Value::Bool(enabled)) => {
            version
                .attributes
                .insert("enabled".into(), (*enabled).into());
        }
        Some(_) => return Err(error::bad("enabled must be true or false.")),
    }
    for name in ["nbf", "exp"] {
        match nested(body, name) {
            None | Some(Value::Null) => {}
            Some(time) if time.is_i64() => {
                version.attributes.insert(name.into(), time.clone());
            }
            Some(_) => return Err(error::bad("Times are whole seconds.")),
        }
    }
    if let (Some(nbf), Some(exp)) = (version.time("nbf"), version.time("exp"))
        && nbf >= exp
    {
        return Err(error::bad("nbf must be before exp."));
    }
    if let Some(Value::Object(tags)) = body.get("tags") {
        if tags.values().any(|tag| !tag.is_string()) {
            return Err(error::bad("Tags are strings."));
        }
        version.tags = Some(tags.clone());
    }
    if let Some(policy @ Value::Object(_)) = body.get("release_policy") {
        version.release_policy = Some(policy.clone());
    }
    Ok(())
}
