//! `WWW-Authenticate`: what a vault says when it doesn't take a token (RFC 9110, 11.6.1).
//!
//! Nothing in it decides whom we talk to: audience and sign-in host are ours. It only tells claims that a new token must have, and what
//! to write into the error.

use crate::key::BASE64URL;
use crate::text::printable;
use base64::Engine;

/// Bytes in the longest header that is looked at.
const MAX: usize = 8 * 1024;

/// The claims that the vault demands, as JSON.
pub(crate) fn claims(header: Option<&str>) -> Option<String> {
    let value = parameter(header?, "claims")?;
    let trimmed = value.trim_end_matches('=');
    // Standard base64 is what some send; the two alphabets differ in two characters.
    let url_safe = trimmed.replace('+', "-").replace('/', "_");
    let json = String::from_utf8(BASE64URL.decode(url_safe).ok()?).ok()?;
    // It must be an object, or Entra would refuse it with a message of its own.
    let object: serde_json::Value = serde_json::from_str(&json).ok()?;
    object.is_object().then_some(json)
}

/// The tenant that the vault is in, if the challenge has it in the usual form.
pub(crate) fn tenant(header: Option<&str>) -> Option<String> {
    let header = header?;
    let url =
        parameter(header, "authorization").or_else(|| parameter(header, "authorization_uri"))?;
    let tenant = url.strip_prefix("https://")?.split('/').nth(1)?;
    let fits = tenant.len() == 36 && tenant.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    fits.then(|| tenant.to_owned())
}

/// The audience that the vault expects.
pub(crate) fn resource(header: Option<&str>) -> Option<String> {
    let header = header?;
    let value = parameter(header, "resource").or_else(|| parameter(header, "scope"))?;
    let value = value.strip_suffix("/.default").unwrap_or(&value);
    Some(printable(value.trim_end_matches('/'), 100))
}

/// The value of a parameter of the `Bearer` challenge, quoted or not.
pub(crate) fn parameter(header: &str, name: &str) -> Option<String> {
    if header.len() > MAX {
        return None;
    }
    let begin = header.get(..7)?;
    if !begin.eq_ignore_ascii_case("bearer ") {
        return None;
    }
    let mut rest = &header[7..];
    loop {
        rest = rest.trim_start_matches([' ', ',', '\t']);
        let equals = rest.find('=')?;
        let key = rest[..equals].trim();
        rest = rest[equals + 1..].trim_start();
        let value;
        (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find([',', ' ']).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
    }
}

/// What stands before the closing quote, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    #[test]
    fn all_spellings_of_a_challenge() {
        for header in [
            format!(
                r#"Bearer authorization="https://login.windows.net/{TENANT}", resource="https://vault.azure.net""#
            ),
            format!(
                r#"Bearer authorization_uri="https://login.windows.net/{TENANT}",scope="https://vault.azure.net/.default""#
            ),
            format!(
                "bearer authorization=https://login.windows.net/{TENANT}, resource=https://vault.azure.net/"
            ),
            format!(
                r#"Bearer realm="", x="a\"b,c=d", authorization = "https://l/{TENANT}/x" , resource="https://vault.azure.net""#
            ),
        ] {
            assert_eq!(tenant(Some(&header)).as_deref(), Some(TENANT), "{header}");
            assert_eq!(
                resource(Some(&header)).as_deref(),
                Some("https://vault.azure.net"),
                "{header}"
            );
            assert_eq!(claims(Some(&header)), None);
        }
    }

    #[test]
    fn claims_are_base64_of_an_object() {
        let json = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;
        for encoded in [
            BASE64URL.encode(json),
            base64::engine::general_purpose::STANDARD.encode(json),
        ] {
            let header = format!(r#"Bearer error="insufficient_claims", claims="{encoded}""#);
            assert_eq!(claims(Some(&header)).as_deref(), Some(json));
        }
        for bad in ["!", "", "W10", "eyI"] {
            assert_eq!(
                claims(Some(&format!(r#"Bearer claims="{bad}""#))),
                None,
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_no_bearer_challenge() {
        for header in [
            "",
            "Basic realm=\"x\"",
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Bearer x=\"",
            "Bearer é=\"\\",
        ] {
            assert_eq!(tenant(Some(header)), None, "{header}");
            assert_eq!(claims(Some(header)), None, "{header}");
        }
    }
}
