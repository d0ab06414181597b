//! Wrapping and unwrapping.

use std::sync::Arc;

use serde_json::{Value, json};

use super::material::{Material, Refused};
use super::routes::Route;
use super::{body, encoding, error};
use crate::server::http::{Request, Response};
use crate::state::Shared;

pub(crate) fn wrap(
    shared: &Shared,
    request: &Request,
    route: &Route,
) -> Result<Response, Response> {
    let (algorithm, value) = parameters(request)?;
    let (kid, material) = usable(shared, request, route, "wrapKey")?;
    answer(&kid, material.wrap(&algorithm, &value))
}

pub(crate) fn unwrap(
    shared: &Shared,
    request: &Request,
    route: &Route,
) -> Result<Response, Response> {
    let (algorithm, value) = parameters(request)?;
    let (kid, material) = usable(shared, request, route, "unwrapKey")?;
    answer(&kid, material.unwrap(&algorithm, &value))
}

fn parameters(request: &Request) -> Result<(String, Vec<u8>), Response> {
    let body = body(request)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let algorithm = text("alg").ok_or_else(|| error::bad("Property alg is missing."))?;
    let value = text("value").ok_or_else(|| error::bad("Property value is missing."))?;
    let value = encoding::decode(value)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| error::bad("Property value is not base64url without padding."))?;
    for name in ["iv", "aad", "tag"] {
        if body.get(name).is_some_and(|value| !value.is_null()) {
            let message = format!("Property {name} is not allowed for this algorithm.");
            return Err(error::bad(&message));
        }
    }
    Ok((algorithm.to_owned(), value))
}

/// The version that is asked for, if the operation is allowed on it now.
fn usable(
    shared: &Shared,
    request: &Request,
    route: &Route,
    op: &str,
) -> Result<(String, Arc<Material>), Response> {
    let name = route.key.as_deref().unwrap_or_default();
    let mut state = shared.state();
    let now = state.now();
    let vault = state.vault(&request.host);
    let key = vault.find(name).ok_or_else(|| error::no_key(name))?;
    let version = key.version(route.version.as_deref());
    let version = version.ok_or_else(|| error::no_key(name))?;
    let refused = |why: &str, inner: &str| {
        let message = format!("Operation {op} is not allowed on {why}.");
        Err(error::forbidden(&message, inner))
    };
    if !version.enabled() {
        return refused("a disabled key", "KeyDisabled");
    }
    if !version.key_ops.iter().any(|known| known == op) {
        return refused("this key", "KeyOperationForbidden");
    }
    // Unwrapping works on with expired keys and before their time.
    if op == "wrapKey" {
        if version.time("nbf").is_some_and(|nbf| now < nbf) {
            return refused("a key that is not yet valid", "KeyNotYetValid");
        }
        if version.time("exp").is_some_and(|exp| now >= exp) {
            return refused("an expired key", "KeyExpired");
        }
    }
    let kid = vault.kid(&key.name, &version.id);
    Ok((kid, Arc::clone(&version.material)))
}

fn answer(kid: &str, result: Result<Vec<u8>, Refused>) -> Result<Response, Response> {
    match result {
        Ok(value) => {
            let value = encoding::encode(&value);
            Ok(Response::json(200, &json!({"kid": kid, "value": value})))
        }
        Err(Refused::Algorithm) => Err(error::bad("Key and algorithm are incompatible.")),
        Err(Refused::Value) => Err(error::bad("The parameter is incorrect.")),
    }
}
