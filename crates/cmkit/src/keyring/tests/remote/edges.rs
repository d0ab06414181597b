//! Where it is easy to ask too often, to say the wrong thing, or to stop for good.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::super::freshness::Freshness;
use super::super::super::health::{Evidence, KeyHealth};
use super::*;

impl Scene {
    fn wraps(&self) -> usize {
        self.vault.wraps.load(Ordering::SeqCst)
    }

    fn panic_in_the_next_unwrap(&self) {
        *self.vault.before_answer.lock().unwrap() = Some(Box::new(|| panic!("a provider's bug")));
    }
}

#[test]
fn after_a_long_pause_a_dek_serves_for_more_than_one_message() {
    for was_opened in [false, true] {
        let s = Scene::one();
        let envelope = s.seal();
        if was_opened {
            s.opens(&envelope);
        }
        // Longer than another key of the envelope might serve in its place.
        s.pass(25 * HOUR);
        s.keyring.maintain();
        for _ in 0..10 {
            s.seal();
            s.pass(1);
            s.keyring.maintain();
        }
        assert_eq!(s.wraps(), 2);
    }
}

#[test]
fn a_vault_that_refuses_to_wrap_is_not_hammered() {
    for kind in [
        ProviderErrorKind::Denied,
        ProviderErrorKind::Disabled,
        ProviderErrorKind::Policy,
        ProviderErrorKind::Unusable,
    ] {
        let s = Scene::one();
        s.seal();
        s.pass(HOUR);
        s.vault.fault(KEY, kind);
        for _ in 0..100 {
            let error = s.keyring.encrypt(b"text", &none()).unwrap_err();
            assert_eq!(error.provider().unwrap().kind, kind);
        }
        assert_eq!(s.wraps(), 2, "{kind:?}");
        s.vault.mend();
        s.pass(61);
        s.seal();
    }
}

#[test]
fn a_panic_does_not_end_the_maintenance() {
    let s = Scene::one();
    s.opens(&s.seal());
    s.pass(6 * MINUTE + 1);
    s.panic_in_the_next_unwrap();
    let next = s.keyring.shared().round();
    assert!(!next.is_zero());
    s.keyring.shared().round();
    assert_eq!(s.vault.unwraps(), 3);
}

#[test]
fn a_panic_leaves_no_flight_behind() {
    let s = Scene::one();
    let envelope = s.seal();
    s.panic_in_the_next_unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| s.open(&envelope))).is_err());
    let flights = || {
        s.keyring
            .shared()
            .caches()
            .open
            .flights
            .lock()
            .unwrap()
            .len()
    };
    assert_eq!(flights(), 0);
    s.opens(&envelope);
    assert_eq!(flights(), 0);
}

#[test]
fn a_forked_child_knows_that_a_key_was_taken_away() {
    let s = Scene::one();
    let now = s.keyring.shared().clock.now();
    let id = s.vault.newest_of(&KeyRef::parse(KEY).unwrap());
    let (parent, child) = (KeyHealth::new(id.clone(), 0), KeyHealth::new(id, 0));
    let evidence = Evidence {
        algorithm: WrapAlgorithm::A256Kw,
        wrapped: Vec::new(),
    };
    parent.wrapped(now, evidence, &Freshness::default());
    let ticket = parent.admit(now).unwrap();
    let no = ProviderError::new(ProviderErrorKind::Denied, "as told");
    parent.failed(&ticket, now, &no);
    child.inherit(&parent);
    let reason = child.reason(now);
    assert_eq!(reason.kind, ProviderErrorKind::Disabled);
    assert!(!reason.retryable);
}

#[test]
fn a_clock_that_stands_at_zero_makes_no_key_unheard_of() {
    let (clock, seconds) = Clock::manual(0);
    let vault = Vault::at("v.vault.azure.net");
    let keyring = Keyring::builder()
        .clock(clock)
        .provider(Arc::clone(&vault) as _)
        .wrap_with(KeyRef::parse(KEY).unwrap())
        .build()
        .unwrap();
    let envelope = keyring.encrypt(b"text", &none()).unwrap();
    for _ in 0..10 {
        keyring.decrypt(&envelope, &none()).unwrap();
    }
    assert_eq!(vault.unwraps(), 1);
    seconds.fetch_add(10 * MINUTE, Ordering::SeqCst);
    keyring.decrypt(&envelope, &none()).unwrap();
    assert_eq!(vault.unwraps(), 2);
}

#[test]
fn a_time_limit_beyond_the_clock_is_none() {
    let keyring = Keyring::builder()
        .provider(Vault::at("v.vault.azure.net"))
        .wrap_with(KeyRef::parse(KEY).unwrap())
        .call_timeout(Duration::MAX)
        .build()
        .unwrap();
    keyring.encrypt(b"text", &none()).unwrap();
}
