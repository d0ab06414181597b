//! `cmkit doctor`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;
mod world;

use cmkit_testkit::{Op, VaultChange};
use serde_json::Value;
use world::{World, unversioned};

const CHECKS: [&str; 11] = [
    "sign-in",
    "get",
    "enabled and dates",
    "key type and size",
    "key operations",
    "soft delete",
    "purge protection",
    "exportable",
    "wrap",
    "unwrap",
    "latency",
];

#[test]
fn all_is_well() {
    let world = World::new("well");
    let kid = world.fake.create_key("well.vault.azure.net", "kek");
    let text = world.ok(&["doctor", unversioned(&kid)]);
    assert!(
        text.starts_with(&format!("key {kid}\nas  auto: ")),
        "{text}"
    );
    for check in CHECKS {
        assert!(text.contains(&format!("pass  {check} ")), "{check}: {text}");
    }
    assert!(
        text.contains("RSA of 3072 bits") && text.contains("does not expire"),
        "{text}"
    );
    assert!(!text.contains("several keys"));
}

#[test]
fn each_failure_says_what_to_do() {
    let world = World::new("ill");
    world.fake.change_vault(VaultChange {
        host: world.host.clone(),
        recovery_level: Some("Recoverable+Purgeable".into()),
        ..VaultChange::default()
    });
    let kid = world.key("kek");
    world.deny(Op::Unwrap);
    let ended = world.run(&["doctor", &kid]);
    assert_eq!((ended.code, &*ended.stderr), (Some(1), ""));
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(text.contains("FAIL  purge protection "), "{text}");
    assert!(text.contains("--enable-purge-protection true"), "{text}");
    assert!(text.contains("FAIL  unwrap "), "{text}");
    assert!(text.contains("skip  latency "), "{text}");
    assert!(
        text.contains("pass  soft delete ") && text.contains("pass  wrap "),
        "{text}"
    );

    let ended = world.run(&["doctor", "--json", &kid]);
    assert_eq!(ended.code, Some(1));
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(report["healthy"], false);
    let checks = report["keys"][0]["checks"].as_array().unwrap();
    let names: Vec<_> = checks
        .iter()
        .map(|c| c["check"].as_str().unwrap())
        .collect();
    assert_eq!(names, CHECKS);
    let failed = checks.iter().filter(|c| c["outcome"] == "fail");
    let failed: Vec<_> = failed.map(|c| c["check"].as_str().unwrap()).collect();
    assert_eq!(failed, ["purge protection", "unwrap"]);
}

#[test]
fn several_keys_and_local_ones() {
    let world = World::new("several");
    let kid = world.key("kek");
    let other = world.fake.create_key("second.managedhsm.azure.net", "kek");
    world.ok(&["key", "create", "team"]);
    let text = world.ok(&["doctor", &kid, &other, "local:team"]);
    assert_eq!(text.matches("\nas  ").count(), 3, "{text}");
    assert!(
        text.contains("key local:team/") && text.contains("the key directory "),
        "{text}"
    );
    assert!(
        text.contains("keep reads alive") && text.contains("writes go on only until"),
        "{text}"
    );
    let report: Value =
        serde_json::from_str(&world.ok(&["doctor", "--json", &kid, &other])).unwrap();
    assert_eq!(report["healthy"], true);
    assert!(report["note"].as_str().unwrap().contains("reads alive"));
}

#[test]
fn a_local_key_alone() {
    let world = World::new("local");
    let id = world.ok(&["key", "create", "team"]).trim_end().to_owned();
    let text = world.ok(&["doctor", "local:team"]);
    for check in ["get", "enabled", "key type and size", "wrap", "unwrap"] {
        assert!(text.contains(&format!("pass  {check} ")), "{check}: {text}");
    }
    world.ok(&["key", "disable", &id]);
    for key in ["local:team", &id, "local:none"] {
        let ended = world.run(&["doctor", key]);
        assert_eq!(ended.code, Some(1), "{key}");
        let text = String::from_utf8(ended.stdout).unwrap();
        assert!(text.contains("FAIL"), "{key}: {text}");
    }
    let text = String::from_utf8(world.run(&["doctor", &id]).stdout).unwrap();
    assert!(text.contains("cmkit key enable"), "{text}");
    assert!(!world.ok(&["key", "create", "second"]).is_empty());
    let text = world
        .run(&["doctor", "local:second", "local:second"])
        .stdout;
    assert!(!String::from_utf8(text).unwrap().contains("reads alive"));
    assert_eq!(world.calls(), 0);
}
