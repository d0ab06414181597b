//! Keys as JSON Web Keys (RFC 7517, RFC 7518), and the tombstones of destroyed ones.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::KeyType;
use super::material::{Material, Problem, RsaPrivateParts};
use crate::crypto::KEY_LEN;
use crate::key_id::KeyId;

/// The largest integer that every JSON reader keeps exactly (RFC 8259, 6).
pub(super) const MAX_INTEGER: u64 = (1 << 53) - 1;
/// More than the longest text written here, so that a secret is never moved about by a growing buffer.
const MAX_TEXT_LEN: usize = 8 * 1024;

/// A key that was read from JSON.
pub(super) struct Jwk {
    pub(super) kid: Option<String>,
    pub(super) has_algorithm: bool,
    pub(super) seq: Option<u64>,
    pub(super) created: Option<u64>,
    pub(super) material: Material,
}

/// Strings are borrowed: an owned one would be a copy of a secret that nobody wipes. No secret has an
/// escape in it, which is the only thing that can't be borrowed.
#[derive(Deserialize)]
struct Members<'a> {
    kty: &'a str,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    alg: Option<&'a str>,
    k: Option<&'a str>,
    n: Option<&'a str>,
    e: Option<&'a str>,
    d: Option<&'a str>,
    p: Option<&'a str>,
    q: Option<&'a str>,
    dp: Option<&'a str>,
    dq: Option<&'a str>,
    qi: Option<&'a str>,
    oth: Option<IgnoredAny>,
    cmkit_seq: Option<u64>,
    cmkit_created: Option<u64>,
}

/// Reads a JWK of the kinds that are kept here. Members that it doesn't know are ignored (RFC 7517, 4).
pub(super) fn parse(text: &[u8]) -> Result<Jwk, Problem> {
    // serde's message would quote the value that it stumbled over.
    let members: Members<'_> = serde_json::from_slice(text)
        .map_err(|_| "it is not a JSON Web Key, or there is something after it")?;
    let material = match members.kty {
        "oct" => oct(&members)?,
        "RSA" => rsa(&members)?,
        _ => return Err("its kty is neither oct nor RSA"),
    };
    if members
        .alg
        .is_some_and(|alg| alg != material.algorithm().name())
    {
        return Err("its alg is not the one for its kty: A256KW for oct, RSA-OAEP-256 for RSA");
    }
    if members
        .cmkit_seq
        .is_some_and(|seq| seq == 0 || seq > MAX_INTEGER)
        || members
            .cmkit_created
            .is_some_and(|created| created > MAX_INTEGER)
    {
        return Err("its cmkit_seq or cmkit_created is out of range");
    }
    Ok(Jwk {
        kid: members.kid.map(Cow::into_owned),
        has_algorithm: members.alg.is_some(),
        seq: members.cmkit_seq,
        created: members.cmkit_created,
        material,
    })
}

fn oct(members: &Members<'_>) -> Result<Material, Problem> {
    let k = decode(members.k.ok_or("it has no k")?)?;
    if k.len() != KEY_LEN {
        return Err("its k is not 32 bytes long");
    }
    let mut key = Box::new(Zeroizing::new([0; KEY_LEN]));
    key.copy_from_slice(&k);
    Ok(Material::Oct(key))
}

fn rsa(members: &Members<'_>) -> Result<Material, Problem> {
    if members.oth.is_some() {
        return Err("it has more than two primes");
    }
    let n = decode(members.n.ok_or("it has no n")?)?;
    let e = decode(members.e.ok_or("it has no e")?)?;
    let private = [
        members.d, members.p, members.q, members.dp, members.dq, members.qi,
    ];
    if private.iter().all(Option::is_none) {
        return Material::from_public_parts(&n, &e);
    }
    let part = |text: Option<&str>| {
        decode(text.ok_or("it has only some of the private members d, p, q, dp, dq, qi")?)
    };
    Material::from_private_parts(&RsaPrivateParts {
        n: &n,
        e: &e,
        d: &part(members.d)?,
        p: &part(members.p)?,
        q: &part(members.q)?,
        dp: &part(members.dp)?,
        dq: &part(members.dq)?,
        qi: &part(members.qi)?,
    })
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let len = URL_SAFE_NO_PAD
        .decode_slice(text, &mut bytes)
        .map_err(|_| "one of its members is not base64url without padding")?;
    bytes.truncate(len);
    Ok(bytes)
}

/// Writes the key as this provider's files have it: one member per line.
pub(super) fn write(id: &KeyId, seq: u64, created: u64, material: &Material) -> Zeroizing<Vec<u8>> {
    let mut text = Text::new();
    text.raw(match material {
        Material::Oct(_) => "{\n  \"kty\": \"oct\"",
        _ => "{\n  \"kty\": \"RSA\"",
    });
    text.string("kid", id.as_str());
    text.string("alg", material.algorithm().name());
    text.number("cmkit_seq", seq);
    text.number("cmkit_created", created);
    if let Material::Oct(key) = material {
        text.bytes("k", &key[..]);
    }
    material.with_rsa_parts(|n, e, private| {
        text.bytes("n", n);
        text.bytes("e", e);
        if let Some(parts) = private {
            text.bytes("d", parts.d);
            text.bytes("p", parts.p);
            text.bytes("q", parts.q);
            text.bytes("dp", parts.dp);
            text.bytes("dq", parts.dq);
            text.bytes("qi", parts.qi);
        }
    });
    text.raw("\n}\n");
    text.0
}

/// What is left of a destroyed version: enough to list it, and to order the versions after it.
#[derive(Deserialize)]
pub(super) struct Tombstone {
    #[serde(rename = "cmkit_seq")]
    pub(super) seq: u64,
    #[serde(rename = "cmkit_created")]
    pub(super) created: u64,
    #[serde(rename = "cmkit_type")]
    type_name: String,
    #[serde(rename = "cmkit_public_only")]
    pub(super) public_only: bool,
}

impl Tombstone {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let tombstone: Self = serde_json::from_slice(text).ok()?;
        (1..=MAX_INTEGER)
            .contains(&tombstone.seq)
            .then_some(tombstone)
    }

    pub(super) fn key_type(&self) -> Option<KeyType> {
        self.type_name.parse().ok()
    }

    pub(super) fn write(
        id: &KeyId,
        seq: u64,
        created: u64,
        key_type: KeyType,
        public_only: bool,
    ) -> Zeroizing<Vec<u8>> {
        let mut text = Text::new();
        text.raw("{\n  \"cmkit_destroyed\": true");
        text.string("kid", id.as_str());
        text.string("cmkit_type", key_type.name());
        text.number("cmkit_seq", seq);
        text.number("cmkit_created", created);
        text.raw(if public_only {
            ",\n  \"cmkit_public_only\": true\n}\n"
        } else {
            ",\n  \"cmkit_public_only\": false\n}\n"
        });
        text.0
    }
}

/// JSON under construction. No string in it needs an escape: ids, names and base64url.
struct Text(Zeroizing<Vec<u8>>);

impl Text {
    fn new() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(MAX_TEXT_LEN)))
    }

    fn raw(&mut self, text: &str) {
        debug_assert!(self.0.len() + text.len() <= MAX_TEXT_LEN);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn member(&mut self, name: &str) {
        self.raw(",\n  \"");
        self.raw(name);
        self.raw("\": ");
    }

    fn string(&mut self, name: &str, value: &str) {
        self.member(name);
        self.raw("\"");
        self.raw(value);
        self.raw("\"");
    }

    fn number(&mut self, name: &str, value: u64) {
        self.member(name);
        self.raw(&value.to_string());
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.member(name);
        self.raw("\"");
        let start = self.0.len();
        let len = base64::encoded_len(value.len(), false).unwrap_or_default();
        debug_assert!(start + len < MAX_TEXT_LEN);
        self.0.resize(start + len, 0);
        // The slice has exactly the encoded length.
        let written = URL_SAFE_NO_PAD.encode_slice(value, &mut self.0[start..]);
        debug_assert_eq!(written.ok(), Some(len));
        self.raw("\"");
    }
}
