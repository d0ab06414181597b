//! Keys that are held elsewhere: asked again, let go, brought back.

mod edges;
mod volumes;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::crypto::{key_wrap, sha256};
use crate::seams::Clock;
use crate::{
    AllowEntry, EncryptionContext, Error, ErrorKind, Freshness, KeyId, KeyProvider, KeyRef,
    Keyring, NewestKey, NewestRequest, ProviderError, ProviderErrorKind, SecretBytes,
    UnwrapRequest, WrapAlgorithm, WrapRequest, WrappedKey,
};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// A vault: any key `https://HOST/keys/NAME`, whose newest version is a number.
#[derive(Default)]
struct Vault {
    host: &'static str,
    newest: AtomicU64,
    wraps: AtomicUsize,
    unwraps: AtomicUsize,
    polls: AtomicUsize,
    /// How calls about a key id that begins with this fail.
    faults: Mutex<HashMap<String, ProviderErrorKind>>,
    /// Runs in an unwrap, after it was decided and before it is answered.
    before_answer: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Vault {
    fn at(host: &'static str) -> Arc<Self> {
        Arc::new(Self {
            host,
            ..Self::default()
        })
    }

    fn fault(&self, about: &str, kind: ProviderErrorKind) {
        self.faults.lock().unwrap().insert(about.to_owned(), kind);
    }

    fn mend(&self) {
        self.faults.lock().unwrap().clear();
    }

    fn calls(&self) -> usize {
        self.wraps.load(Ordering::SeqCst)
            + self.unwraps.load(Ordering::SeqCst)
            + self.polls.load(Ordering::SeqCst)
    }

    fn unwraps(&self) -> usize {
        self.unwraps.load(Ordering::SeqCst)
    }

    fn outcome(&self, key: &KeyRef) -> Result<(), ProviderError> {
        let faults = self.faults.lock().unwrap();
        match faults
            .iter()
            .find(|(about, _)| key.as_str().starts_with(about.as_str()))
        {
            Some((_, kind)) => Err(ProviderError::new(*kind, "as told").on_key(key)),
            None => Ok(()),
        }
    }

    fn newest_of(&self, key: &KeyRef) -> KeyId {
        let version = format!("{:032x}", self.newest.load(Ordering::SeqCst));
        key.with_version(key.version().unwrap_or(&version)).unwrap()
    }
}

fn kek(id: &KeyId) -> [u8; 32] {
    sha256(&[id.as_str().as_bytes()])
}

impl KeyProvider for Vault {
    fn name(&self) -> &str {
        "vault"
    }

    fn owns(&self, key: &KeyRef) -> bool {
        key.host() == Some(self.host)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        self.wraps.fetch_add(1, Ordering::SeqCst);
        self.outcome(request.key)?;
        let key = self.newest_of(request.key);
        self.outcome(&key)?;
        Ok(WrappedKey {
            wrapped: key_wrap::wrap(&kek(&key), request.plaintext).unwrap(),
            algorithm: WrapAlgorithm::A256Kw,
            key,
        })
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        self.unwraps.fetch_add(1, Ordering::SeqCst);
        let outcome = self.outcome(request.key);
        let before_answer = self.before_answer.lock().unwrap().take();
        if let Some(before_answer) = before_answer {
            before_answer();
        }
        outcome?;
        key_wrap::unwrap(&kek(request.key), request.wrapped)
            .map(SecretBytes::from)
            .map_err(|_| ProviderError::new(ProviderErrorKind::Rejected, "not this key's"))
    }

    fn newest(&self, request: &NewestRequest<'_>) -> Result<Option<NewestKey>, ProviderError> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.outcome(request.key)?;
        Ok(Some(NewestKey {
            key: self.newest_of(request.key),
            created: None,
        }))
    }
}

struct Scene {
    vault: Arc<Vault>,
    other: Arc<Vault>,
    running: Arc<AtomicU64>,
    wall: Arc<AtomicU64>,
    keyring: Keyring,
}

const KEY: &str = "https://v.vault.azure.net/keys/cmk";
const OTHER: &str = "https://w.vault.azure.net/keys/cmk";

impl Scene {
    fn new(keys: &[&str]) -> Self {
        let (clock, running, wall) = Clock::manual_apart(1_760_000_000);
        let (vault, other) = (
            Vault::at("v.vault.azure.net"),
            Vault::at("w.vault.azure.net"),
        );
        let mut builder = Keyring::builder()
            .clock(clock)
            .provider(Arc::clone(&vault) as _)
            .provider(Arc::clone(&other) as _);
        for key in keys {
            builder = builder.wrap_with(KeyRef::parse(key).unwrap());
        }
        Self {
            vault,
            other,
            running,
            wall,
            keyring: builder.build().unwrap(),
        }
    }

    fn one() -> Self {
        Self::new(&[KEY])
    }

    fn pass(&self, seconds: u64) {
        self.running.fetch_add(seconds, Ordering::SeqCst);
        self.wall.fetch_add(seconds, Ordering::SeqCst);
    }

    fn seal(&self) -> Vec<u8> {
        self.keyring.encrypt(b"text", &none()).unwrap()
    }

    fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, Error> {
        self.keyring.decrypt(envelope, &none())
    }

    #[track_caller]
    fn opens(&self, envelope: &[u8]) {
        assert_eq!(self.open(envelope).unwrap(), b"text");
    }

    #[track_caller]
    fn refuses(&self, envelope: &[u8], kind: ErrorKind) {
        assert_eq!(self.open(envelope).unwrap_err().kind(), kind);
    }

    fn cached(&self, envelope: &[u8]) -> bool {
        let mut out = [0; 16];
        self.keyring
            .decrypt_cached_into(envelope, &none(), &mut out)
            .is_some_and(|r| r.is_ok())
    }
}

fn none() -> EncryptionContext {
    EncryptionContext::default()
}

#[test]
fn within_the_bound_the_vault_is_not_asked_and_beyond_it_is() {
    let s = Scene::one();
    let envelope = s.seal();
    s.opens(&envelope);
    assert_eq!(
        (s.vault.wraps.load(Ordering::SeqCst), s.vault.unwraps()),
        (1, 1)
    );
    s.pass(10 * MINUTE - 1);
    s.opens(&envelope);
    s.seal();
    assert_eq!(s.vault.calls(), 2);
    s.pass(1);
    s.vault.fault(KEY, ProviderErrorKind::Unavailable);
    s.refuses(&envelope, ErrorKind::Unavailable);
    assert_eq!(s.vault.unwraps(), 2);
}

#[test]
fn maintenance_keeps_deks_fresh_by_real_unwraps() {
    let s = Scene::one();
    let envelope = s.seal();
    s.opens(&envelope);
    for _ in 0..50 {
        s.pass(MINUTE);
        let done = s.keyring.maintain();
        assert!(done.problems.is_empty(), "{:?}", done.problems);
        assert!(s.cached(&envelope));
    }
    // Every 4 to 6 minutes.
    let unwraps = s.vault.unwraps() - 1;
    assert!((7..=13).contains(&unwraps), "{unwraps}");
    assert_eq!(s.vault.wraps.load(Ordering::SeqCst), 1);
}

#[test]
fn ten_thousand_documents_in_an_hour_take_few_calls() {
    let s = Scene::one();
    let mut last = s.seal();
    for n in 0..10_000_u64 {
        let due = (n + 1) * HOUR / 10_000;
        s.pass(due - s.wall.load(Ordering::SeqCst));
        if n % 20 == 0 {
            s.keyring.maintain();
        }
        last = s.seal();
        s.opens(&last);
    }
    s.opens(&last);
    // A provider that checks its key when it is bound and again each hour adds six.
    assert!(s.vault.calls() <= 18, "{}", s.vault.calls());
}

#[test]
fn a_definite_no_ends_it_at_once_and_a_real_unwrap_brings_it_back() {
    for kind in [
        ProviderErrorKind::Denied,
        ProviderErrorKind::NotFound,
        ProviderErrorKind::Deleted,
        ProviderErrorKind::Disabled,
        ProviderErrorKind::WrongVault,
    ] {
        let s = Scene::one();
        let (envelope, other) = (s.seal(), s.seal());
        s.opens(&envelope);
        s.opens(&other);
        s.vault.fault(KEY, kind);
        s.pass(6 * MINUTE + 1);
        assert_eq!(s.keyring.maintain().problems.len(), 1);
        // Zeroized, not only refused.
        assert_eq!(s.keyring.shared().caches().open.seen.len(), 0);
        assert!(!s.cached(&envelope));
        let before = s.vault.unwraps();
        for _ in 0..10 {
            assert_eq!(
                s.open(&envelope).unwrap_err().provider().unwrap().kind,
                kind
            );
            assert!(s.keyring.encrypt(b"text", &none()).is_err());
        }
        assert_eq!(s.vault.unwraps(), before, "not asked at each message");
        s.vault.mend();
        s.pass(61);
        s.opens(&envelope);
        s.opens(&s.seal());
    }
}

#[test]
fn a_passing_fault_is_bridged_up_to_the_hard_bound() {
    for kind in [
        ProviderErrorKind::Throttled,
        ProviderErrorKind::Unavailable,
        ProviderErrorKind::Identity,
        ProviderErrorKind::Other,
    ] {
        let s = Scene::one();
        let envelope = s.seal();
        s.opens(&envelope);
        s.vault.fault(KEY, kind);
        s.pass(6 * MINUTE + 1);
        assert_eq!(s.keyring.maintain().problems.len(), 1);
        assert!(s.cached(&envelope), "{kind:?}");
        s.pass(4 * MINUTE - 2);
        s.opens(&envelope);
        s.pass(1);
        assert!(s.open(&envelope).is_err());
        s.keyring.maintain();
        assert_eq!(s.keyring.shared().caches().open.seen.len(), 0);
        s.vault.mend();
        s.pass(33);
        s.opens(&envelope);
    }
}

#[test]
fn a_rejected_message_changes_no_state() {
    let s = Scene::one();
    let envelope = s.seal();
    s.opens(&envelope);
    let mut forged = s.seal();
    let at = forged
        .windows(32)
        .position(|w| w.iter().all(|b| b.is_ascii_hexdigit()))
        .unwrap();
    // Another wrapped DEK behind the key's id.
    forged[at + 40] ^= 1;
    s.refuses(&forged, ErrorKind::Authentication);
    assert!(s.cached(&envelope));
    s.opens(&envelope);
}

#[test]
fn a_made_up_version_concerns_its_message_alone() {
    let s = Scene::one();
    let envelope = s.seal();
    s.opens(&envelope);
    let mut hostile = s.seal();
    let version = format!("{:032x}", 0).into_bytes();
    let at = hostile
        .windows(32)
        .position(|w| w == version.as_slice())
        .unwrap();
    hostile[at] = b'f';
    let made_up = format!("{KEY}/f{:031x}", 0);
    for kind in [ProviderErrorKind::NotFound, ProviderErrorKind::Unavailable] {
        s.vault.fault(&made_up, kind);
        for _ in 0..3 {
            assert!(s.open(&hostile).is_err());
        }
        assert!(s.cached(&envelope));
        assert_eq!(s.keyring.shared().caches().healths.tracked().len(), 1);
    }
}

#[test]
fn a_sleeping_machine_and_a_clock_set_back_make_nothing_young() {
    let s = Scene::one();
    let envelope = s.seal();
    s.opens(&envelope);
    // Asleep: only the clock that runs since the start counts, and the one on the wall was set back.
    s.running.fetch_add(11 * MINUTE, Ordering::SeqCst);
    assert!(!s.cached(&envelope));
    s.opens(&envelope);
    // A restored clock: only the one on the wall moved.
    s.wall.fetch_add(11 * MINUTE, Ordering::SeqCst);
    assert!(!s.cached(&envelope));
}

#[test]
fn an_answer_to_what_was_asked_before_the_revocation_is_dropped() {
    let s = Scene::one();
    let (envelope, late) = (s.seal(), {
        s.pass(HOUR);
        s.seal()
    });
    s.opens(&envelope);
    let keyring = s.keyring.clone();
    let vault = Arc::clone(&s.vault);
    // While the unwrap of `late` is answered yes, the key is taken away, and another call learns of it.
    *s.vault.before_answer.lock().unwrap() = Some(Box::new(move || {
        vault.fault(KEY, ProviderErrorKind::Disabled);
        let health = keyring.shared().caches().healths.tracked().remove(0);
        thread::spawn(move || assert!(keyring.shared().ask_again(&health).is_err()))
            .join()
            .unwrap();
    }));
    s.refuses(&late, ErrorKind::KeyDisabled);
    s.refuses(&envelope, ErrorKind::KeyDisabled);
}

#[test]
fn eight_threads_get_no_plaintext_after_the_bound() {
    let s = Scene::one();
    let envelope = s.seal();
    s.opens(&envelope);
    let taken = AtomicBool::new(false);
    let stop = AtomicBool::new(false);
    let opened_after = AtomicUsize::new(0);
    let opened = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let was_taken = taken.load(Ordering::SeqCst);
                    if s.open(&envelope).is_ok() {
                        opened.fetch_add(1, Ordering::SeqCst);
                        if was_taken {
                            opened_after.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
        scope.spawn(|| s.keyring.maintain());
        while opened.load(Ordering::SeqCst) < 100 {
            thread::yield_now();
        }
        s.vault.fault(KEY, ProviderErrorKind::Disabled);
        for _ in 0..10 {
            s.pass(MINUTE);
        }
        taken.store(true, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(opened_after.load(Ordering::SeqCst), 0);
    // Nothing is lost when it comes back.
    s.vault.mend();
    s.pass(61);
    s.opens(&envelope);
}

#[test]
fn a_stream_under_way_stops_at_its_next_chunk() {
    let s = Scene::one();
    let mut encryptor = s.keyring.encryptor(Vec::new(), &none()).unwrap();
    encryptor.write_all(&[1; 100_000]).unwrap();
    let envelope = s.keyring.encrypt(&[7; 1 << 20], &none()).unwrap();
    let mut decryptor = s.keyring.decryptor(&envelope[..], &none()).unwrap();
    let reader = s.keyring.reader(&envelope[..], &none()).unwrap();
    let mut some = [0; 1000];
    decryptor.read_exact(&mut some).unwrap();
    reader.read_at(&mut some, 0).unwrap();

    // Too long without a word: the streams ask, and go on.
    s.pass(11 * MINUTE);
    encryptor.write_all(&[1; 100_000]).unwrap();
    decryptor.read_exact(&mut some).unwrap();
    reader.read_at(&mut some, 0).unwrap();
    assert_eq!(some, [7; 1000]);

    s.vault.fault(KEY, ProviderErrorKind::Denied);
    s.pass(6 * MINUTE + 1);
    s.keyring.maintain();
    let kind = |e: std::io::Error| crate::error_from_io(e).kind();
    assert_eq!(
        kind(decryptor.read_exact(&mut some).unwrap_err()),
        ErrorKind::AccessDenied
    );
    assert_eq!(
        reader.read_at(&mut some, 0).unwrap_err().kind(),
        ErrorKind::AccessDenied
    );
    assert_eq!(some, [0; 1000]);
    assert_eq!(
        kind(encryptor.write_all(&[1; 1 << 20]).unwrap_err()),
        ErrorKind::AccessDenied
    );
    assert!(encryptor.finish().is_err());
}

#[test]
fn either_key_opens_while_the_other_is_out_of_reach_for_a_day() {
    let s = Scene::new(&[KEY, OTHER]);
    let envelope = s.seal();
    s.opens(&envelope);
    s.vault.fault(KEY, ProviderErrorKind::Unavailable);
    s.pass(11 * MINUTE);
    s.opens(&envelope);
    assert_eq!(s.other.unwraps(), 1);
    for _ in 0..22 {
        s.pass(HOUR);
        s.opens(&envelope);
        // A new DEK needs every key.
        assert!(s.keyring.encrypt(b"text", &none()).is_err());
    }
    s.pass(2 * HOUR);
    s.refuses(&envelope, ErrorKind::Unavailable);
    s.vault.mend();
    s.pass(MINUTE);
    s.opens(&envelope);
}

#[test]
fn a_key_taken_away_closes_envelopes_that_another_could_open() {
    let s = Scene::new(&[KEY, OTHER]);
    let envelope = s.seal();
    s.opens(&envelope);
    s.vault.fault(KEY, ProviderErrorKind::Disabled);
    s.pass(6 * MINUTE + 1);
    s.keyring.maintain();
    let before = s.other.unwraps();
    s.refuses(&envelope, ErrorKind::KeyDisabled);
    assert_eq!(s.other.unwraps(), before);
}

#[test]
fn a_newer_version_of_the_same_key_may_stay_when_the_old_one_goes() {
    let s = Scene::one();
    let envelope = s.seal();
    s.opens(&envelope);
    s.pass(HOUR);
    s.vault.newest.store(1, Ordering::SeqCst);
    let both = {
        // Two versions in one envelope: the old wrap is kept beside the new one.
        let old = format!("{KEY}/{:032x}", 0);
        let keyring = Keyring::builder()
            .clock(s.keyring.shared().clock.clone())
            .provider(Arc::clone(&s.vault) as _)
            .wrap_with(KeyRef::parse(&old).unwrap())
            .wrap_with(KeyRef::parse(&format!("{KEY}/{:032x}", 1)).unwrap())
            .build()
            .unwrap();
        keyring.encrypt(b"text", &none()).unwrap()
    };
    // Wrapped in the same second, neither is the newer one: both must stay.
    s.opens(&both);
    s.opens(&envelope);
    s.vault
        .fault(&format!("{KEY}/{:032x}", 0), ProviderErrorKind::Disabled);
    s.pass(6 * MINUTE + 1);
    s.keyring.maintain();
    s.refuses(&both, ErrorKind::KeyDisabled);
}

#[test]
fn a_rotation_is_followed_within_the_hour() {
    let s = Scene::one();
    s.opens(&s.seal());
    s.vault.newest.store(1, Ordering::SeqCst);
    let version = |envelope: &[u8]| {
        let info = crate::inspect(envelope).unwrap();
        info.recipients[0].key_id.version().to_owned()
    };
    assert!(version(&s.seal()).ends_with('0'));
    for _ in 0..45 {
        s.pass(MINUTE + 30);
        s.keyring.maintain();
    }
    assert!(version(&s.seal()).ends_with('1'));
    s.opens(&s.seal());
}

#[test]
fn many_threads_ask_once() {
    let s = Scene::one();
    let envelope = s.seal();
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| s.opens(&envelope));
        }
    });
    assert_eq!(s.vault.unwraps(), 1);
    let cold = Scene::one();
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| cold.seal());
        }
    });
    assert_eq!(cold.vault.wraps.load(Ordering::SeqCst), 1);
}

#[test]
fn a_vault_in_trouble_is_not_hammered() {
    let s = Scene::one();
    let envelope = s.seal();
    s.opens(&envelope);
    s.vault.fault(KEY, ProviderErrorKind::Unavailable);
    s.pass(11 * MINUTE);
    for _ in 0..100 {
        let error = s.open(&envelope).unwrap_err();
        assert!(error.is_retryable());
        assert!(s.keyring.encrypt(b"text", &none()).is_err());
    }
    // One unwrap, one wrap.
    assert_eq!(s.vault.unwraps(), 2);
    assert_eq!(s.vault.wraps.load(Ordering::SeqCst), 2);
    let wait = s
        .open(&envelope)
        .unwrap_err()
        .provider()
        .unwrap()
        .retry_after;
    assert!(wait.is_some_and(|w| w <= Duration::from_secs(2)));
}

#[test]
fn a_wrap_that_is_refused_has_the_key_asked() {
    let s = Scene::one();
    let envelope = s.seal();
    s.opens(&envelope);
    s.pass(HOUR);
    s.opens(&envelope);
    s.vault.fault(KEY, ProviderErrorKind::Deleted);
    assert!(s.keyring.encrypt(b"text", &none()).is_err());
    assert!(!s.cached(&envelope));
    s.refuses(&envelope, ErrorKind::KeyDeleted);
}

#[test]
fn the_maintenance_thread_works_and_ends_with_its_keyring() {
    let s = Scene::one();
    let envelope = s.seal();
    s.opens(&envelope);
    s.vault.fault(KEY, ProviderErrorKind::Disabled);
    s.pass(7 * MINUTE);
    let maintained = s.keyring.maintenance_thread().unwrap();
    for _ in 0..1000 {
        if s.keyring.shared().caches().open.seen.len() == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(s.keyring.shared().caches().open.seen.len(), 0);
    let weak = Arc::downgrade(s.keyring.shared());
    drop(s);
    drop(maintained);
    for _ in 0..1000 {
        if weak.strong_count() == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the thread keeps the keyring");
}

#[test]
fn bounds_are_checked() {
    let second = Duration::from_secs(1);
    for bad in [
        Freshness::default().hard(second),
        Freshness::default().hard(7201 * second),
        Freshness::default().soft(600 * second),
        Freshness::default().soft(second),
        Freshness::default().failover(second),
        Freshness::default().poll(second),
    ] {
        let error = Keyring::builder().freshness(bad).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn an_allowed_key_is_watched_like_a_wrapping_one() {
    let s = Scene::one();
    let envelope = s.seal();
    let reader = Keyring::builder()
        .clock(s.keyring.shared().clock.clone())
        .provider(Arc::clone(&s.vault) as _)
        .allow(AllowEntry::Key(KeyRef::parse(KEY).unwrap()))
        .build()
        .unwrap();
    assert_eq!(reader.decrypt(&envelope, &none()).unwrap(), b"text");
    s.vault.fault(KEY, ProviderErrorKind::Denied);
    s.pass(6 * MINUTE + 1);
    reader.maintain();
    assert!(reader.decrypt(&envelope, &none()).is_err());
}
