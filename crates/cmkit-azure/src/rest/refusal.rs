//! What a vault's error means: by its status and inner code, never by its text.

use cmkit::{KeyRef, ProviderError, ProviderErrorKind};
use serde::Deserialize;

use super::{Verb, challenge};
use crate::failure::About;
use crate::http::Response;
use crate::identity::Credential;
use crate::text::code;

#[derive(Deserialize)]
struct ErrorBody {
    error: Option<ErrorPart>,
}

#[derive(Deserialize)]
struct ErrorPart {
    code: Option<String>,
    #[serde(alias = "innerError")]
    innererror: Option<Box<ErrorPart>>,
}

/// The codes of an error in Azure's form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) outer: Option<String>,
    pub(crate) inner: Option<String>,
}

impl Codes {
    pub(crate) fn parse(body: &[u8]) -> Self {
        let parsed: Option<ErrorBody> = serde_json::from_slice(body).ok();
        let Some(error) = parsed.and_then(|body| body.error) else {
            return Self::default();
        };
        let inner = error.innererror.and_then(|inner| inner.code);
        Self {
            outer: error.code.as_deref().and_then(code),
            inner: inner.as_deref().and_then(code),
        }
    }

    /// The one that says more.
    fn best(self) -> Option<String> {
        self.inner.or(self.outer)
    }
}

/// The error that an answer other than 200 is.
pub(crate) fn read(
    verb: Verb,
    key: &KeyRef,
    response: &Response,
    credential: &dyn Credential,
    audience: &str,
) -> ProviderError {
    let code = Codes::parse(&response.body).best();
    let (kind, message) = match response.status {
        400 => bad_request(verb),
        401 => {
            let mut message = format!("the vault does not take the token of the {}", credential.name());
            unauthorized(&mut message, response, audience);
            (ProviderErrorKind::Denied, message)
        }
        403 => forbidden(verb, key, code.as_deref(), credential),
        404 => (
            ProviderErrorKind::NotFound,
            "the vault has no such key or version; it may have been deleted: its owner can look among the deleted keys and recover it".into(),
        ),
        409 if code.as_deref() == Some("ObjectIsDeletedButRecoverable") => (
            ProviderErrorKind::Deleted,
            "it was deleted and can still be recovered; have its owner recover it".into(),
        ),
        429 => (
            ProviderErrorKind::Throttled,
            "the vault has too many requests".into(),
        ),
        408 | 500..=599 => (
            ProviderErrorKind::Unavailable,
            "the vault has a passing fault".into(),
        ),
        300..=399 => (
            ProviderErrorKind::Unavailable,
            "a redirect came in place of the vault's answer, and was not followed; something else may be answering there".into(),
        ),
        _ => (
            ProviderErrorKind::Unavailable,
            "a status came that Key Vault has no use for; something else may be answering there".into(),
        ),
    };
    let mut error = ProviderError::new(kind, message)
        .on_key(key)
        .retryable(matches!(response.status, 408 | 429 | 500..=599))
        .answered(response);
    error.code = code;
    error
}

fn bad_request(verb: Verb) -> (ProviderErrorKind, String) {
    match verb {
        // What it says would help forgers: bytes that this key never wrapped.
        Verb::Unwrap => (
            ProviderErrorKind::Rejected,
            "the wrapped key is not what this key wrapped".into(),
        ),
        Verb::Get | Verb::Wrap => (
            ProviderErrorKind::Unusable,
            "the vault refuses the request; the key's type or size may not fit".into(),
        ),
    }
}

fn unauthorized(message: &mut String, response: &Response, audience: &str) {
    let header = response.challenge.as_deref();
    if let Some(expected) = challenge::resource(header).filter(|expected| expected != audience) {
        message.push_str(&format!(
            "; it wants one for {expected}, and this was for {audience}: another cloud, or something else answers"
        ));
    } else if let Some(tenant) = challenge::tenant(header) {
        message.push_str(&format!("; the vault is in tenant {tenant}: sign in there"));
    } else {
        message.push_str("; check its tenant and this machine's clock");
    }
}

fn forbidden(
    verb: Verb,
    key: &KeyRef,
    code: Option<&str>,
    credential: &dyn Credential,
) -> (ProviderErrorKind, String) {
    let who = credential.name();
    let right = verb.permission();
    // On an unwrap every 403 is a plain no: it takes the key away, whatever rule says it.
    let rule = match verb {
        Verb::Wrap => ProviderErrorKind::Policy,
        Verb::Get | Verb::Unwrap => ProviderErrorKind::Denied,
    };
    match code {
        Some("KeyDisabled") => (
            ProviderErrorKind::Disabled,
            "it is disabled; have its owner enable it, or encrypt under another key".into(),
        ),
        Some("KeyExpired") => (rule, "it has expired; have its owner make a new version, or move its end".into()),
        Some("KeyNotYetValid") => (rule, "it is not valid yet; wait for its begin, or have its owner move it".into()),
        Some("KeyOperationForbidden") => (
            rule,
            format!("its own list of operations lacks {right}; have its owner add wrapKey and unwrapKey"),
        ),
        Some("ForbiddenByFirewall") => (
            ProviderErrorKind::Denied,
            "the vault's firewall refuses this address; have its owner allow this network, or go through a private endpoint".into(),
        ),
        Some("ForbiddenByConnection") => (
            ProviderErrorKind::Denied,
            "the vault takes no connections from public networks; go through its private endpoint".into(),
        ),
        Some("ForbiddenByPolicy" | "AccessDenied") => (
            ProviderErrorKind::Denied,
            format!("the vault's access policy gives the {who} no {right}; add get, wrapKey and unwrapKey for keys"),
        ),
        _ => (
            ProviderErrorKind::Denied,
            {
                let mut message = format!(
                    "the {who} lacks the permission {right}; give it the role {:?} on the key or vault, and allow some minutes for that to spread",
                    role(key)
                );
                if verb == Verb::Get {
                    message.push_str("; if its owner doesn't grant get, name the key with its version and choose not to get it");
                }
                message
            },
        ),
    }
}

fn role(key: &KeyRef) -> &'static str {
    if key.host().is_some_and(|host| host.contains(".managedhsm.")) {
        "Managed HSM Crypto Service Encryption User"
    } else {
        "Key Vault Crypto Service Encryption User"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_spellings_and_of_none() {
        let both = Codes {
            outer: Some("Forbidden".into()),
            inner: Some("KeyDisabled".into()),
        };
        for inner in ["innererror", "innerError"] {
            let body = format!(
                r#"{{"error":{{"code":"Forbidden","message":"m","{inner}":{{"code":"KeyDisabled"}}}}}}"#
            );
            assert_eq!(Codes::parse(body.as_bytes()), both);
        }
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"error":null}"#,
            r#"{"error":{"code":"two words"}}"#,
            r#"{"error":"text"}"#,
            r#"{"error":{"code":1}}"#,
        ] {
            assert_eq!(Codes::parse(body.as_bytes()), Codes::default(), "{body}");
        }
    }
}
