//! What the vault and the network do wrong, and which error each becomes.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cmkit::ProviderErrorKind::{
    Deleted, Denied, Disabled, NotFound, Policy, Rejected, Throttled, Unavailable, WrongVault,
};
use cmkit::{Call, KeyProvider, KeyRef, ProviderErrorKind, UnwrapRequest, WrapRequest};
use cmkit_azure::KeyVaultProvider;
use cmkit_testkit::{Certificate, Command, Op, Rule, VaultChange};
use serde_json::json;

mod common;

use common::{CAPSULE, HOST, World, expect, unwrap, wrap};

type Words = &'static [&'static str];

const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// A provider that gives up after the first pause.
    fn hasty(&self) -> KeyVaultProvider {
        self.builder().timeout(3 * SECOND).build().unwrap()
    }
}

#[test]
fn refusals_are_told_apart_by_status_and_inner_code() {
    let world = World::new();
    let provider = world.provider();
    let wrapped = wrap(&provider, &world.key()).unwrap();
    let table: &[(u16, Option<&str>, ProviderErrorKind, Words)] = &[
        (400, None, Rejected, &[]),
        (401, None, Denied, &["token"]),
        (403, Some("KeyDisabled"), Disabled, &["enable it"]),
        (
            403,
            Some("KeyOperationForbidden"),
            Denied,
            &["list of operations"],
        ),
        (403, Some("KeyExpired"), Denied, &["expired"]),
        (403, Some("KeyNotYetValid"), Denied, &["not valid yet"]),
        (
            403,
            Some("ForbiddenByRbac"),
            Denied,
            &["role", "Key Vault Crypto Service Encryption User"],
        ),
        (
            403,
            Some("AccessDenied"),
            Denied,
            &["access policy", "unwrapKey"],
        ),
        (403, Some("ForbiddenByPolicy"), Denied, &["access policy"]),
        (403, Some("ForbiddenByFirewall"), Denied, &["firewall"]),
        (
            403,
            Some("ForbiddenByConnection"),
            Denied,
            &["private endpoint"],
        ),
        (403, None, Denied, &["role"]),
        (404, None, NotFound, &["may have been deleted"]),
        (
            409,
            Some("ObjectIsDeletedButRecoverable"),
            Deleted,
            &["recover"],
        ),
        (409, None, Unavailable, &[]),
        (302, None, Unavailable, &["redirect"]),
        (418, None, Unavailable, &["something else"]),
    ];
    for (status, inner, kind, words) in table {
        let mut rule = Rule::status(Op::Unwrap, *status);
        rule.inner = inner.map(str::to_owned);
        rule.headers
            .insert("Location".into(), format!("https://{HOST}/elsewhere"));
        world.vault.rule(rule);
        let before = world.vault.count(Op::Unwrap);
        let e = expect(unwrap(&provider, &wrapped), *kind, words);
        world.vault.clear_rules();
        // Never a second attempt, except with a new token.
        let attempts = world.vault.count(Op::Unwrap) - before;
        assert_eq!(
            attempts,
            if *status == 401 { 2 } else { 1 },
            "{status} {inner:?}"
        );
        assert!(!e.retryable, "{e}");
        assert_eq!(e.http_status, Some(*status));
        assert_eq!(e.key.as_deref(), Some(&*world.kid));
        assert!(
            e.client_request_id.is_some() && e.request_id.is_some() && e.region.is_some(),
            "{e:?}"
        );
        if let Some(inner) = inner {
            assert_eq!(e.code.as_deref(), Some(*inner));
        }
    }
}

#[test]
fn what_the_owner_does_is_seen_as_such() {
    let world = World::new();
    let provider = world.provider();
    let wrapped = wrap(&provider, &world.key()).unwrap();
    world.vault.disable(&world.kid);
    expect(unwrap(&provider, &wrapped), Disabled, &[&world.kid]);
    expect(wrap(&provider, &world.key()), Disabled, &["enable"]);
    world.vault.enable(&world.kid);
    unwrap(&provider, &wrapped).unwrap();
    world.vault.deny(Op::Unwrap);
    let e = expect(
        unwrap(&provider, &wrapped),
        Denied,
        &["ForbiddenByRbac", "unwrapKey"],
    );
    assert_eq!(e.code.as_deref(), Some("ForbiddenByRbac"));
    world.vault.allow(Op::Unwrap);
    world.vault.delete(HOST, "team");
    expect(unwrap(&provider, &wrapped), NotFound, &["deleted"]);
    world.vault.recover(HOST, "team");
    unwrap(&provider, &wrapped).unwrap();
    let mut other = wrapped.clone();
    other.wrapped[0] ^= 1;
    expect(unwrap(&provider, &other), Rejected, &[]);
    other.wrapped.truncate(16);
    expect(unwrap(&provider, &other), Rejected, &[]);
}

#[test]
fn passing_faults_are_tried_again() {
    let world = World::new();
    let provider = world.provider();
    let wrapped = wrap(&provider, &world.key()).unwrap();
    let mut cut = Rule::new(Op::Unwrap).times(1);
    cut.cut_after = Some(20);
    for rule in [
        Rule::status(Op::Unwrap, 408).times(1),
        Rule::status(Op::Unwrap, 500).times(1),
        Rule::status(Op::Unwrap, 503).times(1),
        Rule::dropping(Op::Unwrap).times(1),
        cut,
    ] {
        world.vault.rule(rule);
        let call = Call::new();
        let request =
            UnwrapRequest::new(&wrapped.key, wrapped.algorithm, &wrapped.wrapped).in_call(&call);
        provider.unwrap(&request).unwrap();
        assert!(call.answer().attempts >= 2, "{:?}", call.answer());
        assert_eq!(call.answer().http_status, Some(200));
        assert!(call.answer().request_id.is_some());
    }
}

#[test]
fn faults_that_stay_are_passing_ones() {
    let world = World::new();
    let wrapped = wrap(&world.provider(), &world.key()).unwrap();
    let provider = world.hasty();
    unwrap(&provider, &wrapped).unwrap();
    let mut cut = Rule::new(Op::Unwrap);
    cut.cut_after = Some(20);
    for (rule, kind) in [
        (Rule::status(Op::Unwrap, 429), Throttled),
        (Rule::status(Op::Unwrap, 503), Unavailable),
        (Rule::dropping(Op::Unwrap), Unavailable),
        (Rule::stalling(Op::Unwrap, 60 * SECOND), Unavailable),
        (cut, Unavailable),
    ] {
        world.vault.rule(rule);
        let e = expect(unwrap(&provider, &wrapped), kind, &["try again"]);
        world.vault.clear_rules();
        assert!(e.retryable, "{e}");
    }
}

#[test]
fn answers_that_are_none_are_not_used_and_not_asked_for_again() {
    let world = World::new();
    let provider = world.provider();
    let wrapped = wrap(&provider, &world.key()).unwrap();
    let mut long = Rule::new(Op::Unwrap);
    long.fill = Some(64 * 1024 + 1);
    let mut html = Rule::new(Op::Unwrap);
    html.body = Some("<html>Please sign in to the network".into());
    for rule in [
        long,
        html,
        Rule::merging(Op::Unwrap, json!({"value": null})),
        Rule::merging(Op::Unwrap, json!({"value": ""})),
        Rule::merging(Op::Unwrap, json!({"value": "!!"})),
        Rule::merging(Op::Unwrap, json!({"value": "A".repeat(1400)})),
        Rule::merging(Op::Unwrap, json!({"kid": null})),
        Rule::merging(Op::Unwrap, json!({"kid": 7})),
    ] {
        world.vault.rule(rule);
        let before = world.vault.count(Op::Unwrap);
        let e = expect(unwrap(&provider, &wrapped), Unavailable, &["answer"]);
        assert!(!e.retryable, "{e}");
        assert!(!e.to_string().contains("Please"), "{e}");
        assert_eq!(world.vault.count(Op::Unwrap), before + 1);
        world.vault.clear_rules();
    }
    // One that is just short enough is read.
    let mut long = Rule::new(Op::Unwrap).times(1);
    long.fill = Some(64 * 1024);
    world.vault.rule(long);
    unwrap(&provider, &wrapped).unwrap();
}

#[test]
fn an_answer_about_another_key_is_refused() {
    let world = World::new();
    let provider = world.provider();
    let wrapped = wrap(&provider, &world.key()).unwrap();
    let other = world.vault.rotate(HOST, "team");
    for kid in [
        world.kid.replace("contoso", "other"),
        world.kid.replace("team", "other"),
        other.clone(),
    ] {
        world
            .vault
            .rule(Rule::merging(Op::Unwrap, json!({"kid": kid})));
        expect(
            unwrap(&provider, &wrapped),
            WrongVault,
            &["another key", &kid],
        );
        world.vault.clear_rules();
        world
            .vault
            .rule(Rule::merging(Op::Wrap, json!({"kid": kid})));
        let provider = world.provider();
        if kid != other {
            expect(wrap(&provider, &world.key()), WrongVault, &["another key"]);
        }
        world.vault.clear_rules();
        if kid != other {
            world
                .vault
                .rule(Rule::merging(Op::Get, json!({"key": {"kid": kid}})));
            expect(
                wrap(&world.provider(), &world.key()),
                WrongVault,
                &["another key"],
            );
            world.vault.clear_rules();
        }
    }
    // GET of one version answered by another.
    world
        .vault
        .rule(Rule::merging(Op::Get, json!({"key": {"kid": other}})));
    expect(
        wrap(&world.provider(), &world.id()),
        WrongVault,
        &["another key"],
    );
}

#[test]
fn throttling_says_how_long_to_wait() {
    let world = World::new();
    let wrapped = wrap(&world.provider(), &world.key()).unwrap();
    let provider = world.hasty();
    unwrap(&provider, &wrapped).unwrap();
    let mut seconds = Rule::status(Op::Unwrap, 429);
    seconds.retry_after = Some(3600);
    let mut date = Rule::status(Op::Unwrap, 429);
    date.retry_after_date = Some(3600);
    for rule in [seconds, date] {
        world.vault.rule(rule);
        let before = world.vault.count(Op::Unwrap);
        let e = expect(unwrap(&provider, &wrapped), Throttled, &["try again in 3"]);
        let wait = e.retry_after.unwrap().as_secs();
        assert!((3500..=3600).contains(&wait), "{wait}");
        // Beyond the deadline: told at once.
        assert_eq!(world.vault.count(Op::Unwrap), before + 1);
        world.vault.clear_rules();
    }
    // Within it: waited for.
    let mut short = Rule::status(Op::Unwrap, 429).times(1);
    short.retry_after = Some(2);
    world.vault.rule(short);
    let begun = Instant::now();
    unwrap(&world.provider(), &wrapped).unwrap();
    assert!(begun.elapsed() >= 2 * SECOND);
}

#[test]
fn a_caller_s_deadline_ends_everything() {
    let world = World::new();
    let provider = world.provider();
    let key = world.key();
    let call = Call::new().until(Instant::now());
    let request = WrapRequest::new(&key, CAPSULE).in_call(&call);
    let e = provider.wrap(&request).unwrap_err();
    assert!(e.retryable, "{e}");
    assert_eq!(world.vault.count(Op::Wrap), 0);
    let wrapped = wrap(&provider, &key).unwrap();
    world.vault.rule(Rule::stalling(Op::Unwrap, 600 * SECOND));
    let begun = Instant::now();
    let call = Call::new().until(begun + SECOND);
    let request =
        UnwrapRequest::new(&wrapped.key, wrapped.algorithm, &wrapped.wrapped).in_call(&call);
    let Err(e) = provider.unwrap(&request) else {
        panic!("it succeeded");
    };
    assert_eq!(e.kind, Unavailable, "{e}");
    assert_eq!(e.client_request_id.as_deref(), Some(call.id()));
    // The provider's own limit would have been 30 s.
    assert!(begun.elapsed() < 20 * SECOND);
    world.vault.clear_rules();
}

#[test]
fn the_caller_s_id_reaches_the_audit_log() {
    let world = World::new();
    let provider = world.provider();
    let key = world.key();
    let call = Call::new();
    provider
        .wrap(&WrapRequest::new(&key, CAPSULE).in_call(&call))
        .unwrap();
    let log = world.vault.log();
    let to_vault: Vec<_> = log
        .iter()
        .filter(|e| matches!(e.op, Op::Get | Op::Wrap | Op::Unwrap))
        .collect();
    assert_eq!(to_vault.len(), 4);
    for entry in to_vault {
        assert_eq!(entry.client_request_id.as_deref(), Some(call.id()));
        assert_eq!(entry.api_version.as_deref(), Some("7.4"));
        assert!(entry.authorization);
        if entry.op != Op::Get {
            assert_eq!(entry.version.as_deref(), Some(world.id().version()));
        }
    }
}

#[test]
fn certificates_are_checked() {
    for (certificate, fine) in [
        (Certificate::Good, true),
        (Certificate::WrongHost, false),
        (Certificate::Expired, false),
        (Certificate::UnknownCa, false),
    ] {
        for only_tls12 in [false, true] {
            let world = World::new();
            let order = Command::Tls {
                certificate,
                only_tls12,
            };
            world.vault.order(order).unwrap();
            let result = wrap(&world.provider(), &world.key());
            if fine {
                result.unwrap();
            } else {
                let e = expect(result, ProviderErrorKind::Identity, &["TLS", "CA file"]);
                assert!(!e.retryable, "{e}");
            }
        }
    }
}

#[test]
fn without_the_ca_file_the_fake_vault_is_not_trusted() {
    let world = World::new();
    let provider = KeyVaultProvider::builder()
        .key(world.key())
        .identity(world.application())
        .environment(world.environment(&[]))
        .build()
        .unwrap();
    expect(
        wrap(&provider, &world.key()),
        ProviderErrorKind::Identity,
        &["CA file"],
    );
    assert_eq!(world.vault.count(Op::Entra), 0);
}

#[test]
fn no_other_host_is_ever_called() {
    let world = World::new();
    let elsewhere = "https://other.vault.azure.net/keys/team/0123456789abcdef0123456789abcdef";
    let elsewhere = KeyRef::parse(elsewhere).unwrap();
    let provider = world.provider();
    assert!(provider.owns(&world.key()) && !provider.owns(&elsewhere));
    assert!(!provider.owns(&KeyRef::local("team").unwrap()));
    let port = KeyRef::parse(&world.kid.replace(".net/", ".net:8443/")).unwrap();
    assert!(!provider.owns(&port));
    expect(
        wrap(&provider, &elsewhere),
        WrongVault,
        &["not one that this provider was given"],
    );
    assert!(world.vault.log().is_empty());
    let provider = world
        .builder()
        .allow_host("other.vault.azure.net")
        .build()
        .unwrap();
    assert!(provider.owns(&elsewhere));
}

#[test]
fn a_challenge_leads_nowhere() {
    let world = World::new();
    let order = |challenge: &str| {
        Command::Vault(VaultChange {
            host: HOST.into(),
            challenge: Some(challenge.into()),
            ..VaultChange::default()
        })
    };
    let tenant = "00000000-1111-2222-3333-444444444444";
    for (challenge, words) in [
        (
            format!(
                r#"Bearer authorization="https://evil.example/{tenant}", resource="https://vault.azure.net""#
            ),
            &["tenant 00000000-1111-2222-3333-444444444444"][..],
        ),
        (
            r#"Bearer authorization="https://evil.example/x", resource="https://evil.example""#
                .into(),
            &["https://evil.example", "https://vault.azure.net"],
        ),
        (String::new(), &["tenant and this machine's clock"]),
    ] {
        let provider = world.provider();
        let wrapped = wrap(&provider, &world.key()).unwrap();
        world.vault.order(order(&challenge)).unwrap();
        let mut rule = Rule::status(Op::Unwrap, 401);
        if !challenge.is_empty() {
            rule.headers
                .insert("WWW-Authenticate".into(), challenge.clone());
        }
        world.vault.rule(rule);
        expect(unwrap(&provider, &wrapped), Denied, words);
        world.vault.clear_rules();
    }
    let hosts: Vec<_> = world
        .vault
        .log()
        .into_iter()
        .map(|entry| entry.host)
        .collect();
    assert!(!hosts.iter().any(|host| host.contains("evil")), "{hosts:?}");
}

#[test]
fn a_vault_that_is_gone_is_unavailable() {
    let world = World::new();
    let wrapped = wrap(&world.provider(), &world.key()).unwrap();
    let provider = world.hasty();
    let order = Command::Vault(VaultChange {
        host: HOST.into(),
        gone: Some(true),
        ..VaultChange::default()
    });
    world.vault.order(order).unwrap();
    let e = expect(unwrap(&provider, &wrapped), Unavailable, &[HOST]);
    assert!(e.retryable);
}

#[test]
fn expired_tokens_are_not_used() {
    let world = World::new();
    let order = Command::Tokens {
        lifetime: Some(-10),
        expires_on: None,
    };
    world.vault.order(order).unwrap();
    expect(
        wrap(&world.provider(), &world.key()),
        ProviderErrorKind::Identity,
        &["can't be used"],
    );
    assert_eq!(world.vault.count(Op::Get), 0);
}

#[test]
fn rules_at_wrap_are_policy() {
    let world = World::new();
    let provider = world.provider();
    wrap(&provider, &world.key()).unwrap();
    for code in ["KeyExpired", "KeyNotYetValid", "KeyOperationForbidden"] {
        let mut rule = Rule::status(Op::Wrap, 403);
        rule.inner = Some(code.into());
        world.vault.rule(rule);
        expect(wrap(&provider, &world.key()), Policy, &[code]);
        world.vault.clear_rules();
    }
}
