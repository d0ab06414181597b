//! Soft deletion: deleting, looking at what was deleted, taking it back, destroying it.

use super::store::Deleted;
use super::{error, keys};
use crate::server::http::Response;
use crate::state::Shared;

pub(crate) fn delete(shared: &Shared, host: &str, name: &str) -> Result<Response, Response> {
    let mut state = shared.state();
    let at = state.now();
    let vault = state.vault(host);
    let place = name.to_ascii_lowercase();
    let soft = vault.find(name).and_then(|key| key.version(None));
    let soft = soft.is_some_and(|version| version.recovery_level().contains("Recoverable"));
    if !soft {
        let answer = keys::bundle(vault, name, None)?;
        vault.keys.remove(&place);
        return Ok(answer);
    }
    let key = vault
        .keys
        .remove(&place)
        .ok_or_else(|| error::no_key(name))?;
    let deleted = Deleted { key, at };
    let answer = Response::json(200, &vault.deleted_bundle(&deleted));
    vault.deleted.insert(place, deleted);
    Ok(answer)
}

pub(crate) fn get(shared: &Shared, host: &str, name: &str) -> Result<Response, Response> {
    let mut state = shared.state();
    let vault = state.vault(host);
    let deleted = vault.deleted.get(&name.to_ascii_lowercase());
    let deleted = deleted.ok_or_else(|| error::no_key(name))?;
    Ok(Response::json(200, &vault.deleted_bundle(deleted)))
}

pub(crate) fn recover(shared: &Shared, host: &str, name: &str) -> Result<Response, Response> {
    let mut state = shared.state();
    let vault = state.vault(host);
    let place = name.to_ascii_lowercase();
    let deleted = vault.deleted.remove(&place);
    let deleted = deleted.ok_or_else(|| error::no_key(name))?;
    vault.keys.insert(place, deleted.key);
    keys::bundle(vault, name, None)
}

pub(crate) fn purge(shared: &Shared, host: &str, name: &str) -> Result<Response, Response> {
    let mut state = shared.state();
    let vault = state.vault(host);
    let place = name.to_ascii_lowercase();
    let deleted = vault.deleted.get(&place);
    let deleted = deleted.ok_or_else(|| error::no_key(name))?;
    let level = deleted.key.version(None);
    let level = level.map(|version| version.recovery_level());
    if !level.is_some_and(|level| level.contains("Purgeable")) {
        let message = "Operation purge is not allowed: the vault has purge protection.";
        return Err(error::error(403, "Forbidden", message));
    }
    vault.deleted.remove(&place);
    Ok(Response::empty(204))
}
