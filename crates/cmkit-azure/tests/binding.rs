//! Which keys are taken, and which version wraps.

// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cmkit::ProviderErrorKind::{Denied, Disabled, Policy, Unusable};
use cmkit::{KeyId, KeyProvider, KeyRef, NewestRequest, WrapAlgorithm};
use cmkit_azure::{KeyVaultProvider, Outcome};
use cmkit_testkit::{Command, Op, Rule, VaultChange};
use serde_json::json;

mod common;

use common::{HOST, HSM, World, expect, unwrap, wrap};

fn newest(provider: &KeyVaultProvider, key: &KeyRef) -> Result<KeyId, cmkit::ProviderError> {
    let newest = provider.newest(&NewestRequest::new(key))?;
    Ok(newest.unwrap().key)
}

#[test]
fn wraps_with_the_exact_version_that_was_looked_at() {
    let world = World::new();
    let provider = world.provider();
    let first = wrap(&provider, &world.key()).unwrap();
    assert_eq!(first.key, world.id());
    assert_eq!(first.algorithm, WrapAlgorithm::RsaOaep256);
    assert_eq!(first.wrapped.len(), 384);
    // Within the hour the binding stands, whatever else there is now.
    let second = KeyId::parse(&world.vault.rotate(HOST, "team")).unwrap();
    assert_eq!(wrap(&provider, &world.key()).unwrap().key, world.id());
    assert_eq!(world.vault.count(Op::Get), 1);
    assert_eq!(newest(&provider, &world.key()).unwrap(), second);
    // A version in the question is ignored, and the answer is what wraps from now on.
    assert_eq!(newest(&provider, &world.id()).unwrap(), second);
    assert_eq!(wrap(&provider, &world.key()).unwrap().key, second);
    assert_eq!(wrap(&provider, &world.id()).unwrap().key, world.id());
    unwrap(&provider, &first).unwrap();
}

#[test]
fn a_bound_version_that_is_taken_away_gives_way_to_a_newer_one_only() {
    let world = World::new();
    let provider = world.provider();
    wrap(&provider, &world.key()).unwrap();
    let second = world.vault.rotate(HOST, "team");
    world.vault.disable(&world.kid);
    assert_eq!(
        wrap(&provider, &world.key()).unwrap().key.to_string(),
        second
    );
    world.vault.disable(&second);
    world.vault.enable(&world.kid);
    expect(wrap(&provider, &world.key()), Disabled, &[&second]);
    wrap(&provider, &world.id()).unwrap();
}

#[test]
fn keys_of_an_hsm_wrap_with_aes() {
    let world = World::new();
    let kid = KeyId::parse(&world.vault.create_key(HSM, "team")).unwrap();
    let key = kid.without_version();
    let provider = world.builder().key(key.clone()).build().unwrap();
    let wrapped = wrap(&provider, &key).unwrap();
    assert_eq!(wrapped.algorithm, WrapAlgorithm::A256Kw);
    assert_eq!(wrapped.wrapped.len(), 80);
    assert_eq!(unwrap(&provider, &wrapped).unwrap(), common::CAPSULE);
    // Two audiences, two tokens.
    wrap(&provider, &world.key()).unwrap();
    assert_eq!(world.vault.count(Op::Entra), 2);
    assert!(
        provider.doctor(&key).is_verified(),
        "{}",
        provider.doctor(&key)
    );
}

#[test]
fn every_rule_has_its_own_error() {
    let world = World::new();
    let past = 1_000_000_000;
    let future = 4_000_000_000_u64;
    let table = [
        (
            json!({"attributes": {"enabled": false}}),
            Disabled,
            "disabled",
        ),
        (
            json!({"attributes": {"enabled": null}}),
            Disabled,
            "disabled",
        ),
        (
            json!({"attributes": {"nbf": future}}),
            Policy,
            "not valid before",
        ),
        (json!({"attributes": {"exp": past}}), Policy, "expired"),
        (
            json!({"attributes": {"recoveryLevel": "Purgeable"}}),
            Policy,
            "soft delete",
        ),
        (
            json!({"attributes": {"recoveryLevel": null}}),
            Policy,
            "soft delete",
        ),
        (
            json!({"attributes": {"recoveryLevel": "Recoverable+Whatever"}}),
            Policy,
            "soft delete",
        ),
        (
            json!({"attributes": {"recoveryLevel": "Recoverable+Purgeable"}}),
            Policy,
            "purge protection",
        ),
        (
            json!({"attributes": {"recoveryLevel": "CustomizedRecoverable+Purgeable"}}),
            Policy,
            "purge protection",
        ),
        (
            json!({"attributes": {"exportable": true}}),
            Policy,
            "exportable",
        ),
        (
            json!({"key": {"key_ops": ["wrapKey"]}}),
            Policy,
            "lacks unwrapKey",
        ),
        (
            json!({"key": {"key_ops": ["unwrapKey", "sign"]}}),
            Policy,
            "lacks wrapKey",
        ),
        (
            json!({"key": {"key_ops": null}}),
            Policy,
            "lacks wrapKey and unwrapKey",
        ),
        (json!({"key": {"e": "Aw"}}), Policy, "65537"),
        (json!({"key": {"e": null}}), Policy, "65537"),
        (json!({"key": {"n": null}}), Policy, "bits"),
        (json!({"key": {"kty": "EC"}}), Policy, "type"),
        (json!({"key": {"kty": null}}), Policy, "type"),
    ];
    for (merge, kind, word) in table {
        world.vault.rule(Rule::merging(Op::Get, merge.clone()));
        let e = expect(
            wrap(&world.provider(), &world.key()),
            kind,
            &[word, &world.kid],
        );
        assert!(!e.retryable);
        let provider = world.provider();
        expect(newest(&provider, &world.key()), kind, &[word]);
        let report = provider.doctor(&world.key());
        let failed: Vec<_> = report
            .rows
            .iter()
            .filter(|row| row.outcome == Outcome::Fail)
            .collect();
        assert!(
            failed.iter().any(|row| row.detail.contains(word)),
            "{merge}: {report}"
        );
        world.vault.clear_rules();
    }
    assert_eq!(world.vault.count(Op::Unwrap), world.vault.count(Op::Wrap));
    for level in [
        "Recoverable",
        "Recoverable+ProtectedSubscription",
        "CustomizedRecoverable",
        "CustomizedRecoverable+ProtectedSubscription",
    ] {
        let merge = json!({"attributes": {"recoveryLevel": level, "nbf": past, "exp": future}});
        world.vault.rule(Rule::merging(Op::Get, merge));
        wrap(&world.provider(), &world.key()).unwrap();
        world.vault.clear_rules();
    }
}

#[test]
fn small_rsa_keys_only_where_they_are_allowed() {
    let world = World::new();
    let kid = world
        .vault
        .create_key_with(HOST, "small", json!({"kty": "RSA", "key_size": 2048}));
    let key = KeyId::parse(&kid).unwrap().without_version();
    expect(
        wrap(&world.provider(), &key),
        Policy,
        &["2048 bits", "3072", "allow"],
    );
    let provider = world.builder().allow_rsa_2048().build().unwrap();
    let wrapped = wrap(&provider, &key).unwrap();
    assert_eq!(wrapped.wrapped.len(), 256);
    assert_eq!(unwrap(&provider, &wrapped).unwrap(), common::CAPSULE);
}

#[test]
fn what_does_not_come_back_is_not_bound() {
    let world = World::new();
    world
        .vault
        .rule(Rule::merging(Op::Unwrap, json!({"value": "AAAA"})));
    expect(
        wrap(&world.provider(), &world.key()),
        Unusable,
        &["did not unwrap"],
    );
    world.vault.clear_rules();
    world.vault.rule(Rule::status(Op::Unwrap, 400));
    expect(
        wrap(&world.provider(), &world.key()),
        Unusable,
        &["did not unwrap"],
    );
    world.vault.clear_rules();
    world.vault.deny(Op::Unwrap);
    expect(
        wrap(&world.provider(), &world.key()),
        Denied,
        &["unwrapKey"],
    );
}

#[test]
fn without_get_a_version_is_needed_and_the_rest_is_unverified() {
    let world = World::new();
    world.vault.deny(Op::Get);
    expect(
        wrap(&world.provider(), &world.key()),
        Denied,
        &["lacks the permission get"],
    );
    let before = world.vault.count(Op::Get);
    assert!(world.builder().no_get().build().is_err());
    let aes = KeyId::parse(&world.vault.create_key(HSM, "team")).unwrap();
    let provider = KeyVaultProvider::builder()
        .key(world.id())
        .key(aes.clone())
        .identity(world.application())
        .ca_file(&world.vault.addresses().ca_file)
        .environment(world.environment(&[]))
        .no_get()
        .build()
        .unwrap();
    for (id, algorithm) in [
        (world.id(), WrapAlgorithm::RsaOaep256),
        (aes, WrapAlgorithm::A256Kw),
    ] {
        let wrapped = wrap(&provider, &id).unwrap();
        assert_eq!(wrapped.algorithm, algorithm);
        assert_eq!(unwrap(&provider, &wrapped).unwrap(), common::CAPSULE);
        let report = provider.doctor(&id);
        assert!(report.is_healthy() && !report.is_verified(), "{report}");
        assert!(report.to_string().contains("unverified"), "{report}");
    }
    expect(wrap(&provider, &world.key()), Policy, &["with its version"]);
    assert!(
        provider
            .newest(&NewestRequest::new(&world.key()))
            .unwrap()
            .is_none()
    );
    assert_eq!(world.vault.count(Op::Get), before);
}

#[test]
fn many_threads_bind_once() {
    let world = World::new();
    let provider = world.provider();
    world
        .vault
        .rule(Rule::stalling(Op::Get, Duration::from_millis(300)).times(1));
    let key = world.key();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| wrap(&provider, &key).unwrap());
        }
    });
    assert_eq!(world.vault.count(Op::Entra), 1);
    assert_eq!(world.vault.count(Op::Get), 1);
    assert_eq!(world.vault.count(Op::Unwrap), 1);
    assert_eq!(world.vault.count(Op::Wrap), 65);
}

#[test]
fn lenient_in_what_it_accepts() {
    let world = World::new();
    for op in [Op::Get, Op::Wrap, Op::Unwrap] {
        let mut rule = Rule::new(op);
        rule.padded = true;
        rule.leading_zero = true;
        rule.kid_port = Some(8443);
        world.vault.rule(rule);
    }
    let order = Command::Tls {
        certificate: cmkit_testkit::Certificate::Good,
        only_tls12: true,
    };
    world.vault.order(order).unwrap();
    let provider = world.provider();
    let wrapped = wrap(&provider, &world.key()).unwrap();
    assert_eq!(wrapped.key, world.id());
    assert_eq!(unwrap(&provider, &wrapped).unwrap(), common::CAPSULE);
    assert!(provider.doctor(&world.key()).is_verified());
}

#[test]
fn a_private_cloud_on_a_port_with_its_own_certificate() {
    let world = World::new();
    let at = world.vault.addresses();
    let order = Command::Tls {
        certificate: cmkit_testkit::Certificate::SelfSigned,
        only_tls12: false,
    };
    let host = format!("localhost:{}", at.https_port);
    let kid = world.vault.create_key(&host, "team");
    let key = KeyId::parse(&kid).unwrap();
    let imds = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", &*at.imds)];
    world.vault.order(order).unwrap();
    let provider = KeyVaultProvider::builder()
        .key(key.without_version())
        .identity(cmkit_azure::Identity::imds())
        .audience("localhost", "https://vault.azure.net")
        .ca_file(&at.self_signed_file)
        .environment(cmkit_azure::Environment::from_pairs(imds))
        .build()
        .unwrap();
    let wrapped = wrap(&provider, &key.without_version()).unwrap();
    assert_eq!(wrapped.key, key);
    assert!(world.vault.log().iter().all(|entry| !entry.proxied));
}

#[test]
fn what_can_t_be_built() {
    let build = KeyVaultProvider::builder;
    let key = |text| KeyRef::parse(text).unwrap();
    for (builder, word) in [
        (build(), "needs a key"),
        (build().key(KeyRef::local("x").unwrap()), "not in a vault"),
        (
            build().key(key("https://localhost/keys/x")),
            "not a host of Key Vault",
        ),
        (
            build().allow_host("v.vault.azure.net/keys"),
            "written as in key ids",
        ),
        (
            build().allow_host("V.vault.azure.net"),
            "written as in key ids",
        ),
        (
            build()
                .allow_host("v.vault.azure.net")
                .timeout(Duration::ZERO),
            "timeout",
        ),
        (
            build()
                .allow_host("v.vault.azure.net")
                .ca_file("/absent.pem"),
            "absent.pem",
        ),
        (
            build().allow_host("v.x").audience("x", "http://x"),
            "audience",
        ),
    ] {
        let builder = builder.environment(cmkit_azure::Environment::default());
        let e = builder.build().unwrap_err();
        assert!(e.to_string().contains(word), "{word}: {e}");
    }
}

#[test]
fn the_doctor_says_what_to_do() {
    let world = World::new();
    let provider = world.provider();
    let report = provider.doctor(&world.key());
    assert!(report.is_verified(), "{report}");
    assert_eq!(report.rows.len(), 11);
    assert_eq!(report.key, world.kid);
    world.vault.deny(Op::Wrap);
    let report = provider.doctor(&world.key());
    assert!(!report.is_healthy());
    let text = report.to_string();
    assert!(
        text.contains("FAIL  wrap") && text.contains("role"),
        "{text}"
    );
    assert!(text.contains("skip  unwrap"), "{text}");
    // Without get, what can be tried is tried.
    world.vault.allow(Op::Wrap);
    world.vault.deny(Op::Get);
    let text = provider.doctor(&world.id()).to_string();
    assert!(
        text.contains("FAIL  get") && text.contains("pass  unwrap"),
        "{text}"
    );
    let identity = cmkit_azure::Identity::client_secret_of("t", "c", "wrong");
    let provider = world.builder().identity(identity).build().unwrap();
    let text = provider.doctor(&world.key()).to_string();
    assert!(
        text.contains("FAIL  sign-in") && text.contains("skip  wrap"),
        "{text}"
    );
    let other = KeyRef::parse("https://o.vault.azure.net/keys/x").unwrap();
    assert!(!provider.doctor(&other).is_healthy());
}

#[test]
fn a_disabled_key_is_that_whichever_way_the_vault_says_it() {
    let world = World::new();
    world.vault.disable(&world.kid);
    for hide_disabled in [false, true] {
        let order = Command::Vault(VaultChange {
            host: HOST.into(),
            hide_disabled: Some(hide_disabled),
            ..VaultChange::default()
        });
        world.vault.order(order).unwrap();
        expect(
            wrap(&world.provider(), &world.key()),
            Disabled,
            &["enable it"],
        );
    }
}

#[test]
fn a_keyring_encrypts_under_a_key_in_a_vault() {
    let world = World::new();
    let keyring = || {
        cmkit::Keyring::builder()
            .provider(std::sync::Arc::new(world.provider()))
            .wrap_with(world.key())
            .build()
            .unwrap()
    };
    let context = cmkit::EncryptionContext::empty();
    let writer = keyring();
    let envelopes: Vec<_> = (0..5)
        .map(|_| writer.encrypt(b"attack at dawn", &context).unwrap())
        .collect();
    assert_eq!(world.vault.count(Op::Wrap), 2);
    let reader = keyring();
    for envelope in &envelopes {
        assert_eq!(
            reader.decrypt(envelope, &context).unwrap(),
            b"attack at dawn"
        );
    }
    assert_eq!(
        cmkit::inspect(&envelopes[0]).unwrap().recipients[0].key_id,
        world.id()
    );
    world.vault.disable(&world.kid);
    let e = keyring().decrypt(&envelopes[0], &context).unwrap_err();
    assert_eq!(e.kind(), cmkit::ErrorKind::KeyDisabled, "{e}");
    world.vault.enable(&world.kid);
    world.vault.deny(Op::Unwrap);
    let e = keyring().decrypt(&envelopes[0], &context).unwrap_err();
    assert_eq!(e.kind(), cmkit::ErrorKind::AccessDenied, "{e}");
}
