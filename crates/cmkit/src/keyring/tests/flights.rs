//! Threads that need the same DEK, providers that fail while others wait, and providers that call back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use super::fakes::{Call, Fake};
use super::{Scene, TEXT, dek_of, key, none};
use crate::{DekPolicy, ErrorKind, Keyring, ProviderError, ProviderErrorKind};

const THREADS: usize = 8;

/// Runs `work` on many threads at once; what each returned.
fn at_once<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let threads = [(); THREADS].map(|()| {
            scope.spawn(|| {
                barrier.wait();
                work()
            })
        });
        threads.map(|t| t.join().unwrap()).into_iter().collect()
    })
}

fn slow(fake: &Fake) {
    fake.hook(|_| {
        thread::sleep(Duration::from_millis(100));
        Ok(())
    });
}

#[test]
fn threads_that_seal_share_one_wrap() {
    let scene = Scene::new(DekPolicy::default());
    slow(&scene.fake);
    let deks = at_once(|| scene.dek());
    assert!(deks.iter().all(|dek| *dek == deks[0]));
    assert_eq!(scene.wraps(), 1);
}

#[test]
fn threads_that_open_share_one_unwrap() {
    let scene = Scene::new(DekPolicy::default());
    let envelope = scene.seal();
    slow(&scene.fake);
    for opened in at_once(|| scene.open(&envelope)) {
        assert_eq!(opened.unwrap(), TEXT);
    }
    assert_eq!(scene.unwraps(), 1);
}

#[test]
fn another_envelope_does_not_wait() {
    let scene = Scene::new(DekPolicy::default().max_messages(1));
    let [held, other] = [scene.seal(), scene.seal()];
    let (fake, gate) = (Arc::clone(&scene.fake), Arc::new(Barrier::new(2)));
    let first = AtomicBool::new(true);
    let in_provider = Arc::clone(&gate);
    fake.hook(move |_| {
        if first.swap(false, Ordering::SeqCst) {
            in_provider.wait();
            in_provider.wait();
        }
        Ok(())
    });
    thread::scope(|scope| {
        let opening = scope.spawn(|| scene.open(&held));
        gate.wait();
        // The provider is busy with the first one.
        assert_eq!(scene.open(&other).unwrap(), TEXT);
        gate.wait();
        assert_eq!(opening.join().unwrap().unwrap(), TEXT);
    });
}

#[test]
fn who_waited_shares_the_failure_and_it_is_not_kept() {
    let scene = Scene::new(DekPolicy::default());
    scene.fake.hook(|_| {
        thread::sleep(Duration::from_millis(300));
        Err(ProviderError::new(
            ProviderErrorKind::Unavailable,
            "as told",
        ))
    });
    let kinds = at_once(|| scene.keyring.encrypt(TEXT, &none()).unwrap_err().kind());
    assert_eq!(kinds, [ErrorKind::Unavailable; THREADS]);
    // A thread that was late starts anew; that all of them were is not to be expected.
    assert!(scene.wraps() < THREADS, "{} calls", scene.wraps());
    scene.fake.unhook();
    scene.seal();
}

#[test]
fn bounds_hold_with_many_threads() {
    let scene = Scene::new(DekPolicy::default().max_messages(10));
    let deks: Vec<_> = at_once(|| (0..25).map(|_| scene.dek()).collect::<Vec<_>>()).concat();
    let uses = |dek| deks.iter().filter(|other| **other == dek).count();
    assert!(deks.iter().all(|dek| uses(*dek) <= 10));
    let envelope = scene.seal();
    let opened = Scene::with(&scene.fake, |b| {
        b.policy(DekPolicy::default().max_messages(10))
            .wrap_with(key("test:a"))
    });
    scene.fake.forget_calls();
    at_once(|| (0..25).for_each(|_| drop(opened.open(&envelope).unwrap())));
    assert!(opened.unwraps() >= THREADS * 25 / 10);
}

#[test]
fn a_provider_that_panics_takes_nobody_with_it() {
    let scene = Scene::new(DekPolicy::default());
    let envelope = scene.seal();
    let fresh = Scene::with(&scene.fake, |b| b.wrap_with(key("test:a")));
    fresh.fake.hook(|_| panic!("a fault of the provider's"));
    for _ in 0..2 {
        let sealing = thread::scope(|s| s.spawn(|| fresh.seal()).join());
        let opening = thread::scope(|s| s.spawn(|| fresh.open(&envelope)).join());
        assert!(sealing.is_err() && opening.is_err());
    }
    fresh.fake.unhook();
    fresh.seal();
    assert_eq!(fresh.open(&envelope).unwrap(), TEXT);
}

#[test]
fn a_provider_that_calls_its_keyring_gets_an_error() {
    let scene = Scene::new(DekPolicy::default());
    let envelope = scene.seal();
    let keyring = Arc::new(OnceLock::<Keyring>::new());
    let (kinds, calls) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let reentrant = Scene::with(&Arc::default(), |b| b.wrap_with(key("test:a")));
    let hook = {
        let (keyring, kinds, calls, envelope) = (
            Arc::clone(&keyring),
            Arc::clone(&kinds),
            Arc::clone(&calls),
            envelope.clone(),
        );
        move |_: &Call| {
            if calls.fetch_add(1, Ordering::SeqCst) == 0 {
                let keyring = keyring.get().unwrap();
                let outcomes = [
                    keyring.encrypt(TEXT, &none()).map(drop),
                    keyring.encrypt_compact(TEXT, &none()).map(drop),
                    keyring.decrypt(&envelope, &none()).map(drop),
                    keyring
                        .rewrap(&envelope, &crate::Rewrap::to(key("test:b")))
                        .map(drop),
                ];
                kinds
                    .set(outcomes.map(|outcome| outcome.unwrap_err().kind()))
                    .unwrap();
            }
            Ok(())
        }
    };
    reentrant.fake.hook(hook);
    keyring.set(reentrant.keyring.clone()).unwrap();
    reentrant.seal();
    assert_eq!(kinds.get(), Some(&[ErrorKind::Policy; 4]));
    // A keyring of its own is fine.
    let inner = Scene::new(DekPolicy::default());
    let outer = Scene::new(DekPolicy::default());
    outer.fake.hook(move |_| {
        inner.seal();
        Ok(())
    });
    outer.seal();
    // And the list of callers is empty again.
    reentrant.fake.unhook();
    assert_eq!(dek_of(&reentrant.seal()), reentrant.dek());
}
