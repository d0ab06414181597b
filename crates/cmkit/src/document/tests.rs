//! Documents: round trips, damage, and what failures leave behind.

use std::ops::Deref;
use std::sync::Arc;

use proptest::prelude::*;

use crate::chunked::CHUNK_LEN;
use crate::chunked::tests::sample;
use crate::{
    DirectoryKeyStore, EncryptionContext, Error, KeyRef, KeyType, Keyring, LocalKeyProvider,
    Result, decrypted_len,
};

/// A keyring of an A256KW key and a key store, in a directory that goes with it.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    keyring: Keyring,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let provider = LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap();
        provider.create_key("team", KeyType::Oct256).unwrap();
        let store = DirectoryKeyStore::open_or_create(dir.path().join("store")).unwrap();
        let keyring = Keyring::builder()
            .provider(Arc::new(provider))
            .wrap_with(KeyRef::local("team").unwrap())
            .key_store(Arc::new(store))
            .build()
            .unwrap();
        Self { dir, keyring }
    }
}

impl Deref for Fixture {
    type Target = Keyring;
    fn deref(&self) -> &Keyring {
        &self.keyring
    }
}

pub(crate) fn context() -> EncryptionContext {
    EncryptionContext::new([("doc", "42")]).unwrap()
}

/// Decrypts in every way, all of which must agree, and leave only zeros behind when they fail.
#[track_caller]
fn decrypt_every_way(
    keyring: &Keyring,
    envelope: &[u8],
    context: &EncryptionContext,
) -> Result<Vec<u8>> {
    let plain = keyring.decrypt(envelope, context);

    let mut out = vec![0xEE; envelope.len()];
    let into = keyring.decrypt_into(envelope, context, &mut out);
    let mut in_place = envelope.to_vec();
    let placed = keyring.decrypt_in_place(&mut in_place, context);
    match &plain {
        Ok(plaintext) => {
            assert_eq!(decrypted_len(envelope).unwrap(), plaintext.len() as u64);
            let len = into.unwrap();
            assert!(out[..len] == plaintext[..]);
            assert!(out[len..].iter().all(|b| *b == 0xEE));
            assert!(in_place[..placed.unwrap()] == plaintext[..]);
            assert!(in_place[plaintext.len()..].iter().all(|b| *b == 0));
        }
        Err(error) => {
            assert_eq!(into.unwrap_err().kind(), error.kind());
            assert_eq!(placed.unwrap_err().kind(), error.kind());
            assert!(out.iter().all(|b| *b == 0), "decrypt_into left something");
            assert!(
                in_place.iter().all(|b| *b == 0),
                "decrypt_in_place left something"
            );
        }
    }
    plain
}

#[test]
fn all_forms_round_trip() {
    let f = Fixture::new();
    // From nothing to enough that several threads work on it.
    for len in [0, 1, 1000, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 3 << 20] {
        let plaintext = sample(len);
        let whole = f.encrypt(&plaintext, &context()).unwrap();
        assert_eq!(f.encrypted_len(len as u64).unwrap(), whole.len() as u64);
        assert_eq!(
            f.encrypted_len_cached(len as u64).unwrap().unwrap(),
            whole.len() as u64
        );

        let mut into = vec![0xEE; whole.len() + 3];
        assert_eq!(
            f.encrypt_into(&plaintext, &context(), &mut into).unwrap(),
            whole.len()
        );
        assert_eq!(into[whole.len()..], [0xEE; 3]);
        into.truncate(whole.len());

        let mut in_place = plaintext.clone();
        in_place.resize(whole.len() + 3, 0xEE);
        assert_eq!(
            f.encrypt_in_place(&mut in_place, len, &context()).unwrap(),
            whole.len()
        );
        assert_eq!(in_place[whole.len()..], [0xEE; 3]);
        in_place.truncate(whole.len());

        let mut cached = vec![0; whole.len()];
        f.encrypt_cached_into(&plaintext, &context(), &mut cached)
            .unwrap()
            .unwrap();

        let compact = f.encrypt_compact(&plaintext, &context()).unwrap();
        assert_eq!(f.compact_len(len as u64).unwrap(), compact.len() as u64);
        let mut compact_into = vec![0; compact.len()];
        f.encrypt_compact_into(&plaintext, &context(), &mut compact_into)
            .unwrap();

        for envelope in [whole, into, in_place, cached, compact, compact_into] {
            assert!(decrypt_every_way(&f, &envelope, &context()).unwrap() == plaintext);
            let mut out = vec![0; len];
            f.decrypt_cached_into(&envelope, &context(), &mut out)
                .unwrap()
                .unwrap();
            assert!(out == plaintext);
        }
    }
}

#[test]
fn nothing_is_cached_at_first() {
    let f = Fixture::new();
    let mut out = [0xEE; 1000];
    assert!(f.encrypt_cached_into(b"x", &context(), &mut out).is_none());
    assert!(f.encrypted_len_cached(1).is_none());
    assert_eq!(out, [0xEE; 1000]);
    let envelope = f.encrypt(b"x", &context()).unwrap();
    assert!(
        f.decrypt_cached_into(&envelope, &context(), &mut out)
            .is_none()
    );
    assert_eq!(out, [0xEE; 1000]);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let f = Fixture::new();
    let envelope = f.encrypt(&sample(4096), &context()).unwrap();
    let mut changed = envelope.clone();
    let mut out = vec![0; 4096];
    for bit in 0..envelope.len() * 8 {
        changed[bit / 8] ^= 1 << (bit % 8);
        out.fill(0xEE);
        assert!(
            f.decrypt_into(&changed, &context(), &mut out).is_err(),
            "bit {bit}"
        );
        assert!(out.iter().all(|b| *b == 0), "bit {bit}");
        // The slow ways for one bit of each byte.
        if bit % 8 == bit / 8 % 8 {
            assert!(
                decrypt_every_way(&f, &changed, &context()).is_err(),
                "bit {bit}"
            );
        }
        changed[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(f.decrypt(&changed, &context()).is_ok());
}

#[test]
fn every_cut_is_noticed() {
    let f = Fixture::new();
    let envelope = f.encrypt(&sample(4096), &context()).unwrap();
    for len in 0..envelope.len() {
        let error = decrypt_every_way(&f, &envelope[..len], &context()).unwrap_err();
        match len {
            0 => assert!(matches!(error, Error::Format { .. })),
            _ => assert!(
                matches!(error, Error::Truncated | Error::AuthenticationFailed),
                "{len}"
            ),
        }
    }
    let longer = [&envelope[..], &[0]].concat();
    assert!(matches!(
        decrypt_every_way(&f, &longer, &context()),
        Err(Error::AuthenticationFailed)
    ));
}

#[test]
fn cut_behind_a_whole_chunk_is_truncated() {
    let f = Fixture::new();
    let envelope = f.encrypt(&sample(2 * CHUNK_LEN), &context()).unwrap();
    let cut = &envelope[..envelope.len() - 16];
    assert!(matches!(decrypted_len(cut), Err(Error::Truncated)));
    assert!(matches!(
        decrypt_every_way(&f, cut, &context()),
        Err(Error::Truncated)
    ));
}

#[test]
fn another_context_or_keyring_opens_nothing() {
    let f = Fixture::new();
    let envelope = f.encrypt(b"attack at dawn", &context()).unwrap();
    let other = EncryptionContext::new([("doc", "43")]).unwrap();
    for wrong in [other, EncryptionContext::empty()] {
        let error = decrypt_every_way(&f, &envelope, &wrong).unwrap_err();
        assert!(matches!(error, Error::AuthenticationFailed));
    }
    assert!(decrypt_every_way(&Fixture::new(), &envelope, &context()).is_err());
}

#[test]
fn buffers_too_small_say_what_they_need() {
    let f = Fixture::new();
    let envelope = f.encrypt(b"attack at dawn", &context()).unwrap();
    let mut small = vec![0xEE; envelope.len() - 1];
    let expect = |result: Result<usize>, needed: usize, given: usize| match result {
        Err(Error::BufferTooSmall {
            needed: n,
            given: g,
        }) => {
            assert_eq!((n, g), (needed as u64, given as u64));
        }
        other => panic!("{other:?}"),
    };
    expect(
        f.encrypt_into(b"attack at dawn", &context(), &mut small),
        envelope.len(),
        small.len(),
    );
    assert!(small.iter().all(|b| *b == 0));
    small.fill(0xEE);
    expect(
        f.encrypt_in_place(&mut small, 14, &context()),
        envelope.len(),
        small.len(),
    );
    assert!(small.iter().all(|b| *b == 0));
    let mut small = [0xEE; 13];
    expect(f.decrypt_into(&envelope, &context(), &mut small), 14, 13);
    assert_eq!(small, [0; 13]);

    let result = f.encrypt_in_place(&mut [1; 10], 11, &context());
    assert!(matches!(result, Err(Error::InvalidArgument { .. })));
    assert!(matches!(
        f.encrypted_len(1 << 52),
        Err(Error::InvalidArgument { .. })
    ));
}

#[test]
fn what_was_never_encrypted_is_a_format_error() {
    let f = Fixture::new();
    for bytes in [&b"plain text"[..], b"", &[0; 5000], b"\x89PNG\r\n\x1a\n"] {
        let error = decrypt_every_way(&f, bytes, &context()).unwrap_err();
        assert!(matches!(error, Error::Format { .. }));
        assert!(matches!(decrypted_len(bytes), Err(Error::Format { .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn around_the_boundaries_of_chunks(chunks in 0..70usize, by in -1..=1isize) {
        let f = Fixture::new();
        let plaintext = sample((chunks * CHUNK_LEN).saturating_add_signed(by));
        let envelope = f.encrypt(&plaintext, &context()).unwrap();
        prop_assert!(decrypt_every_way(&f, &envelope, &context()).unwrap() == plaintext);
    }
}
