//! The three calls: get, wrap, unwrap.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use cmkit::{KeyId, KeyRef, ProviderError, ProviderErrorKind, SecretBytes, WrapAlgorithm};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::audience::Audiences;
use crate::call::Operation;
use crate::failure::{About, sentence};
use crate::http::{Fault, FaultKind, Net, Request, Response, Route, retry_passing, send};
use crate::identity::Credential;
use crate::key::{BASE64URL, KeyBundle, version_in};
use crate::process::PerProcess;
use crate::text::{JsonText, host_of};
use crate::token::{AccessToken, Age, Tokens, seconds_left};

pub(crate) mod challenge;
pub(crate) mod refusal;

const API_VERSION: &str = "7.4";

/// What a request is for; refusals mean different things for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Wrap,
    Unwrap,
}

impl Verb {
    /// As the permission is called.
    pub(crate) fn permission(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Wrap => "wrapKey",
            Self::Unwrap => "unwrapKey",
        }
    }
}

/// A vault's client. It talks to no host that isn't on its list.
pub(crate) struct Rest {
    pub(crate) net: Net,
    pub(crate) credential: Arc<dyn Credential>,
    pub(crate) audiences: Audiences,
    /// In lower case, with their ports if they have one.
    pub(crate) hosts: Vec<String>,
    pub(crate) tokens: PerProcess<Tokens>,
}

/// What wrap and unwrap answer.
#[derive(Deserialize)]
struct KeyResult<'a> {
    #[serde(borrow)]
    kid: Option<JsonText<'a>>,
    #[serde(borrow)]
    value: Option<JsonText<'a>>,
}

impl Rest {
    pub(crate) fn allows(&self, key: &KeyRef) -> bool {
        key.host()
            .is_some_and(|host| self.hosts.iter().any(|h| h == host))
    }

    /// The key: the newest version, or the one that `key` has.
    pub(crate) fn get(
        &self,
        key: &KeyRef,
        operation: &Operation<'_>,
    ) -> Result<KeyBundle, ProviderError> {
        let response = self.ask(Verb::Get, key, None, operation)?;
        KeyBundle::parse(&response.body).ok_or_else(|| {
            unreadable("the answer is not a key")
                .on_key(key)
                .answered(&response)
                .during(operation)
        })
    }

    pub(crate) fn wrap(
        &self,
        key: &KeyId,
        algorithm: WrapAlgorithm,
        plaintext: &[u8],
        operation: &Operation<'_>,
    ) -> Result<Vec<u8>, ProviderError> {
        let mut wrapped = self.transform(Verb::Wrap, key, algorithm, plaintext, operation)?;
        Ok(std::mem::take(&mut *wrapped))
    }

    pub(crate) fn unwrap(
        &self,
        key: &KeyId,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
        operation: &Operation<'_>,
    ) -> Result<SecretBytes, ProviderError> {
        let plaintext = self.transform(Verb::Unwrap, key, algorithm, wrapped, operation)?;
        Ok(plaintext.into())
    }

    fn transform(
        &self,
        verb: Verb,
        key: &KeyId,
        algorithm: WrapAlgorithm,
        value: &[u8],
        operation: &Operation<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let body = body(algorithm, value);
        let response = self.ask(verb, key, Some(&body), operation)?;
        let fail = |problem| {
            unreadable(problem)
                .on_key(key)
                .answered(&response)
                .during(operation)
        };
        let result: KeyResult<'_> = serde_json::from_slice(&response.body)
            .map_err(|_| fail("the answer is not the result of a key operation"))?;
        let value = result.value.and_then(|value| decode_secret(value.as_str()));
        let kid = result.kid.ok_or_else(|| fail("the answer names no key"))?;
        let kid = kid.as_str();
        if version_in(kid, key).as_ref() != Some(key) {
            return Err(wrong_key(kid, key).answered(&response).during(operation));
        }
        let value = value.ok_or_else(|| fail("the answer has no value"))?;
        match value.len() {
            1..=1024 => Ok(value),
            _ => Err(fail(
                "the answer's value is empty or longer than 1024 bytes",
            )),
        }
    }

    /// One call: signed in, retried, and an answer of status 200.
    fn ask(
        &self,
        verb: Verb,
        key: &KeyRef,
        body: Option<&Zeroizing<Vec<u8>>>,
        operation: &Operation<'_>,
    ) -> Result<Response, ProviderError> {
        let host = key.host().filter(|_| self.allows(key));
        let audience = host.and_then(|host| self.audiences.of_host(host));
        let (Some(host), Some(audience)) = (host, audience) else {
            return Err(ProviderError::new(
                ProviderErrorKind::WrongVault,
                "its vault is not one that this provider was given; allow the host if you trust it",
            )
            .on_key(key));
        };
        let url = url(verb, host, key);
        let tokens = self.tokens.get(Tokens::new);
        let (mut token, mut age) = tokens.get(&self.net, &*self.credential, audience, operation)?;
        let mut claims_tried = false;
        loop {
            let request = request(&url, &token, body, operation);
            let deadline = operation.deadline();
            let count = || operation.call.learn(|answer| answer.attempts += 1);
            let sent = send(&self.net, &request, retry_passing, deadline, count);
            let response = match sent.result {
                Ok(response) => response,
                Err(fault) => return Err(unreachable(&fault, key, &url).during(operation)),
            };
            operation.call.learn(|answer| {
                answer.http_status = Some(response.status);
                answer.request_id.clone_from(&response.request_id);
                answer.region.clone_from(&response.region);
            });
            if response.status == 200 {
                return Ok(response);
            }
            if response.status == 401 {
                // Once for claims that the vault demands, once for a cached token that it doesn't take; never a third time.
                let claims =
                    challenge::claims(response.challenge.as_deref()).filter(|_| !claims_tried);
                if claims.is_some() || age == Age::Cached {
                    claims_tried |= claims.is_some();
                    age = Age::New;
                    token = tokens.replace(
                        &self.net,
                        &*self.credential,
                        audience,
                        &token,
                        claims.as_deref(),
                        operation,
                    )?;
                    continue;
                }
            }
            let refusal = refusal::read(verb, key, &response, &*self.credential, audience);
            return Err(refusal.after(sent.retry_after).during(operation));
        }
    }

    /// A token for this key's vault, and how long it is good for.
    pub(crate) fn sign_in(
        &self,
        key: &KeyRef,
        operation: &Operation<'_>,
    ) -> Result<Duration, ProviderError> {
        let audience = key
            .host()
            .and_then(|host| self.audiences.of_host(host))
            .unwrap_or_default();
        let tokens = self.tokens.get(Tokens::new);
        let (token, _) = tokens.get(&self.net, &*self.credential, audience, operation)?;
        Ok(Duration::from_secs(seconds_left(&token, &*self.net.clock)))
    }
}

fn url(verb: Verb, host: &str, key: &KeyRef) -> String {
    let mut url = format!("https://{host}/keys/{}", key.name());
    if let Some(version) = key.version() {
        url.push('/');
        url.push_str(version);
    }
    url.push_str(match verb {
        Verb::Get => "",
        Verb::Wrap => "/wrapkey",
        Verb::Unwrap => "/unwrapkey",
    });
    url.push_str("?api-version=");
    url.push_str(API_VERSION);
    url
}

fn request(
    url: &str,
    token: &AccessToken,
    body: Option<&Zeroizing<Vec<u8>>>,
    operation: &Operation<'_>,
) -> Request {
    let mut bearer = Zeroizing::new(String::with_capacity(7 + token.secret().len()));
    bearer.push_str("Bearer ");
    bearer.push_str(token.secret());
    let request = Request::get(Route::Remote, url.to_owned())
        .secret_header("Authorization", bearer)
        .header("Accept", "application/json")
        .header("x-ms-client-request-id", operation.call.id())
        .header("x-ms-return-client-request-id", "true");
    match body {
        Some(body) => request.post("application/json", body.clone()),
        None => request,
    }
}

/// `{"alg":"...","value":"..."}`, in a buffer that never grows, since growing would leave a copy behind.
fn body(algorithm: WrapAlgorithm, value: &[u8]) -> Zeroizing<Vec<u8>> {
    let room = 64 + value.len().div_ceil(3) * 4;
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.push_str(r#"{"alg":""#);
    text.push_str(algorithm.name());
    text.push_str(r#"","value":""#);
    BASE64URL.encode_string(value, &mut text);
    text.push_str(r#""}"#);
    debug_assert!(text.len() <= room);
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

fn decode_secret(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; text.len() / 4 * 3 + 3]);
    let length = BASE64URL.decode_slice(text, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

fn unreadable(problem: &str) -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::Unavailable,
        format!("{problem}; something else than Key Vault may be answering in its place"),
    )
    .retryable(false)
}

pub(crate) fn wrong_key(kid: &str, key: &KeyRef) -> ProviderError {
    let named = crate::text::printable(kid, 200);
    ProviderError::new(
        ProviderErrorKind::WrongVault,
        format!("the vault answered for another key, {named}; it was not used"),
    )
    .on_key(key)
}

fn unreachable(fault: &Fault, key: &KeyRef, url: &str) -> ProviderError {
    let message = match fault.kind {
        FaultKind::Malformed => format!("no usable answer from {}: {}", host_of(url), fault.text),
        _ => sentence(fault, host_of(url)),
    };
    ProviderError::new(ProviderErrorKind::Unavailable, message)
        .on_key(key)
        .retryable(fault.may_pass())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_made_of_the_parts() {
        let key = KeyRef::parse("https://v.vault.azure.net/keys/team").unwrap();
        assert_eq!(
            url(Verb::Get, "v.vault.azure.net", &key),
            "https://v.vault.azure.net/keys/team?api-version=7.4"
        );
        let key = key.with_version(&"0".repeat(32)).unwrap();
        assert_eq!(
            url(Verb::Unwrap, "v.vault.azure.net", &key),
            format!(
                "https://v.vault.azure.net/keys/team/{}/unwrapkey?api-version=7.4",
                "0".repeat(32)
            )
        );
    }

    #[test]
    fn bodies_are_json() {
        for length in [1, 2, 3, 72, 1024] {
            let body = body(WrapAlgorithm::RsaOaep256, &vec![0xff; length]);
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(json["alg"], "RSA-OAEP-256");
            let value = decode_secret(json["value"].as_str().unwrap()).unwrap();
            assert_eq!(value.len(), length);
            assert!(value.iter().all(|b| *b == 0xff));
        }
    }
}
