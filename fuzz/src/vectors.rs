//! The golden vectors under A256KW, with their DEKs.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aes_kw::{KeyInit as _, KwAes256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cmkit::KeyId;
use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha2::{Sha256, Sha512};

use crate::Keks;

/// An envelope that opens.
pub struct Vector {
    /// The envelope.
    pub envelope: Vec<u8>,
    /// The context that it opens with.
    pub context: Vec<(String, String)>,
    /// The workspace that it opens in.
    pub workspace: Option<String>,
    /// What is in it.
    pub plaintext: Vec<u8>,
    /// Its DEK.
    pub dek: [u8; 32],
}

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/v1")
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read(path).expect("the vectors are in the checkout");
    serde_json::from_slice(&text).expect("they are JSON")
}

/// The KEKs of the vectors' key directory that are no RSA keys.
fn keks() -> Vec<(KeyId, [u8; 32])> {
    let names = std::fs::read_dir(dir().join("home/keys")).expect("a key directory");
    let files = names.flat_map(|name| std::fs::read_dir(name.unwrap().path()).unwrap());
    let jwks = files.map(|file| read_json(&file.unwrap().path()));
    let mut keks: Vec<_> = jwks
        .filter(|jwk| jwk["kty"] == "oct")
        .map(|jwk| {
            let kek = URL_SAFE_NO_PAD.decode(jwk["k"].as_str().unwrap()).unwrap();
            (
                KeyId::parse(jwk["kid"].as_str().unwrap()).unwrap(),
                kek.try_into().unwrap(),
            )
        })
        .collect();
    keks.sort_by_key(|(id, _)| id.to_string());
    keks
}

/// The plaintext of every vector.
#[must_use]
pub fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((7 * i + i / 251) % 256) as u8).collect()
}

/// Those with recipients that a provider of all their KEKs opens, and that provider's keys.
pub fn vectors() -> &'static (Vec<Vector>, Vec<(KeyId, [u8; 32])>) {
    static VECTORS: OnceLock<(Vec<Vector>, Vec<(KeyId, [u8; 32])>)> = OnceLock::new();
    VECTORS.get_or_init(|| {
        let keks = keks();
        let list = read_json(&dir().join("valid.json"));
        let vectors = list
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|v| read(v, &keks));
        (vectors.collect(), keks)
    })
}

impl Keks {
    /// All KEKs of the vectors.
    #[must_use]
    pub fn golden() -> Self {
        let mut all = Self::default();
        for (id, kek) in &vectors().1 {
            all.add(id.clone(), *kek);
        }
        all
    }
}

fn read(vector: &Value, keks: &[(KeyId, [u8; 32])]) -> Option<Vector> {
    let envelope = std::fs::read(dir().join(vector["file"].as_str()?)).unwrap();
    let (id, kek) = keks
        .iter()
        .find(|(id, _)| vector["keys"][0] == id.as_str())?;
    if !vector["row"].is_null() {
        return None;
    }
    // A wrapped capsule has 80 bytes and follows its head, 58 50, in the recipient of that key id.
    let at = find(&envelope, id.as_str().as_bytes())?;
    let at = at + find(&envelope[at..], &[0x58, 0x50])? + 2;
    let mut capsule = [0; 72];
    KwAes256::new(kek.into())
        .unwrap_key(&envelope[at..at + 80], &mut capsule)
        .expect("it opens");
    let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()));
    Some(Vector {
        context: vector["context"]
            .as_array()?
            .iter()
            .filter_map(pair)
            .collect(),
        workspace: vector["workspace"].as_str().map(str::to_owned),
        plaintext: plaintext(vector["plaintext_len"].as_u64()?.try_into().ok()?),
        dek: capsule[8..40].try_into().unwrap(),
        envelope,
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Puts the MAC in place that the DEK gives, where the lengths say that it is.
pub fn remac(envelope: &mut [u8], dek: &[u8; 32]) {
    let Ok(len) = cmkit::header_len(envelope) else {
        return;
    };
    let Some(header) = envelope.get_mut(..len) else {
        return;
    };
    let (covered, mac) = header.split_at_mut(len - 32);
    // HKDF-Expand of one block (RFC 5869, 2.3).
    let mut expand = Hmac::<Sha512>::new_from_slice(dek).expect("any length will do");
    expand.update(b"cmkit/v1/header-mac\0\0\x01\x01");
    let key = expand.finalize().into_bytes();
    let mut tag = Hmac::<Sha256>::new_from_slice(&key[..32]).expect("any length will do");
    tag.update(covered);
    mac.copy_from_slice(&tag.finalize().into_bytes());
}
