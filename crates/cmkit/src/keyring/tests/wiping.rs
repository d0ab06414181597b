//! No DEK, no capsule and no key expanded from a DEK outlives the keyring that had it.

use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use super::{TEXT, key, none};
use crate::crypto::ExpandKey;
use crate::crypto::tests::memory::{Needle, find, found_after};
use crate::{
    KeyProvider, Keyring, ProviderError, Rewrap, SecretBytes, UnwrapRequest, WrapAlgorithm,
    WrapRequest, WrappedKey,
};

/// "Wraps" under a mask, so that what is wrapped isn't in memory as it is, and keeps the last one.
#[derive(Default)]
struct Masking(Mutex<Vec<u8>>);

const MASK: u8 = 0xC5;

fn mask(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|b| b ^ MASK).collect()
}

impl KeyProvider for Masking {
    fn name(&self) -> &str {
        "test"
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        let wrapped = mask(request.plaintext);
        // It is there now: the search finds what there is.
        assert!(!find(&[Needle::of("capsule", request.plaintext)]).is_empty());
        self.0.lock().unwrap().clone_from(&wrapped);
        Ok(WrappedKey {
            key: request.key.with_version(&"0".repeat(32)).unwrap(),
            algorithm: WrapAlgorithm::A256Kw,
            wrapped,
        })
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        Ok(SecretBytes::new(mask(request.wrapped)))
    }
}

impl Masking {
    /// The secrets of the last DEK.
    fn needles(&self) -> Vec<Needle> {
        let capsule = Zeroizing::new(mask(&self.0.lock().unwrap()));
        let dek: Box<Zeroizing<[u8; 32]>> = Needle::of("DEK", &capsule[8..40]).reveal();
        let mut needles = vec![Needle::of("DEK", &dek[..]), Needle::of("capsule", &capsule)];
        for label in ["header-mac", "body"] {
            let mut expanded = Box::new(Zeroizing::new([0; 32]));
            let info = format!("cmkit/v1/{label}\0\0\u{1}");
            ExpandKey::new(&dek).expand(&[info.as_bytes()], &mut expanded[..]);
            needles.push(Needle::of(label, &expanded[..]));
        }
        needles
    }
}

fn keyring(provider: &Arc<Masking>) -> Keyring {
    let builder = Keyring::builder().provider(Arc::clone(provider) as _);
    builder.wrap_with(key("test:a")).build().unwrap()
}

#[test]
fn what_sealed_is_gone() {
    let provider = Arc::new(Masking::default());
    let sealing = keyring(&provider);
    sealing.encrypt(TEXT, &none()).unwrap();
    let needles = provider.needles();
    drop(sealing);
    assert_eq!(find(&needles), [""; 0]);
}

#[test]
fn what_opened_or_rewrapped_is_gone() {
    let provider = Arc::new(Masking::default());
    let envelope = keyring(&provider).encrypt(TEXT, &none()).unwrap();
    let needles = provider.needles();
    let found = found_after(&needles, || {
        let opening = keyring(&provider);
        assert_eq!(opening.decrypt(&envelope, &none()).unwrap(), TEXT);
        let mut damaged = envelope.clone();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(opening.decrypt(&damaged, &none()).is_err());
        // A header whose MAC is wrong has been unwrapped all the same.
        let header = crate::header_len(&envelope).unwrap();
        let mut forged = envelope.clone();
        forged[header - 1] ^= 1;
        assert!(opening.decrypt(&forged, &none()).is_err());
        opening
            .rewrap(&envelope, &Rewrap::to(key("test:b")))
            .unwrap();
    });
    assert_eq!(found, [""; 0]);
}
