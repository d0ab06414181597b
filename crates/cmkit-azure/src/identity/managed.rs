//! What the node-local endpoints have in common.

use cmkit::ProviderError;
use serde::Deserialize;

use super::SignIn;
use crate::failure::{About, identity};
use crate::http::{Fault, FaultKind, Request, Response, RetryRule, send};
use crate::text::{code, host_of};
use crate::token::{AccessToken, parse};

/// Which managed identity, where a node has several.
#[derive(Clone, Default)]
pub(super) enum ManagedId {
    /// The system-assigned one, or the only one.
    #[default]
    System,
    Client(String),
    Object(String),
    Resource(String),
}

/// How one endpoint is talked to.
pub(super) struct Asking<'a> {
    /// What it is, for messages: `Azure ML managed identity`.
    pub(super) name: &'a str,
    pub(super) again: RetryRule,
    /// What to do when it refuses.
    pub(super) advice: &'a str,
}

/// Sends a request to the node's endpoint, whatever it answers.
pub(super) fn ask(
    sign_in: &SignIn<'_>,
    asking: &Asking<'_>,
    request: &Request,
) -> Result<(Response, Wait), ProviderError> {
    let sent = send(sign_in.net, request, asking.again, sign_in.deadline, || {});
    match sent.result {
        Ok(response) => Ok((response, Wait(sent.retry_after))),
        Err(fault) => Err(unreachable_endpoint(sign_in, asking, request, &fault)),
    }
}

/// What was asked to wait.
pub(super) struct Wait(Option<std::time::Duration>);

/// The token in an endpoint's answer.
pub(super) fn token(
    sign_in: &SignIn<'_>,
    asking: &Asking<'_>,
    request: &Request,
) -> Result<AccessToken, ProviderError> {
    let (response, wait) = ask(sign_in, asking, request)?;
    token_of(sign_in, asking, request, &response, &wait)
}

pub(super) fn token_of(
    sign_in: &SignIn<'_>,
    asking: &Asking<'_>,
    request: &Request,
    response: &Response,
    wait: &Wait,
) -> Result<AccessToken, ProviderError> {
    let place = host_of(&request.url);
    if response.status != 200 {
        return Err(refusal(sign_in, asking, place, response, wait));
    }
    parse(&response.body, sign_in.clock().unix()).map_err(|problem| {
        identity(format!(
            "no token for {}: the answer of the {} at {place} can't be used: {problem}",
            sign_in.audience, asking.name
        ))
        .retryable(true)
        .answered(response)
    })
}

fn refusal(
    sign_in: &SignIn<'_>,
    asking: &Asking<'_>,
    place: &str,
    response: &Response,
    wait: &Wait,
) -> ProviderError {
    let passing = matches!(response.status, 404 | 408 | 410 | 429 | 500..=599);
    let advice = if passing {
        "the endpoint is busy or starting"
    } else {
        asking.advice
    };
    let mut error = identity(format!(
        "no token for {}: the {} at {place} refused; {advice}",
        sign_in.audience, asking.name
    ))
    .retryable(passing)
    .answered(response)
    .after(wait.0);
    error.code = error_code(&response.body);
    error
}

fn unreachable_endpoint(
    sign_in: &SignIn<'_>,
    asking: &Asking<'_>,
    request: &Request,
    fault: &Fault,
) -> ProviderError {
    let mut text = format!(
        "no token for {}: the endpoint of the {} at {} gives no answer: {}",
        sign_in.audience,
        asking.name,
        host_of(&request.url),
        fault.text
    );
    if matches!(fault.kind, FaultKind::Connect | FaultKind::Timeout) {
        text.push_str("; this may be no such node, or its agent is not running");
    }
    identity(text).retryable(fault.may_pass())
}

/// The code of an OAuth error, or one of Azure's own form.
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: Option<serde_json::Value>,
    }
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    match refusal.error? {
        serde_json::Value::String(text) => code(&text),
        serde_json::Value::Object(fields) => code(fields.get("code")?.as_str()?),
        _ => None,
    }
}
