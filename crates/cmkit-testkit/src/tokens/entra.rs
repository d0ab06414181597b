//! Entra: discovery documents and the token endpoint, for a client's secret or its assertion.

use serde_json::{Value, json};

use super::store::audience;
use crate::control::log::Facts;
use crate::control::op::Op;
use crate::control::with_rules;
use crate::random;
use crate::server::http::{Request, Response, find, pairs};
use crate::state::Shared;

const HOSTS: &[&str] = &[
    "login.microsoftonline.com",
    "login.microsoft.com",
    "login.windows.net",
    "login.microsoftonline.us",
    "login.chinacloudapi.cn",
    "login.partner.microsoftonline.cn",
];
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Whether a host signs people in.
pub(crate) fn is_login(host: &str) -> bool {
    HOSTS.contains(&host)
}

pub(crate) fn answer(shared: &Shared, request: &Request) -> (Facts, Option<Response>) {
    let parts: Vec<&str> = request.path.split('/').skip(1).collect();
    let tenant = &shared.identity.tenant_id;
    let (op, honest): (_, Box<dyn FnOnce() -> Response + '_>) =
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["common", "discovery", "instance"]) => {
                (Op::Discovery, Box::new(|| instances(&request.host, tenant)))
            }
            ("GET", [name, "v2.0", ".well-known", "openid-configuration"]) => {
                let name = *name;
                (
                    Op::Discovery,
                    Box::new(move || match name == tenant {
                        true => configuration(&request.host, tenant),
                        false => no_tenant(name),
                    }),
                )
            }
            ("POST", [name, "oauth2", "v2.0", "token"]) => {
                let name = *name;
                (
                    Op::Entra,
                    Box::new(move || match name == tenant {
                        true => token(shared, request).unwrap_or_else(|refusal| refusal),
                        false => no_tenant(name),
                    }),
                )
            }
            _ => (Op::Unknown, Box::new(|| Response::empty(404))),
        };
    let facts = Facts::new(&request.host, op);
    let mut response = with_rules(shared, &facts, honest);
    if let Some(response) = &mut response {
        response.set("Cache-Control", "no-store, no-cache");
        response.set("x-ms-request-id", random::uuid());
    }
    (facts, response)
}

fn token(shared: &Shared, request: &Request) -> Result<Response, Response> {
    let kind = request.header("content-type").unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(refusal(
            400,
            "invalid_request",
            900_144,
            "The body is not a form.",
        ));
    }
    let form = pairs(&String::from_utf8_lossy(&request.body));
    let field = |name| find(&form, name).filter(|value| !value.is_empty());
    if field("grant_type") != Some("client_credentials") {
        let message = "The grant type is not supported.";
        return Err(refusal(400, "unsupported_grant_type", 70_003, message));
    }
    let identity = &shared.identity;
    let client = field("client_id").unwrap_or_default();
    if client != identity.client_id {
        let message = "Application was not found in the directory.";
        return Err(refusal(400, "unauthorized_client", 700_016, message));
    }
    match (field("client_secret"), field("client_assertion")) {
        (Some(secret), None) if secret == identity.client_secret => {}
        (Some(_), None) => {
            let message = "Invalid client secret provided.";
            return Err(refusal(401, "invalid_client", 7_000_215, message));
        }
        (None, Some(assertion)) if field("client_assertion_type") == Some(JWT_BEARER) => {
            if assertion != shared.state().federated_token {
                let message = "Client assertion is not within its valid time range.";
                return Err(refusal(401, "invalid_client", 700_024, message));
            }
        }
        _ => {
            let message = "The request body must contain client_assertion or client_secret.";
            return Err(refusal(401, "invalid_client", 7_000_218, message));
        }
    }
    let scope = field("scope").unwrap_or_default();
    let scope = scope
        .split(' ')
        .find(|scope| scope.ends_with("/.default"))
        .and_then(audience);
    let Some(audience) = scope else {
        let message = "The resource principal was not found in the tenant.";
        return Err(refusal(400, "invalid_resource", 500_011, message));
    };
    let claims = field("claims").map_or(Ok(json!({})), serde_json::from_str);
    let claims: Value =
        claims.map_err(|_| refusal(400, "invalid_request", 1_000_031, "claims is not JSON."))?;
    let issued = super::issue(shared, client, audience, claims);
    Ok(Response::json(
        200,
        &json!({
            "token_type": "Bearer",
            "expires_in": issued.lifetime,
            "ext_expires_in": issued.lifetime,
            "access_token": issued.token,
        }),
    ))
}

fn refusal(status: u16, error: &str, code: u32, message: &str) -> Response {
    Response::json(
        status,
        &json!({
            "error": error,
            "error_description": format!("AADSTS{code}: {message}"),
            "error_codes": [code],
            "trace_id": random::uuid(),
            "correlation_id": random::uuid(),
        }),
    )
}

fn no_tenant(name: &str) -> Response {
    let message = format!("Tenant '{name}' not found.");
    refusal(400, "invalid_tenant", 90_002, &message)
}

fn configuration(host: &str, tenant: &str) -> Response {
    let base = format!("https://{host}/{tenant}");
    Response::json(
        200,
        &json!({
            "issuer": format!("{base}/v2.0"),
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "token_endpoint": format!("{base}/oauth2/v2.0/token"),
            "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
            "jwks_uri": format!("{base}/discovery/v2.0/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        }),
    )
}

fn instances(host: &str, tenant: &str) -> Response {
    Response::json(
        200,
        &json!({
            "tenant_discovery_endpoint":
                format!("https://{host}/{tenant}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [{
                "preferred_network": host,
                "preferred_cache": host,
                "aliases": [host],
            }],
        }),
    )
}
