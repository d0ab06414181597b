//! Key Vault and Managed HSM: what happens to a request, in the service's order.

mod auth;
mod crypt;
mod deleted;
pub(crate) mod encoding;
pub(crate) mod error;
pub(crate) mod keys;
mod lists;
pub(crate) mod material;
mod routes;
pub(crate) mod store;

pub(crate) use deleted::{delete, purge, recover};

use serde_json::{Map, Value};

use crate::control::log::Facts;
use crate::control::op::Op;
use crate::control::with_rules;
use crate::random;
use crate::server::http::{Request, Response};
use crate::state::Shared;

use routes::Route;

const REGION: &str = "westeurope";

/// The answer, or `None` where the connection is closed instead.
pub(crate) fn answer(shared: &Shared, request: &Request) -> (Facts, Option<Response>) {
    let route = routes::parse(&request.method, &request.path);
    let mut facts = Facts::new(&request.host, Op::Unknown);
    if let Ok(route) = &route {
        facts.op = route.op;
        facts.key.clone_from(&route.key);
        facts.version.clone_from(&route.version);
    }
    let mut response = match auth::check(shared, request) {
        Err(challenge) => {
            facts.op = Op::Challenge;
            with_rules(shared, &facts, || challenge)
        }
        Ok(()) => with_rules(shared, &facts, || {
            let route = match route {
                Ok(route) => route,
                Err(response) => return response,
            };
            allowed(shared, request, &route)
                .and_then(|()| carry_out(shared, request, &route))
                .unwrap_or_else(|refusal| refusal)
        }),
    };
    if let Some(response) = &mut response {
        label(request, response);
    }
    (facts, response)
}

/// What is checked before the service looks at the key.
fn allowed(shared: &Shared, request: &Request, route: &Route) -> Result<(), Response> {
    match request.query("api-version") {
        None => return Err(error::bad("The api-version must be specified.")),
        Some(version) if routes::is_api_version(version) => {}
        Some(_) => return Err(error::bad("The specified version is not recognized.")),
    }
    let mut state = shared.state();
    if state.vault(&request.host).firewall {
        let message = "Client address is not authorized and caller is not a trusted service.";
        return Err(error::forbidden(message, "ForbiddenByFirewall"));
    }
    let denial = state.denials.iter().find(|denial| {
        denial.op.covers(route.op)
            && denial
                .host
                .as_ref()
                .is_none_or(|host| *host == request.host)
    });
    match denial {
        None => Ok(()),
        Some(denial) => {
            let message = "Caller is not authorized to perform action on resource.";
            Err(error::forbidden(message, &denial.inner))
        }
    }
}

fn carry_out(shared: &Shared, request: &Request, route: &Route) -> Result<Response, Response> {
    let host = &request.host;
    let key = route.key.as_deref().unwrap_or_default();
    match route.op {
        Op::Create => keys::create(shared, host, key, &body(request)?),
        Op::Get => keys::get(shared, host, key, route.version.as_deref()),
        Op::Update => keys::update(shared, host, key, route.version.as_deref(), &body(request)?),
        Op::Rotate => keys::rotate(shared, host, key),
        Op::Wrap => crypt::wrap(shared, request, route),
        Op::Unwrap => crypt::unwrap(shared, request, route),
        Op::Delete => delete(shared, host, key),
        Op::GetDeleted => deleted::get(shared, host, key),
        Op::Recover => recover(shared, host, key),
        Op::Purge => purge(shared, host, key),
        Op::List | Op::ListDeleted | Op::ListVersions => lists::list(shared, request, route),
        _ => Err(error::general(404)),
    }
}

/// The JSON object that a request carries.
fn body(request: &Request) -> Result<Map<String, Value>, Response> {
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let message = "The content type of the request must be application/json.";
        return Err(error::error(415, "UnsupportedMediaType", message));
    }
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(error::bad("The request body is not a JSON object.")),
    }
}

/// The headers that every answer of the service carries.
fn label(request: &Request, response: &mut Response) {
    response.set("Cache-Control", "no-cache");
    response.set("x-ms-keyvault-region", REGION);
    response.set("x-ms-keyvault-service-version", "1.9.0.0");
    if let Some(id) = request.header("x-ms-client-request-id") {
        response.set("x-ms-client-request-id", id);
    }
    response.set("x-ms-request-id", random::uuid());
}
