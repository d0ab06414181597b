//! DEKs for encrypting.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fakes::{Call, Fake};
use super::{Scene, TEXT, dek_of, key, none};
use crate::{DekPolicy, ErrorKind, KeyId, KeyState, Keyring, ProviderErrorKind};

fn version(n: u64) -> String {
    format!("test:a/{n:032x}")
}

#[test]
fn one_dek_serves_until_it_is_too_old() {
    let scene = Scene::new(DekPolicy::default().max_age(Duration::from_secs(60)));
    let first = scene.dek();
    scene.pass(59);
    assert_eq!(scene.dek(), first);
    assert_eq!(scene.wraps(), 1);
    scene.pass(1);
    assert_ne!(scene.dek(), first);
    assert_eq!(scene.wraps(), 2);
}

#[test]
fn age_counts_from_before_the_provider_was_asked() {
    let scene = Scene::new(DekPolicy::default().max_age(Duration::from_secs(60)));
    let seconds = Arc::clone(&scene.seconds);
    scene.fake.hook(move |_| {
        seconds.fetch_add(50, Ordering::SeqCst);
        Ok(())
    });
    let first = scene.dek();
    scene.pass(9);
    assert_eq!(scene.dek(), first);
    scene.pass(1);
    assert_ne!(scene.dek(), first);
}

#[test]
fn one_dek_serves_so_many_messages() {
    let scene = Scene::new(DekPolicy::default().max_messages(3));
    let deks: Vec<_> = (0..7).map(|_| scene.dek()).collect();
    assert_eq!(deks[0], deks[2]);
    assert_ne!(deks[2], deks[3]);
    assert_eq!(deks[3], deks[5]);
    assert_ne!(deks[5], deks[6]);
    assert_eq!(scene.wraps(), 3);
}

#[test]
fn one_dek_serves_so_many_bytes_and_cuts_no_message() {
    let scene = Scene::new(DekPolicy::default().max_bytes(20));
    let first = scene.dek();
    // 14 of 20 bytes are used: it takes another message, which may go beyond.
    assert_eq!(
        dek_of(&scene.keyring.encrypt(&[0; 1000], &none()).unwrap()),
        first
    );
    assert_ne!(scene.dek(), first);
}

#[test]
fn a_zero_caches_nothing() {
    let policy = DekPolicy::default();
    for policy in [
        policy.max_age(Duration::ZERO),
        policy.max_messages(0),
        policy.max_bytes(0),
        policy.max_entries(0),
        DekPolicy::no_cache(),
    ] {
        let scene = Scene::new(policy);
        let envelopes = [scene.seal(), scene.seal()];
        assert_ne!(dek_of(&envelopes[0]), dek_of(&envelopes[1]), "{policy:?}");
        assert_eq!(scene.wraps(), 2);
        for _ in 0..2 {
            assert_eq!(scene.open(&envelopes[0]).unwrap(), TEXT);
        }
        assert_eq!(scene.unwraps(), 2);
        assert!(
            scene
                .keyring
                .encrypt_cached_into(TEXT, &none(), &mut [0; 1000])
                .is_none()
        );
    }
}

#[test]
fn no_value_means_for_ever() {
    for policy in [
        DekPolicy::default().max_messages((1 << 32) + 1),
        DekPolicy::default().max_messages(u64::MAX),
        DekPolicy::default().max_age(Duration::from_secs(24 * 3600 + 1)),
        DekPolicy::default().max_age(Duration::MAX),
    ] {
        let built = Keyring::builder().policy(policy).build();
        assert_eq!(built.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn failures_are_not_kept() {
    let scene = Scene::new(DekPolicy::default());
    scene.fake.fail("test:a", ProviderErrorKind::Throttled);
    let error = scene.keyring.encrypt(TEXT, &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert!(error.is_retryable());
    scene.fake.unhook();
    scene.seal();
    assert_eq!(scene.wraps(), 2);
}

#[test]
fn a_cached_dek_looks_after_its_keys_state() {
    for (state, keeps) in [
        (KeyState::Active, true),
        (KeyState::Unavailable, true),
        (KeyState::Revoked, false),
        (KeyState::Unknown, false),
    ] {
        let scene = Scene::new(DekPolicy::default());
        let first = scene.dek();
        scene.fake.set_state(&version(0), state);
        assert_eq!(scene.dek() == first, keeps, "{state:?}");
    }
}

#[test]
fn one_revoked_recipient_of_two_is_enough() {
    let scene = Scene::with(&Arc::default(), |b| {
        b.wrap_with(key("test:a")).wrap_with(key("test:b"))
    });
    scene.seal();
    scene
        .fake
        .set_state(&format!("test:b/{:032x}", 0), KeyState::Revoked);
    scene.fake.fail("test:b", ProviderErrorKind::Disabled);
    let error = scene.keyring.encrypt(TEXT, &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyDisabled);
    assert!(
        scene
            .keyring
            .encrypt_cached_into(TEXT, &none(), &mut [0; 1000])
            .is_none()
    );
}

#[test]
fn the_version_asked_for_is_the_one_that_wraps() {
    let scene = Scene::with(&Arc::default(), |b| b.wrap_with(key(&version(5))));
    scene.seal();
    assert_eq!(scene.fake.calls(), [Call::Wrap(version(5))]);
    let newest = Scene::new(DekPolicy::default());
    newest.seal();
    assert_eq!(newest.fake.calls(), [Call::Wrap("test:a".to_owned())]);
}

#[test]
fn a_provider_that_wraps_with_another_key_is_refused() {
    for (asked, says) in [
        ("test:a".to_owned(), format!("test:b/{:032x}", 0)),
        (version(1), version(2)),
        ("test:a".to_owned(), format!("https://h/keys/a/{:032x}", 0)),
    ] {
        let scene = Scene::with(&Arc::default(), |b| b.wrap_with(key(&asked)));
        *scene.fake.says.lock().unwrap() = Some(KeyId::parse(&says).unwrap());
        let error = scene.keyring.encrypt(TEXT, &none()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Policy, "{asked} {says}");
    }
}

#[test]
fn two_wrapping_keys_that_are_one_are_refused() {
    let built = Keyring::builder()
        .provider(Arc::<Fake>::default() as _)
        .wrap_with(key("test:a"))
        .wrap_with(key("test:a"))
        .build();
    assert_eq!(built.unwrap_err().kind(), ErrorKind::InvalidArgument);
    // The newest version happens to be the one that is given too.
    let scene = Scene::with(&Arc::default(), |b| {
        b.wrap_with(key("test:a")).wrap_with(key(&version(0)))
    });
    let error = scene.keyring.encrypt(TEXT, &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Policy);
}

#[test]
fn messages_are_never_sealed_under_a_dek_that_was_unwrapped() {
    let fake = Arc::new(Fake::default());
    let [one, other] = [(); 2].map(|()| Scene::with(&fake, |b| b.wrap_with(key("test:a"))));
    let envelope = one.seal();
    assert_eq!(other.open(&envelope).unwrap(), TEXT);
    assert_ne!(other.dek(), dek_of(&envelope));
    assert_eq!(one.open(&envelope).unwrap(), TEXT);
    assert_eq!(
        one.dek(),
        dek_of(&envelope),
        "its own DEK stays the one it made"
    );
}

#[test]
fn a_keyring_without_wrapping_keys_only_decrypts() {
    let scene = Scene::with(&Arc::default(), |b| b);
    let error = scene.keyring.encrypt(TEXT, &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Policy);
    assert_eq!(scene.fake.calls(), []);
}

#[test]
fn a_rotated_key_is_used_when_the_dek_is_renewed() {
    let scene = Scene::new(DekPolicy::default().max_messages(1));
    let first = scene.seal();
    scene.fake.rotate();
    let second = scene.seal();
    let versions =
        [first, second].map(|e| crate::inspect(&e).unwrap().recipients[0].key_id.to_string());
    assert_eq!(versions, [version(0), version(1)]);
}

#[test]
fn all_forms_of_data_share_one_dek() {
    let scene = Scene::new(DekPolicy::default());
    let dek = scene.dek();
    let padded = crate::StreamOptions::default().padded_header(crate::HeaderPadding::FileBlock);
    let stream = scene
        .keyring
        .encryptor_with(Vec::new(), &none(), padded)
        .unwrap();
    assert_eq!(dek_of(&stream.finish().unwrap()), dek);
    let mut buffer = vec![0; 1000];
    scene
        .keyring
        .encrypt_into(TEXT, &none(), &mut buffer)
        .unwrap();
    assert_eq!(dek_of(&buffer), dek);
    assert_eq!(scene.wraps(), 1);
}
