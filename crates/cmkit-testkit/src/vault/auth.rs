//! Bearer tokens, and the challenge for requests without a good one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::error;
use crate::server::http::{Request, Response};
use crate::state::{Shared, State};
use crate::tokens::store::{Grant, audience_of_host};

/// Whether the request carries a token for this host that is still good; else the challenge.
pub(crate) fn check(shared: &Shared, request: &Request) -> Result<(), Response> {
    let mut state = shared.state();
    let fault = match bearer(request) {
        None => Some("AKV10000: Request is missing a Bearer or PoP token."),
        Some(token) => fault(&state, request, token),
    };
    let tenant = &shared.identity.tenant_id;
    match fault {
        Some(message) => Err(challenge(&mut state, tenant, &request.host, message)),
        None if lacks_claims(&state, request) => {
            Err(claims_challenge(&state, tenant, &request.host))
        }
        None => Ok(()),
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn fault(state: &State, request: &Request, token: &str) -> Option<&'static str> {
    let Some(grant) = state.tokens.find(token) else {
        return Some("AKV10032: Invalid issuer, or the token was revoked.");
    };
    if grant.audience != audience_of_host(&request.host) {
        return Some("AKV10022: Invalid audience.");
    }
    if grant.expires_on <= state.now() {
        return Some("AKV10001: The token is expired.");
    }
    None
}

/// A token satisfies a claims challenge when its client put the claims in, or, since managed identities can't,
/// when it was made after the challenge was ordered.
fn lacks_claims(state: &State, request: &Request) -> bool {
    let Some(wanted) = &state.claims else {
        return false;
    };
    let grant = bearer(request).and_then(|token| state.tokens.find(token));
    !grant.is_some_and(|grant| satisfies(grant, wanted, state.claims_era))
}

fn satisfies(grant: &Grant, wanted: &Value, era: u64) -> bool {
    if grant.claims.is_null() {
        return grant.era >= era;
    }
    let Value::Object(wanted) = &wanted["access_token"] else {
        return false;
    };
    let mut wanted = wanted.iter();
    wanted.all(|(name, value)| grant.claims["access_token"][name] == *value)
}

fn challenge(state: &mut State, tenant: &str, host: &str, message: &str) -> Response {
    let text = state.vault(host).challenge.clone().unwrap_or_else(|| {
        let (login, resource) = (login_of_host(host), audience_of_host(host));
        format!(r#"Bearer authorization="https://{login}/{tenant}", resource="{resource}""#)
    });
    let response = error::error(401, "Unauthorized", message);
    match text.is_empty() {
        true => response,
        false => response.with("WWW-Authenticate", text),
    }
}

fn claims_challenge(state: &State, tenant: &str, host: &str) -> Response {
    let login = login_of_host(host);
    let claims = state
        .claims
        .as_ref()
        .map(Value::to_string)
        .unwrap_or_default();
    let claims = STANDARD.encode(claims);
    let text = format!(
        "Bearer realm=\"\", authorization_uri=\"https://{login}/{tenant}\", \
         error=\"insufficient_claims\", claims=\"{claims}\""
    );
    error::error(401, "Unauthorized", "AKV10000: The token lacks claims.")
        .with("WWW-Authenticate", text)
}

fn login_of_host(host: &str) -> &'static str {
    if host.ends_with(".azure.cn") {
        "login.chinacloudapi.cn"
    } else if host.ends_with(".usgovcloudapi.net") {
        "login.microsoftonline.us"
    } else {
        "login.microsoftonline.com"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_must_be_all_there() {
        let wanted = json!({"access_token": {"nbf": {"essential": true, "value": "1"}}});
        let mut grant = Grant {
            audience: String::new(),
            expires_on: 0,
            claims: Value::Null,
            era: 1,
        };
        assert!(satisfies(&grant, &wanted, 1));
        assert!(!satisfies(&grant, &wanted, 2));
        grant.claims = json!({"access_token": {"xms_cc": {"values": ["CP1"]}}});
        assert!(!satisfies(&grant, &wanted, 1));
        grant.claims["access_token"]["nbf"] = json!({"essential": true, "value": "1"});
        assert!(satisfies(&grant, &wanted, 2));
    }
}
