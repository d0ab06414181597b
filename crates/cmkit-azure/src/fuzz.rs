//! The parsers that read what a network sends, for fuzz targets. Not part of the public interface.

use cmkit::KeyRef;

use crate::key::{KeyBundle, version_in};
use crate::policy::{Rules, findings};
use crate::rest::challenge;
use crate::rest::refusal::Codes;
use crate::token;

/// The answer of GET, and the rules on it.
pub fn key(body: &[u8]) {
    let Some(bundle) = KeyBundle::parse(body) else {
        return;
    };
    let _ = findings(&bundle, Rules::default(), 1_700_000_000);
    if let (Some(kid), Ok(key)) = (
        bundle.key.kid.as_deref(),
        KeyRef::parse("https://v.vault.azure.net/keys/k"),
    ) {
        let id = version_in(kid, &key);
        assert!(id.is_none_or(|id| id.same_key(&key)));
    }
}

/// An error in Azure's form.
pub fn error(body: &[u8]) {
    let codes = Codes::parse(body);
    for code in [codes.outer, codes.inner].into_iter().flatten() {
        assert!(code.len() <= 64 && code.is_ascii());
    }
}

/// The header `WWW-Authenticate`.
pub fn challenge(header: &str) {
    let _ = challenge::claims(Some(header));
    let _ = challenge::tenant(Some(header));
    let _ = challenge::resource(Some(header));
}

/// A token endpoint's answer.
pub fn token(body: &[u8]) {
    let _ = token::parse(body, 1_700_000_000);
    let _ = token::parse_lenient(body, 1_700_000_000);
}

/// The headers `Retry-After` and dates.
pub fn dates(text: &str) {
    let _ = crate::http::asked_pause(Some(text), 1_700_000_000);
    let _ = crate::http::date::loose_date(text);
}
