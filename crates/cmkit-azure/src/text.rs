//! Text from outside, cut down to what a message can bear; and text for URLs.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Deserialize;
use zeroize::Zeroize;

/// A string of a JSON text that may be secret: lent from that text where it can be, and wiped where it had to be copied because of an escape.
///
/// A type of its own, since serde lends to a `Cow` only where it is a field itself.
#[derive(Deserialize)]
pub(crate) struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

impl JsonText<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Drop for JsonText<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(copy) = &mut self.0 {
            copy.zeroize();
        }
    }
}

/// A service's code, such as `ForbiddenByRbac`: ASCII letters, digits and `_`, at most 64. Anything else is not a code and is left out.
pub(crate) fn code(text: &str) -> Option<String> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    fits.then(|| text.to_owned())
}

/// The printable ASCII of a text, at most `limit` characters.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(limit)
        .collect()
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(crate) fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A URL with a query of these pairs added to it.
pub(crate) fn with_query(base: &str, pairs: &[(&str, &str)]) -> String {
    let mut url = base.to_owned();
    let mut separator = if base.contains('?') { '&' } else { '?' };
    for (name, value) in pairs {
        url.push(separator);
        separator = '&';
        url.push_str(name);
        url.push('=');
        encode_into(&mut url, value);
    }
    url
}

/// The host of a URL, with its port: what a message needs of an endpoint.
pub(crate) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_pass_as_codes() {
        assert_eq!(code("ForbiddenByRbac").as_deref(), Some("ForbiddenByRbac"));
        for text in ["", "two words", "a\nb", "<b>", &"x".repeat(65)] {
            assert_eq!(code(text), None);
        }
    }

    #[test]
    fn json_text_is_lent() {
        let lent: Option<JsonText<'_>> = serde_json::from_str(r#""a/b""#).unwrap();
        assert!(matches!(lent.unwrap().0, Cow::Borrowed("a/b")));
        let copied: Option<JsonText<'_>> = serde_json::from_str(r#""a\/b""#).unwrap();
        assert_eq!(copied.unwrap().as_str(), "a/b");
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(
            with_query("http://h/p", &[("resource", "https://v/"), ("a", "b c")]),
            "http://h/p?resource=https%3A%2F%2Fv%2F&a=b%20c"
        );
        assert_eq!(
            with_query("http://h/p?x=1", &[("a", "b")]),
            "http://h/p?x=1&a=b"
        );
    }

    #[test]
    fn hosts_of_urls() {
        assert_eq!(host_of("http://127.0.0.1:80/a?b"), "127.0.0.1:80");
        assert_eq!(host_of("https://user:pw@h/x"), "h");
    }
}
