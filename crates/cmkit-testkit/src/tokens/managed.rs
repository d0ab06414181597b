//! The identity endpoints of a node: IMDS, App Service, Azure Arc, Azure ML. Each has its own header,
//! its own names for the identity and its own form of time.

use serde_json::{Value, json};

use super::store::{TimeFormat, audience};
use crate::clock;
use crate::control::log::Facts;
use crate::control::op::Op;
use crate::control::with_rules;
use crate::server::http::{Request, Response};
use crate::state::Shared;

pub(crate) const IMDS: &str = "/metadata/identity/oauth2/token";
pub(crate) const APP_SERVICE: &str = "/msi/token";
pub(crate) const ARC: &str = "/arc/metadata/identity/oauth2/token";
pub(crate) const AZURE_ML: &str = "/azureml/msi/token";

type Endpoint = fn(&Shared, &Request) -> Result<Response, Response>;

pub(crate) fn answer(shared: &Shared, request: &Request) -> (Facts, Option<Response>) {
    let (op, honest): (_, Endpoint) = match request.path.as_str() {
        IMDS => (Op::Imds, imds),
        APP_SERVICE => (Op::AppService, app_service),
        ARC => (Op::Arc, arc),
        AZURE_ML => (Op::AzureMl, azure_ml),
        _ => (Op::Unknown, |_, _| Err(Response::empty(404))),
    };
    let facts = Facts::new(&request.host, op);
    let response = with_rules(shared, &facts, || {
        if op != Op::Unknown && request.method != "GET" {
            return Response::empty(405);
        }
        honest(shared, request).unwrap_or_else(|refusal| refusal)
    });
    (facts, response)
}

fn imds(shared: &Shared, request: &Request) -> Result<Response, Response> {
    metadata(request)?;
    if request.header("x-forwarded-for").is_some() {
        return Err(refusal(
            400,
            "invalid_request",
            "The request came through a proxy.",
        ));
    }
    version(request, "2018-02-01")?;
    let names = ["client_id", "object_id", "msi_res_id"];
    let chosen = chosen(shared, request, &names)?;
    token(shared, request, &chosen, TimeFormat::String)
}

fn app_service(shared: &Shared, request: &Request) -> Result<Response, Response> {
    if request.header("x-identity-header") != Some(&shared.identity.identity_header) {
        return Err(plain(401, "The X-IDENTITY-HEADER is missing or wrong."));
    }
    if request.query("api-version") != Some("2019-08-01") {
        return Err(plain(400, "The api-version is missing or unknown."));
    }
    let names = ["client_id", "object_id", "principal_id", "mi_res_id"];
    let chosen = chosen(shared, request, &names)?;
    token(shared, request, &chosen, TimeFormat::String)
}

fn arc(shared: &Shared, request: &Request) -> Result<Response, Response> {
    metadata(request)?;
    version(request, "2020-06-01")?;
    let secret = request.header("authorization").unwrap_or_default();
    let secret = secret.strip_prefix("Basic ").unwrap_or_default();
    if !shared.key_files.take(secret) {
        let file = shared.key_files.make();
        let file = file.map_err(|error| plain(500, &error.to_string()))?;
        return Err(plain(401, "Read the file and try again.").with(
            "WWW-Authenticate",
            format!("Basic realm={}", file.display()),
        ));
    }
    let names = ["client_id", "object_id", "msi_res_id"];
    let chosen = chosen(shared, request, &names)?;
    token(shared, request, &chosen, TimeFormat::String)
}

fn azure_ml(shared: &Shared, request: &Request) -> Result<Response, Response> {
    if request.header("secret") != Some(&shared.identity.msi_secret) {
        return Err(plain(401, "The header secret is missing or wrong."));
    }
    if request.query("api-version") != Some("2017-09-01") {
        return Err(plain(400, "The api-version is missing or unknown."));
    }
    // Demanded even for the system-assigned identity, and only by this name.
    if request.query("clientid").is_none() {
        return Err(plain(400, "The query parameter clientid is missing."));
    }
    let chosen = chosen(shared, request, &["clientid"])?;
    token(shared, request, &chosen, TimeFormat::Integer)
}

fn metadata(request: &Request) -> Result<(), Response> {
    match request.header("metadata") {
        Some(value) if value.eq_ignore_ascii_case("true") => Ok(()),
        _ => {
            let message = "Required metadata header not specified";
            Err(refusal(400, "bad_request_102", message))
        }
    }
}

fn version(request: &Request, oldest: &str) -> Result<(), Response> {
    match request.query("api-version") {
        Some(version) if version >= oldest && version.len() == oldest.len() => Ok(()),
        _ => Err(refusal(
            400,
            "invalid_request",
            "The api-version is missing or too old.",
        )),
    }
}

/// Which identity is asked for, by the names that the endpoint knows; those it doesn't know it ignores.
fn chosen(
    shared: &Shared,
    request: &Request,
    names: &[&'static str],
) -> Result<Vec<(&'static str, String)>, Response> {
    let identity = &shared.identity;
    let mut chosen = Vec::new();
    for name in names {
        let Some(value) = request.query(name) else {
            continue;
        };
        let known = match *name {
            "client_id" | "clientid" => &identity.managed_client_id,
            "object_id" | "principal_id" => &identity.managed_object_id,
            _ => &identity.managed_resource_id,
        };
        if !value.eq_ignore_ascii_case(known) {
            return Err(refusal(400, "invalid_request", "Identity not found"));
        }
        chosen.push((*name, value.to_owned()));
    }
    if chosen.len() > 1 {
        return Err(refusal(
            400,
            "invalid_request",
            "More than one identity is named.",
        ));
    }
    Ok(chosen)
}

fn token(
    shared: &Shared,
    request: &Request,
    chosen: &[(&'static str, String)],
    format: TimeFormat,
) -> Result<Response, Response> {
    let resource = request.query("resource").unwrap_or_default();
    // A scope is not a resource, though Entra takes the one for the other.
    let audience = audience(resource).filter(|_| !resource.ends_with("/.default"));
    let Some(audience) = audience else {
        let message = "AADSTS500011: The resource principal was not found in the tenant.";
        return Err(refusal(400, "invalid_resource", message));
    };
    let client = &shared.identity.managed_client_id;
    let issued = super::issue(shared, client, audience, Value::Null);
    let format = shared.state().tokens.expires_on.unwrap_or(format);
    let mut body = json!({
        "access_token": issued.token,
        "token_type": "Bearer",
        "resource": resource,
        "client_id": client,
        "expires_on": time(issued.expires_on, format),
        "not_before": time(issued.expires_on - issued.lifetime, format),
    });
    if request.path != APP_SERVICE && request.path != AZURE_ML {
        body["expires_in"] = issued.lifetime.to_string().into();
        body["ext_expires_in"] = issued.lifetime.to_string().into();
    }
    for (name, value) in chosen {
        if matches!(*name, "object_id" | "msi_res_id") {
            body[*name] = value.as_str().into();
        }
    }
    Ok(Response::json(200, &body))
}

fn time(seconds: i64, format: TimeFormat) -> Value {
    match format {
        TimeFormat::Integer => seconds.into(),
        TimeFormat::String => seconds.to_string().into(),
        TimeFormat::Date => clock::old_date(seconds).into(),
        TimeFormat::DateAmPm => clock::old_date_am_pm(seconds).into(),
    }
}

fn refusal(status: u16, error: &str, message: &str) -> Response {
    Response::json(
        status,
        &json!({"error": error, "error_description": message}),
    )
}

fn plain(status: u16, message: &str) -> Response {
    Response::json(status, &json!({"statusCode": status, "message": message}))
}
