//! A key as the vault describes it.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cmkit::{KeyId, KeyRef};
use serde::Deserialize;

/// base64url without padding, and with padding accepted.
pub(crate) const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What GET answers. Everything is optional there; rules that miss something fail.
#[derive(Debug, Deserialize)]
pub(crate) struct KeyBundle {
    pub(crate) key: Jwk,
    #[serde(default)]
    pub(crate) attributes: Attributes,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Jwk {
    pub(crate) kid: Option<String>,
    pub(crate) kty: Option<String>,
    pub(crate) key_ops: Option<Vec<String>>,
    n: Option<String>,
    e: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attributes {
    pub(crate) enabled: Option<bool>,
    /// Times are in seconds since 1970.
    pub(crate) nbf: Option<i64>,
    pub(crate) exp: Option<i64>,
    pub(crate) created: Option<i64>,
    pub(crate) recovery_level: Option<String>,
    pub(crate) exportable: Option<bool>,
}

impl KeyBundle {
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl Jwk {
    /// Bits of the modulus.
    pub(crate) fn modulus_bits(&self) -> Option<usize> {
        let bytes = decode(self.n.as_deref()?)?;
        let significant = trim(&bytes);
        let first = significant.first()?;
        Some(significant.len() * 8 - first.leading_zeros() as usize)
    }

    pub(crate) fn exponent_is_65537(&self) -> bool {
        let bytes = self.e.as_deref().and_then(decode);
        bytes.is_some_and(|bytes| trim(&bytes) == [1, 0, 1])
    }
}

pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64URL.decode(text).ok()
}

/// Without leading zero bytes.
fn trim(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// The version in an answer's key id, if that id is of `key`: the same host, whatever the port, and the same name.
pub(crate) fn version_in(kid: &str, key: &KeyRef) -> Option<KeyId> {
    let rest = kid.strip_prefix("https://")?;
    let (authority, path) = rest.split_once('/')?;
    let wanted = without_port(key.host()?);
    if !without_port(authority).eq_ignore_ascii_case(wanted) {
        return None;
    }
    let (name, version) = path.strip_prefix("keys/")?.split_once('/')?;
    if !name.eq_ignore_ascii_case(key.name()) {
        return None;
    }
    key.with_version(&version.to_ascii_lowercase()).ok()
}

fn without_port(authority: &str) -> &str {
    authority.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: &str = "0123456789abcdef0123456789abcdef";

    fn jwk(n: &[u8], e: &str) -> Jwk {
        Jwk {
            n: Some(BASE64URL.encode(n)),
            e: Some(e.into()),
            ..Jwk::default()
        }
    }

    #[test]
    fn sizes_don_t_count_leading_zeros() {
        let mut n = vec![0x80; 384];
        assert_eq!(jwk(&n, "AQAB").modulus_bits(), Some(3072));
        n.insert(0, 0);
        assert_eq!(jwk(&n, "AQAB").modulus_bits(), Some(3072));
        n[1] = 0x7f;
        assert_eq!(jwk(&n, "AQAB").modulus_bits(), Some(3071));
        assert_eq!(jwk(&[0, 0], "AQAB").modulus_bits(), None);
        assert_eq!(Jwk::default().modulus_bits(), None);
    }

    #[test]
    fn exponents() {
        for (e, fits) in [
            ("AQAB", true),
            ("AAEAAQ==", true),
            ("Aw", false),
            ("", false),
            ("AQAB!", false),
        ] {
            assert_eq!(jwk(&[1], e).exponent_is_65537(), fits, "{e}");
        }
    }

    #[test]
    fn padding_is_accepted() {
        assert_eq!(decode("AQA="), decode("AQA"));
    }

    #[test]
    fn only_our_key_has_a_version() {
        let key = KeyRef::parse("https://v.vault.azure.net/keys/team").unwrap();
        let found = |kid: &str| version_in(kid, &key).map(|id| id.to_string());
        let id = format!("https://v.vault.azure.net/keys/team/{V}");
        for kid in [
            id.clone(),
            format!("https://v.vault.azure.net:443/keys/team/{V}"),
            format!(
                "https://V.Vault.Azure.Net:8443/keys/Team/{}",
                V.to_uppercase()
            ),
        ] {
            assert_eq!(found(&kid), Some(id.clone()), "{kid}");
        }
        for kid in [
            format!("https://w.vault.azure.net/keys/team/{V}"),
            format!("https://v.vault.azure.net.example/keys/team/{V}"),
            format!("https://v.vault.azure.net/keys/other/{V}"),
            format!("https://v.vault.azure.net/secrets/team/{V}"),
            format!("http://v.vault.azure.net/keys/team/{V}"),
            "https://v.vault.azure.net/keys/team".into(),
            "https://v.vault.azure.net/keys/team/1".into(),
            String::new(),
        ] {
            assert_eq!(found(&kid), None, "{kid}");
        }
    }
}
