//! A keyring over the Key Vault provider and the fake vault: revocation, outages, rotation, load, audit.

#![allow(clippy::unwrap_used)]

use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cmkit::{
    AllowEntry, AuditEvent, AuditSink, DekPolicy, EncryptionContext, ErrorKind, KeyId, KeyRef,
    Keyring, KeyringBuilder, NewestKey, ProviderErrorKind, Rewrap, Rotate, RotateOutcome,
    SafeToDisable,
};
use cmkit_azure::{Environment, Identity, KeyVaultBuilder, KeyVaultProvider};
use cmkit_testkit::{Command, FakeVault, Op, Rule, VaultChange};
use serde_json::json;

const HOST: &str = "contoso.vault.azure.net";
const OTHER: &str = "fabrikam.vault.azure.net";

/// A fake vault with the key `team`.
struct World {
    fake: FakeVault,
    kid: KeyId,
}

impl World {
    fn new() -> Self {
        let fake = FakeVault::start().unwrap();
        let kid = KeyId::parse(&fake.create_key(HOST, "team")).unwrap();
        Self { fake, kid }
    }

    fn key(&self) -> KeyRef {
        self.kid.without_version()
    }

    fn provider(&self) -> KeyVaultBuilder {
        let addresses = self.fake.addresses();
        let application = &addresses.identity;
        KeyVaultProvider::builder()
            .key(self.key())
            .identity(Identity::client_secret_of(
                application.tenant_id.as_str(),
                application.client_id.as_str(),
                application.client_secret.as_str(),
            ))
            .ca_file(&addresses.ca_file)
            .environment(Environment::from_pairs([(
                "HTTPS_PROXY",
                &*addresses.proxy,
            )]))
    }

    fn builder(&self) -> KeyringBuilder {
        Keyring::builder()
            .provider(Arc::new(self.provider().build().unwrap()))
            .wrap_with(self.key())
    }

    fn keyring(&self) -> Keyring {
        self.builder().build().unwrap()
    }

    /// One whose every message needs a new DEK, so that each encryption asks the vault.
    fn asking(&self) -> Keyring {
        let policy = DekPolicy::default().max_messages(1);
        self.builder().policy(policy).build().unwrap()
    }

    fn calls(&self) -> [u64; 3] {
        [Op::Get, Op::Wrap, Op::Unwrap].map(|op| self.fake.count(op))
    }
}

fn none() -> EncryptionContext {
    EncryptionContext::default()
}

fn seal(keyring: &Keyring) -> Vec<u8> {
    keyring.encrypt(b"text", &none()).unwrap()
}

#[test]
fn cold_threads_bind_once_and_wrap_once() {
    let w = World::new();
    let keyring = w.keyring();
    let envelopes: Mutex<Vec<Vec<u8>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| envelopes.lock().unwrap().push(seal(&keyring)));
        }
    });
    // The binding's round trip, and the one DEK.
    assert_eq!(w.calls(), [1, 2, 1]);
    assert_eq!(w.fake.count(Op::Entra), 1);
    let envelopes = envelopes.into_inner().unwrap();
    std::thread::scope(|scope| {
        for envelope in &envelopes {
            let keyring = &keyring;
            scope.spawn(move || assert_eq!(keyring.decrypt(envelope, &none()).unwrap(), b"text"));
        }
    });
    assert_eq!(w.calls(), [1, 2, 2]);
}

#[test]
fn a_thousand_documents_cost_no_further_call() {
    let w = World::new();
    let keyring = w.keyring();
    let first = seal(&keyring);
    keyring.decrypt(&first, &none()).unwrap();
    let before = w.calls();
    for _ in 0..1000 {
        let envelope = seal(&keyring);
        keyring.decrypt(&envelope, &none()).unwrap();
    }
    assert_eq!(w.calls(), before);
}

#[test]
fn what_is_taken_away_stops_at_once_everywhere_and_comes_back_whole() {
    type Step = fn(&World);
    let ways: [(Step, Step, ErrorKind); 4] = [
        (
            |w| w.fake.disable(w.kid.as_str()),
            |w| w.fake.enable(w.kid.as_str()),
            ErrorKind::KeyDisabled,
        ),
        (
            |w| w.fake.delete(HOST, "team"),
            |w| w.fake.recover(HOST, "team"),
            ErrorKind::KeyNotFound,
        ),
        (
            |w| {
                w.fake.deny(Op::Unwrap);
                w.fake.deny(Op::Wrap);
            },
            |w| {
                w.fake.allow(Op::Unwrap);
                w.fake.allow(Op::Wrap);
            },
            ErrorKind::AccessDenied,
        ),
        (
            |w| firewall(w, true),
            |w| firewall(w, false),
            ErrorKind::AccessDenied,
        ),
    ];
    for (take, give_back, kind) in ways {
        let w = World::new();
        let keyring = w.asking();
        let long = keyring.encrypt(&[7; 200_000], &none()).unwrap();
        let mut stream = keyring.decryptor(&long[..], &none()).unwrap();
        let mut some = [0; 1000];
        stream.read_exact(&mut some).unwrap();
        let reader = keyring.reader(&long[..], &none()).unwrap();

        take(&w);
        // A refused wrap is no proof; it has the key asked, and that answer counts.
        let error = keyring.encrypt(b"text", &none()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let told = error.provider().unwrap();
        assert!(told.key.as_ref().unwrap().contains("/keys/team"), "{told}");
        assert!(told.request_id.is_some() && told.client_request_id.is_some());
        let error = keyring.decrypt(&long, &none()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(reader.read_at(&mut some, 0).unwrap_err().kind(), kind);
        assert_eq!(some, [0; 1000]);
        let error = stream.read_exact(&mut some).unwrap_err();
        assert_eq!(cmkit::error_from_io(error).kind(), kind);

        // Further messages don't ask each for itself.
        let before = w.fake.count(Op::Unwrap);
        for _ in 0..20 {
            assert!(keyring.decrypt(&long, &none()).is_err());
        }
        assert_eq!(w.fake.count(Op::Unwrap), before);

        give_back(&w);
        assert_eq!(w.keyring().decrypt(&long, &none()).unwrap(), [7; 200_000]);
    }
}

fn firewall(w: &World, closed: bool) {
    w.fake.change_vault(VaultChange {
        host: HOST.into(),
        firewall: Some(closed),
        ..VaultChange::default()
    });
}

#[test]
fn an_outage_is_bridged_from_the_cache() {
    let w = World::new();
    let keyring = w.keyring();
    let envelope = seal(&keyring);
    keyring.decrypt(&envelope, &none()).unwrap();
    w.fake.rule(Rule::status(Op::Vault, 503));
    w.fake.rule(Rule::status(Op::Token, 500));
    for _ in 0..10 {
        assert_eq!(keyring.decrypt(&envelope, &none()).unwrap(), b"text");
        seal(&keyring);
    }
    // Without a cache it is an error to retry, in bounded time.
    let cold = w
        .builder()
        .call_timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    let error = cold.decrypt(&envelope, &none()).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    w.fake.clear_rules();
    assert_eq!(w.keyring().decrypt(&envelope, &none()).unwrap(), b"text");
}

#[test]
fn throttling_beyond_the_deadline_is_told_at_once() {
    let w = World::new();
    let keyring = w.keyring();
    let envelope = seal(&keyring);
    let mut rule = Rule::status(Op::Unwrap, 429);
    rule.retry_after = Some(600);
    w.fake.rule(rule);
    let error = keyring.decrypt(&envelope, &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(
        error.provider().unwrap().retry_after,
        Some(Duration::from_secs(600))
    );
    assert_eq!(w.fake.count(Op::Unwrap), 2, "the binding's and one more");
}

#[test]
fn a_made_up_version_is_that_messages_affair() {
    let w = World::new();
    let keyring = w.keyring();
    let envelope = seal(&keyring);
    keyring.decrypt(&envelope, &none()).unwrap();
    let mut hostile = seal(&keyring);
    let version = w.kid.version().as_bytes();
    let at = hostile.windows(32).position(|w| w == version).unwrap();
    hostile[at] = if hostile[at] == b'0' { b'1' } else { b'0' };
    let error = keyring.decrypt(&hostile, &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotFound, "{error}");
    let before = w.calls();
    assert_eq!(keyring.decrypt(&envelope, &none()).unwrap(), b"text");
    assert_eq!(w.calls(), before);
}

#[test]
fn keys_elsewhere_are_refused_before_any_call() {
    let w = World::new();
    let elsewhere = KeyId::parse(&w.fake.create_key(OTHER, "theirs")).unwrap();
    let theirs = Keyring::builder()
        .provider(Arc::new(
            w.provider().key(elsewhere.clone()).build().unwrap(),
        ))
        .wrap_with(elsewhere.without_version())
        .build()
        .unwrap();
    let envelope = seal(&theirs);
    let keyring = w.keyring();
    let before = w.fake.log().len();
    let error = keyring.decrypt(&envelope, &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyNotAllowed);
    assert_eq!(w.fake.log().len(), before);
    // Allowed, but no host of the provider's.
    let keyring = w
        .builder()
        .allow(AllowEntry::Host(OTHER.into()))
        .build()
        .unwrap();
    let error = keyring.decrypt(&envelope, &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Policy);
    assert_eq!(w.fake.log().len(), before);
}

#[test]
fn the_second_vault_reads_on_when_the_first_is_away() {
    let w = World::new();
    let second = KeyId::parse(&w.fake.create_key(OTHER, "spare")).unwrap();
    let two = || {
        let provider = w.provider().key(second.clone()).build().unwrap();
        Keyring::builder()
            .provider(Arc::new(provider))
            .wrap_with(w.key())
            .wrap_with(second.without_version())
            .call_timeout(Duration::from_secs(3))
            .build()
            .unwrap()
    };
    let envelope = seal(&two());
    let mut away = Rule::dropping(Op::Vault);
    away.host = Some(HOST.into());
    w.fake.rule(away);
    let keyring = two();
    assert_eq!(keyring.decrypt(&envelope, &none()).unwrap(), b"text");
    let error = keyring.encrypt(b"text", &none()).unwrap_err();
    assert!(error.is_retryable(), "a new DEK needs both: {error}");
}

#[test]
fn a_rotation_is_followed_and_the_old_version_becomes_free() {
    let w = World::new();
    let dir = tempfile::tempdir().unwrap();
    let [plain, sealed] = ["plain", "sealed.cmk"].map(|name| dir.path().join(name));
    std::fs::write(&plain, "text").unwrap();
    let options = cmkit::FileOptions::default();
    w.keyring()
        .encrypt_file(&plain, &sealed, &none(), &options)
        .unwrap();
    let new = KeyId::parse(&w.fake.rotate(HOST, "team")).unwrap();

    let keyring = w.keyring();
    let rotation = keyring.rotation(&Rotate::default()).unwrap();
    assert_eq!(rotation.newest()[0].key, new);
    let done = rotation.rotate_file(&sealed).unwrap();
    assert!(matches!(done.outcome, RotateOutcome::Added), "{done:?}");
    let verdict = |census: &cmkit::Census, newest: &NewestKey| {
        census.safe_to_disable(&w.kid, &SafeToDisable::new(newest.clone()))
    };
    let count = || {
        let mut census = keyring.census();
        census.add_path(dir.path());
        census
    };
    assert!(!verdict(&count(), &rotation.newest()[0]).is_yes());

    // The old version may go already: the newer one answers for the key.
    w.fake.disable(w.kid.as_str());
    let opened = w.keyring().open_file(&sealed, &none()).unwrap();
    assert_eq!(opened.len(), 4);

    let at_once = Rotate::default().keep_old(Duration::ZERO);
    let done = w.keyring().rotation(&at_once).unwrap();
    let done = done.rotate_file(&sealed).unwrap();
    assert_eq!(done.outcome, RotateOutcome::Finished);
    let long_ago = NewestKey {
        key: new,
        created: Some(1_700_000_000),
    };
    let verdict = verdict(&count(), &long_ago);
    assert!(verdict.is_yes(), "{:?}", verdict.reasons());
}

#[test]
fn another_vaults_key_takes_over_only_when_told_to() {
    let w = World::new();
    let elsewhere = KeyId::parse(&w.fake.create_key(OTHER, "theirs")).unwrap();
    let kept = Arc::<Kept>::default();
    let keyring = Keyring::builder()
        .provider(Arc::new(
            w.provider().key(elsewhere.clone()).build().unwrap(),
        ))
        .wrap_with(w.key())
        .audit(Arc::clone(&kept) as _)
        .build()
        .unwrap();
    let envelope = seal(&keyring);
    let to = Rewrap::to(elsewhere.without_version());
    let error = keyring.rewrap(&envelope, &to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongVault, "{error}");
    let moved = keyring.rewrap(&envelope, &to.allow_other_vault()).unwrap();
    assert_ne!(moved, envelope);
    let events = kept.0.lock().unwrap().concat();
    assert!(events.contains("OtherVault"), "{events}");
}

/// Keeps events as debug text, and their call ids.
#[derive(Default)]
struct Kept(Mutex<Vec<String>>, Mutex<Vec<String>>);

impl AuditSink for Kept {
    fn record(&self, event: &AuditEvent<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
        if !event.call_id.is_empty() {
            self.1.lock().unwrap().push(event.call_id.to_owned());
        }
    }
}

#[test]
fn events_and_the_vaults_log_have_the_same_ids() {
    let w = World::new();
    let kept = Arc::<Kept>::default();
    let keyring = w.builder().audit(Arc::clone(&kept) as _).build().unwrap();
    let envelope = seal(&keyring);
    keyring.decrypt(&envelope, &none()).unwrap();
    w.fake.deny(Op::Unwrap);
    let cold = w.builder().audit(Arc::clone(&kept) as _).build().unwrap();
    let error = cold.decrypt(&envelope, &none()).unwrap_err();
    assert_eq!(error.provider().unwrap().kind, ProviderErrorKind::Denied);
    assert_eq!(
        error.provider().unwrap().code.as_deref(),
        Some("ForbiddenByRbac")
    );
    let in_log: Vec<String> = w
        .fake
        .log()
        .into_iter()
        .filter(|entry| matches!(entry.op, Op::Get | Op::Wrap | Op::Unwrap))
        .filter_map(|entry| entry.client_request_id)
        .collect();
    let ids = kept.1.lock().unwrap();
    assert_eq!(ids.len(), 3);
    for id in ids.iter() {
        assert!(in_log.contains(id), "{id} isn't in {in_log:?}");
    }
    let events = kept.0.lock().unwrap().concat();
    assert!(events.contains("AccessDenied") && !events.contains("text"));
}

#[test]
fn a_key_that_breaks_a_rule_is_not_wrapped_with_and_still_opens() {
    let w = World::new();
    let envelope = seal(&w.keyring());
    w.fake.set_attributes(
        w.kid.as_str(),
        json!({"recoveryLevel": "Recoverable+Purgeable"}),
    );
    let keyring = w.keyring();
    let error = keyring.encrypt(b"text", &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyPolicy);
    assert!(error.to_string().contains("purge"), "{error}");
    assert_eq!(keyring.decrypt(&envelope, &none()).unwrap(), b"text");

    w.fake.set_attributes(
        w.kid.as_str(),
        json!({"recoveryLevel": "Recoverable", "exp": 1_000_000_000}),
    );
    let error = w.keyring().encrypt(b"text", &none()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyPolicy, "{error}");
    assert_eq!(w.keyring().decrypt(&envelope, &none()).unwrap(), b"text");
}

#[test]
fn worthless_tokens_are_replaced() {
    let w = World::new();
    let keyring = w.asking();
    seal(&keyring);
    w.fake.order(Command::RevokeTokens {}).unwrap();
    seal(&keyring);
    assert_eq!(w.fake.count(Op::Entra), 2);
}

#[test]
fn a_cached_document_allocates_no_more_than_under_a_local_key() {
    let w = World::new();
    let dir = tempfile::tempdir().unwrap();
    let provider = cmkit::LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap();
    provider.create_key("team", cmkit::KeyType::Oct256).unwrap();
    let local = Keyring::builder()
        .provider(Arc::new(provider))
        .wrap_with(KeyRef::local("team").unwrap())
        .build()
        .unwrap();
    let allocations = |keyring: &Keyring| {
        let (mut out, mut back) = ([0; 4096], [0; 1024]);
        let mut there_and_back = || {
            let len = keyring.encrypt_into(&[7; 1024], &none(), &mut out).unwrap();
            keyring
                .decrypt_into(&out[..len], &none(), &mut back)
                .unwrap();
        };
        there_and_back();
        let counted = allocation_counter::measure(|| (0..100).for_each(|_| there_and_back()));
        counted.count_total
    };
    assert_eq!(allocations(&w.keyring()), allocations(&local));
}
