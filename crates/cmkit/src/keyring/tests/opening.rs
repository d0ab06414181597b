//! DEKs for decrypting.

use std::sync::Arc;
use std::time::Duration;

use super::fakes::{Call, Fake};
use super::{Scene, TEXT, dek_of, key, none};
use crate::{AllowEntry, DekPolicy, ErrorKind, KeyState, Keyring, ProviderErrorKind};

const A0: &str = "test:a/00000000000000000000000000000000";
const B0: &str = "test:b/00000000000000000000000000000000";

/// An envelope for `test:a` and `test:b`, and a scene that may open it with either.
fn two_recipients(policy: DekPolicy) -> (Scene, Vec<u8>) {
    let fake = Arc::new(Fake::default());
    let writer = Scene::with(&fake, |b| {
        b.wrap_with(key("test:a")).wrap_with(key("test:b"))
    });
    let envelope = writer.seal();
    let allow = |name| AllowEntry::Key(key(name));
    let scene = Scene::with(&fake, |b| {
        b.policy(policy)
            .allow(allow("test:a"))
            .allow(allow("test:b"))
    });
    fake.forget_calls();
    (scene, envelope)
}

fn unwrapped(key: &str) -> Call {
    Call::Unwrap(key.to_owned())
}

#[test]
fn a_header_seen_before_asks_nobody() {
    let scene = Scene::new(DekPolicy::default());
    let envelopes = [scene.seal(), scene.seal()];
    for envelope in envelopes.iter().cycle().take(6) {
        assert_eq!(scene.open(envelope).unwrap(), TEXT);
    }
    assert_eq!(scene.unwraps(), 1);
    let mut out = vec![0; 1000];
    let cached = scene
        .keyring
        .decrypt_cached_into(&envelopes[0], &none(), &mut out);
    assert_eq!(cached.unwrap().unwrap(), TEXT.len());
}

#[test]
fn the_cached_form_does_nothing_on_a_miss() {
    let scene = Scene::new(DekPolicy::default());
    let envelope = scene.seal();
    let mut out = vec![7; 1000];
    assert!(
        scene
            .keyring
            .decrypt_cached_into(&envelope, &none(), &mut out)
            .is_none()
    );
    assert_eq!(out, [7; 1000]);
    assert_eq!(scene.unwraps(), 0);
}

#[test]
fn age_messages_and_bytes_bound_a_hit() {
    let policy = DekPolicy::default();
    let (scene, envelope) = two_recipients(policy.max_age(Duration::from_secs(60)));
    for (seconds, unwraps) in [(0, 1), (59, 1), (1, 2), (59, 2), (1, 3)] {
        scene.pass(seconds);
        scene.open(&envelope).unwrap();
        assert_eq!(scene.unwraps(), unwraps, "after {seconds} s");
    }
    let (scene, envelope) = two_recipients(policy.max_messages(2));
    for unwraps in [1, 1, 2, 2, 3] {
        scene.open(&envelope).unwrap();
        assert_eq!(scene.unwraps(), unwraps);
    }
    let (scene, envelope) = two_recipients(policy.max_bytes(TEXT.len() as u64 + 1));
    for unwraps in [1, 1, 2, 2, 3] {
        scene.open(&envelope).unwrap();
        assert_eq!(scene.unwraps(), unwraps);
    }
}

#[test]
fn entries_bound_the_cache() {
    let fake = Arc::new(Fake::default());
    let writer = Scene::with(&fake, |b| {
        b.policy(DekPolicy::no_cache()).wrap_with(key("test:a"))
    });
    let scene = Scene::with(&fake, |b| {
        b.policy(DekPolicy::default().max_entries(2))
            .wrap_with(key("test:a"))
    });
    let envelopes: Vec<_> = (0..3).map(|_| writer.seal()).collect();
    for (envelope, unwraps) in [(0, 1), (1, 2), (0, 2), (2, 3), (0, 3), (1, 4), (2, 5)] {
        scene.open(&envelopes[envelope]).unwrap();
        assert_eq!(scene.unwraps(), unwraps, "envelope {envelope}");
    }
}

#[test]
fn a_hit_looks_after_every_recipients_state() {
    // The opener is test:a. What it is to be afterwards, and whether a provider is asked again.
    for (name, state, outcome, unwraps) in [
        (A0, KeyState::Active, Ok(()), 1),
        (A0, KeyState::Unavailable, Ok(()), 1),
        (A0, KeyState::Revoked, Err(ErrorKind::KeyDisabled), 1),
        (A0, KeyState::Unknown, Ok(()), 2),
        (B0, KeyState::Unavailable, Ok(()), 1),
        (B0, KeyState::Unknown, Ok(()), 1),
        (B0, KeyState::Revoked, Err(ErrorKind::KeyDisabled), 1),
    ] {
        let (scene, envelope) = two_recipients(DekPolicy::default());
        scene.open(&envelope).unwrap();
        scene.fake.set_state(name, state);
        assert_eq!(scene.open(&envelope).map(drop), outcome, "{name} {state:?}");
        assert_eq!(scene.unwraps(), unwraps, "{name} {state:?}");
        // And not only the first time.
        assert_eq!(scene.open(&envelope).map(drop), outcome, "{name} {state:?}");
        scene.fake.set_state(name, KeyState::Active);
        assert_eq!(scene.open(&envelope).unwrap(), TEXT, "back in service");
    }
}

#[test]
fn a_key_on_no_list_is_refused_before_any_provider_is_asked() {
    let (scene, envelope) = two_recipients(DekPolicy::default());
    for allow in [
        vec![],
        vec![AllowEntry::Key(key("test:c"))],
        vec![AllowEntry::Host("test".into())],
    ] {
        let reader = Scene::with(&scene.fake, |b| {
            allow.into_iter().fold(b, crate::KeyringBuilder::allow)
        });
        assert_eq!(reader.open(&envelope), Err(ErrorKind::KeyNotAllowed));
    }
    assert_eq!(scene.fake.calls(), []);
}

#[test]
fn only_keys_on_the_list_are_asked() {
    let (scene, envelope) = two_recipients(DekPolicy::default());
    let reader = Scene::with(&scene.fake, |b| b.allow(AllowEntry::Key(key("test:b"))));
    assert_eq!(reader.open(&envelope).unwrap(), TEXT);
    assert_eq!(scene.fake.calls(), [unwrapped(B0)]);
    // A revoked key that isn't on the list is none of this keyring's business.
    scene.fake.set_state(A0, KeyState::Revoked);
    assert_eq!(reader.open(&envelope).unwrap(), TEXT);
}

#[test]
fn hosts_are_matched_exactly() {
    let fake = Arc::new(Fake::default());
    let writer = Scene::with(&fake, |b| b.wrap_with(key("https://v.example.net/keys/a")));
    let envelope = writer.seal();
    for (host, allowed) in [
        ("v.example.net", true),
        ("example.net", false),
        ("v.example.net:443", false),
    ] {
        fake.forget_calls();
        let reader = Scene::with(&fake, |b| b.allow(AllowEntry::Host(host.into())));
        let outcome = reader.open(&envelope);
        assert_eq!(outcome.is_ok(), allowed, "{host}");
        assert_eq!(fake.calls().len(), usize::from(allowed), "{host}");
    }
}

#[test]
fn a_host_that_no_key_has_is_refused_at_once() {
    for host in [
        "",
        ".example.net",
        "V.example.net",
        "v.example.net.",
        "*.example.net",
        "https://v.example.net",
        "v.example.net/keys/a",
        "v.example.net:0443",
        "v.example.net\n",
    ] {
        let built = Keyring::builder()
            .allow(AllowEntry::Host(host.into()))
            .build();
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{host}");
        assert!(error.to_string().contains(&format!("{host:?}")), "{host}");
    }
}

#[test]
fn an_allowed_key_is_allowed_in_every_version() {
    let fake = Arc::new(Fake::default());
    let writer = Scene::with(&fake, |b| b.wrap_with(key("test:a")));
    let envelope = writer.seal();
    fake.rotate();
    fake.forget_calls();
    let other = format!("test:a/{:032x}", 9);
    for reader in [
        Scene::with(&fake, |b| b.allow(AllowEntry::Key(key(&other)))),
        Scene::with(&fake, |b| b.wrap_with(key(&other))),
    ] {
        assert_eq!(reader.open(&envelope).unwrap(), TEXT);
    }
    // The version in the envelope, not the newest and not the one on the list.
    assert_eq!(fake.calls(), [unwrapped(A0), unwrapped(A0)]);
}

#[test]
fn the_second_recipient_opens_what_the_first_cannot() {
    for kind in [
        ProviderErrorKind::Unavailable,
        ProviderErrorKind::Throttled,
        ProviderErrorKind::NotFound,
        ProviderErrorKind::Denied,
        ProviderErrorKind::Disabled,
        ProviderErrorKind::Identity,
        ProviderErrorKind::Rejected,
        ProviderErrorKind::Unusable,
        ProviderErrorKind::Other,
    ] {
        let (scene, envelope) = two_recipients(DekPolicy::default());
        scene.fake.fail("test:a", kind);
        assert_eq!(scene.open(&envelope).unwrap(), TEXT, "{kind:?}");
        assert_eq!(
            scene.fake.calls(),
            [unwrapped(A0), unwrapped(B0)],
            "each once"
        );
    }
}

#[test]
fn of_two_failures_the_one_that_helps_is_reported() {
    for (a, b, reported) in [
        (
            ProviderErrorKind::Unavailable,
            ProviderErrorKind::NotFound,
            ErrorKind::Unavailable,
        ),
        (
            ProviderErrorKind::NotFound,
            ProviderErrorKind::Throttled,
            ErrorKind::Throttled,
        ),
        (
            ProviderErrorKind::Rejected,
            ProviderErrorKind::NotFound,
            ErrorKind::KeyNotFound,
        ),
        (
            ProviderErrorKind::Rejected,
            ProviderErrorKind::Rejected,
            ErrorKind::Authentication,
        ),
        (
            ProviderErrorKind::NotFound,
            ProviderErrorKind::Disabled,
            ErrorKind::KeyDisabled,
        ),
    ] {
        let (scene, envelope) = two_recipients(DekPolicy::default());
        scene.fake.hook(move |call| {
            let kind = if *call == unwrapped(A0) { a } else { b };
            Err(crate::ProviderError::new(kind, "as told"))
        });
        assert_eq!(scene.open(&envelope), Err(reported), "{a:?} {b:?}");
        assert_eq!(scene.unwraps(), 2, "each once");
    }
}

#[test]
fn a_capsule_that_does_not_fit_is_not_authentic() {
    let right = {
        let (scene, envelope) = two_recipients(DekPolicy::default());
        scene.open(&envelope).unwrap();
        dek_of(&envelope)
    };
    for capsule in [
        vec![],
        vec![0; 71],
        vec![0; 72],
        vec![0; 73],
        right.0.to_vec(),
        vec![7; 4096],
    ] {
        let (scene, envelope) = two_recipients(DekPolicy::default());
        *scene.fake.capsule.lock().unwrap() = Some(capsule);
        assert_eq!(scene.open(&envelope), Err(ErrorKind::Authentication));
        assert_eq!(scene.unwraps(), 1, "no other recipient is tried");
        // And it is not kept.
        *scene.fake.capsule.lock().unwrap() = None;
        assert_eq!(scene.open(&envelope).unwrap(), TEXT);
    }
}

#[test]
fn a_provider_of_another_name_is_not_asked() {
    struct Renamed(Arc<Fake>);
    impl crate::KeyProvider for Renamed {
        fn name(&self) -> &str {
            "renamed"
        }
        fn owns(&self, key: &crate::KeyRef) -> bool {
            self.0.owns(key)
        }
        fn wrap(
            &self,
            request: &crate::WrapRequest<'_>,
        ) -> Result<crate::WrappedKey, crate::ProviderError> {
            self.0.wrap(request)
        }
        fn unwrap(
            &self,
            request: &crate::UnwrapRequest<'_>,
        ) -> Result<crate::SecretBytes, crate::ProviderError> {
            self.0.unwrap(request)
        }
    }
    let (scene, envelope) = two_recipients(DekPolicy::default());
    let keyring = crate::Keyring::builder()
        .provider(Arc::new(Renamed(Arc::clone(&scene.fake))))
        .wrap_with(key("test:a"))
        .build()
        .unwrap();
    assert_eq!(
        keyring.decrypt(&envelope, &none()).unwrap_err().kind(),
        ErrorKind::Policy
    );
    assert_eq!(scene.fake.calls(), []);
}

#[test]
fn another_workspace_is_refused_before_any_provider_is_asked() {
    let fake = Arc::new(Fake::default());
    let of = |name: Option<&'static str>| {
        Scene::with(&fake, |b| {
            let b = b.wrap_with(key("test:a"));
            match name {
                Some(name) => b.workspace(name),
                None => b,
            }
        })
    };
    let names = [None, Some("one"), Some("two"), Some("On"), Some("one ")];
    for writer in names {
        let envelope = of(writer).seal();
        for reader in names {
            fake.forget_calls();
            let outcome = of(reader).open(&envelope);
            if writer == reader {
                assert_eq!(outcome.unwrap(), TEXT);
            } else {
                assert_eq!(outcome, Err(ErrorKind::Policy), "{writer:?} {reader:?}");
                assert_eq!(fake.calls(), []);
            }
        }
    }
}

#[test]
fn names_of_workspaces_have_limits() {
    for (len, fits) in [(0, false), (1, true), (512, true), (513, false)] {
        let built = crate::Keyring::builder().workspace("w".repeat(len)).build();
        assert_eq!(built.is_ok(), fits, "{len}");
    }
}
