//! Lists, in pages.

use serde_json::{Value, json};

use super::error;
use super::routes::Route;
use super::store::{Key, Vault, Version};
use crate::control::op::Op;
use crate::server::http::{Request, Response};
use crate::state::Shared;

const MAX_PAGE: usize = 25;

pub(crate) fn list(
    shared: &Shared,
    request: &Request,
    route: &Route,
) -> Result<Response, Response> {
    let name = route.key.as_deref().unwrap_or_default();
    let mut state = shared.state();
    let vault = state.vault(&request.host);
    let items: Vec<Value> = match route.op {
        Op::List => vault.keys.values().map(|key| newest(vault, key)).collect(),
        Op::ListDeleted => {
            let deleted = vault.deleted.values();
            deleted
                .map(|deleted| {
                    let mut item = newest(vault, &deleted.key);
                    let whole = vault.deleted_bundle(deleted);
                    for field in ["recoveryId", "deletedDate", "scheduledPurgeDate"] {
                        item[field] = whole[field].clone();
                    }
                    item
                })
                .collect()
        }
        _ => {
            let key = vault.find(name).ok_or_else(|| error::no_key(name))?;
            let versions = key.versions.iter();
            versions
                .map(|version| item(vault.kid(&key.name, &version.id), version))
                .collect()
        }
    };
    page(request, &items)
}

fn newest(vault: &Vault, key: &Key) -> Value {
    let kid = format!("https://{}/keys/{}", vault.host, key.name);
    key.version(None)
        .map_or(Value::Null, |version| item(kid, version))
}

fn item(kid: String, version: &Version) -> Value {
    let mut item = json!({"kid": kid, "attributes": version.attributes});
    if let Some(tags) = &version.tags {
        item["tags"] = Value::Object(tags.clone());
    }
    item
}

fn page(request: &Request, items: &[Value]) -> Result<Response, Response> {
    let number = |name: &str, default: usize| match request.query(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| error::bad("A query parameter is not a number.")),
    };
    let len = number("maxresults", MAX_PAGE)?;
    if !(1..=MAX_PAGE).contains(&len) {
        return Err(error::bad("maxresults must be from 1 to 25."));
    }
    let start = number("$skiptoken", 0)?.min(items.len());
    let end = (start + len).min(items.len());
    let mut next = Value::Null;
    if end < items.len() {
        let (host, path) = (&request.host, &request.path);
        let version = request.query("api-version").unwrap_or_default();
        next =
            format!("https://{host}{path}?api-version={version}&$skiptoken={end}&maxresults={len}")
                .into();
    }
    Ok(Response::json(
        200,
        &json!({"value": items[start..end], "nextLink": next}),
    ))
}
