//! `cmkit encrypt` and `cmkit decrypt` under keys of a vault.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;
mod world;

use cmkit_testkit::{Op, Rule, Source, VaultChange};
use serde_json::{Value, json};
use world::{World, recipients, unversioned};

#[test]
fn there_and_back_as_several_identities() {
    let world = World::new("identities");
    let kid = world.key("kek");
    let key = unversioned(&kid);
    world.place.write("a", "text");
    for (source, identity) in [
        (Source::ClientSecret, "client-secret"),
        (Source::Imds, "imds"),
        (Source::AzureMl, "azureml"),
        (Source::AzureMl, "auto"),
    ] {
        let run = |args: &[&str]| {
            let mut command = world.command(source, args);
            let output = command.env("CMKIT_IDENTITY", "no such").output().unwrap();
            // Nothing is said when all is well.
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{identity}");
            assert!(output.status.success(), "{identity}");
            output.stdout
        };
        run(&[
            "encrypt",
            "--force",
            "--key",
            key,
            "--identity",
            identity,
            "a",
        ]);
        assert_eq!(recipients(&world, "a.cmk"), [&*kid]);
        let args = [
            "decrypt",
            "--key",
            key,
            "--identity",
            identity,
            "-o",
            "-",
            "a.cmk",
        ];
        assert_eq!(run(&args), b"text");
    }
    assert!(!world.place.home().exists(), "no local key was needed");
}

#[test]
fn an_rsa_key_and_a_home_that_there_is_not() {
    let world = World::new("rsa");
    let kid = world.fake.create_key("rsa.vault.azure.net", "kek");
    world.place.write("a", "text");
    for args in [
        &["encrypt", "--key", &kid, "a"][..],
        &["decrypt", "--key", &kid, "--force", "a.cmk"],
    ] {
        let mut command = world.command(Source::ClientSecret, args);
        let output = command.env_remove("CMKIT_HOME").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
    assert!(world.ok(&["inspect", "a.cmk"]).contains("RSA-OAEP-256"));
    assert_eq!(world.place.read("a"), b"text");
}

#[test]
fn a_vault_key_and_a_local_one() {
    let world = World::new("mixed");
    let kid = world.key("kek");
    let key = unversioned(&kid);
    world.ok(&["key", "create", "team"]);
    world.place.write("a", "text");
    world.ok(&["encrypt", "--key", key, "--key", "local:team", "a"]);
    assert_eq!(recipients(&world, "a.cmk").len(), 2);
    world.opens("a.cmk", key);
    // Without the vault the local one opens it: nothing is known against the other.
    world.fake.change_vault(VaultChange {
        host: world.host.clone(),
        gone: Some(true),
        ..VaultChange::default()
    });
    world.opens("a.cmk", "local:team");
}

#[test]
fn what_is_not_allowed_calls_nothing() {
    let world = World::new("strangers");
    let kid = world.key("kek");
    world.sealed("a.cmk", &kid);
    let before = world.calls();
    let advice = format!("add `--key {}`", unversioned(&kid));
    let refused = world.run(&["decrypt", "-o", "-", "a.cmk"]);
    refused.failed(4, &["a.cmk", &advice]);
    assert_eq!(world.calls(), before);

    world.place.write("b", "text");
    for (key, words) in [
        ("https://kek.example/keys/a", "not a host of Key Vault"),
        (
            "https://vault.azure.net.example/keys/a",
            "not a host of Key Vault",
        ),
        ("https://V.vault.azure.net/keys/a", "lower-case"),
        ("http://v.vault.azure.net/keys/a", "scheme"),
    ] {
        world
            .run(&["encrypt", "--key", key, "b"])
            .failed(2, &[words]);
        assert!(!world.place.path("b.cmk").exists());
    }
    let refused = world.run(&["key", "rotate", &kid]);
    refused.failed(2, &["az keyvault"]);
}

#[test]
fn all_keys_of_a_host_can_be_allowed() {
    let world = World::new("hosts");
    world.sealed("a.cmk", &world.key("kek"));
    let open = ["decrypt", "-o", "-", "a.cmk"];
    assert_eq!(
        world.ok(&[&open[..], &["--allow-host", &world.host]].concat()),
        "text"
    );
    let mut command = world.command(Source::ClientSecret, &open);
    let hosts = format!("other.vault.azure.net, {}", world.host);
    let output = command.env("CMKIT_ALLOW_HOSTS", hosts).output().unwrap();
    assert_eq!(output.stdout, b"text");
    let wrong = [&open[..], &["--allow-host", "other.vault.azure.net"]].concat();
    world.run(&wrong).failed(4, &["--key https://hosts."]);
}

#[test]
fn a_no_of_the_vault_is_4() {
    let world = World::new("refusals");
    let kid = world.key("disabled");
    world.sealed("disabled.cmk", &kid);
    world.fake.disable(&kid);
    let open = |name: &str, kid: &str| world.run(&["decrypt", "--key", kid, "-o", "-", name]);
    open("disabled.cmk", &kid).failed(4, &["disabled.cmk", &kid, "disabled"]);
    world
        .run(&["encrypt", "--key", &kid, "plain"])
        .failed(4, &["disabled"]);

    let kid = world.key("deleted");
    world.sealed("deleted.cmk", &kid);
    world.fake.delete(&world.host, "deleted");
    open("deleted.cmk", &kid).failed(4, &["deleted.cmk", &kid]);

    let kid = world.key("denied");
    world.sealed("denied.cmk", &kid);
    world.deny(Op::Unwrap);
    let refused = open("denied.cmk", &kid);
    refused.failed(
        4,
        &["denied.cmk", &kid, "ForbiddenByRbac", "signed in as auto: "],
    );
    assert!(!world.place.names().contains(&"plain.cmk".to_owned()));
}

#[test]
fn out_of_reach_is_5() {
    let world = World::new("faults");
    let kid = world.key("kek");
    world.sealed("a.cmk", &kid);
    let mut throttled = Rule::status(Op::Unwrap, 429).times(1);
    throttled.retry_after = Some(3600);
    world.rule(throttled);
    let open = ["decrypt", "--key", &kid, "-o", "-", "a.cmk"];
    world
        .run(&open)
        .failed(5, &["a.cmk", "try again in 3600 s"]);
    // A fault that passes is waited for.
    world.rule(Rule::status(Op::Unwrap, 503).times(1));
    world.opens("a.cmk", &kid);

    let mut command = world.command(Source::ClientSecret, &open);
    let ended: common::Ended = command
        .env("AZURE_CLIENT_SECRET", "wrong")
        .output()
        .unwrap()
        .into();
    ended.failed(5, &["client secret", "the identity `auto` took"]);
    let mut command = world.command(Source::ClientSecret, &open);
    let ended: common::Ended = command.env("CMKIT_IDENTITY", "me").output().unwrap().into();
    ended.failed(2, &["CMKIT_IDENTITY", "azure-ml"]);
    let wanting = [&open[..], &["--identity", "workload"]].concat();
    world
        .run(&wanting)
        .failed(2, &["AZURE_FEDERATED_TOKEN_FILE"]);
}

#[test]
fn keys_must_meet_the_rules() {
    let world = World::new("rules");
    world.place.write("a", "text");
    world.fake.change_vault(VaultChange {
        host: world.host.clone(),
        recovery_level: Some("Recoverable+Purgeable".into()),
        ..VaultChange::default()
    });
    let kid = world.key("kek");
    let refused = world.run(&["encrypt", "--key", &kid, "a"]);
    refused.failed(
        4,
        &["purge protection is not on", "--enable-purge-protection"],
    );
    assert!(!world.place.path("a.cmk").exists());

    let small = json!({"kty": "RSA", "key_size": 2048});
    let kid = world
        .fake
        .create_key_with("rules.vault.azure.net", "small", small);
    let encrypt = ["encrypt", "--key", &kid, "a"];
    world
        .run(&encrypt)
        .failed(4, &["2048 bits", "`--allow-rsa-2048`"]);
    let mut command = world.command(Source::ClientSecret, &encrypt);
    let output = command.env("CMKIT_ALLOW_RSA_2048", "1").output().unwrap();
    assert!(output.status.success());
    // To open, the version that wrapped is enough.
    assert_eq!(
        world.ok(&["decrypt", "--key", &kid, "-o", "-", "a.cmk"]),
        "text"
    );
}

#[test]
fn without_get() {
    let world = World::new("no-get");
    let kid = world.key("kek");
    world.deny(Op::Get);
    world.place.write("a", "text");
    world
        .run(&["encrypt", "--key", &kid, "a"])
        .failed(4, &["get"]);
    let named = ["encrypt", "--no-get", "--key", unversioned(&kid), "a"];
    world.run(&named).failed(2, &["name it with its version"]);
    world.ok(&["encrypt", "--no-get", "--key", &kid, "a"]);
    // Opening never needed it, nor the version.
    for more in [&[][..], &["--no-get"]] {
        let args = ["decrypt", "--key", unversioned(&kid), "-o", "-", "a.cmk"];
        assert_eq!(world.ok(&[&args[..], more].concat()), "text");
    }
}

#[test]
fn a_rewrap_stays_in_its_vault() {
    let world = World::new("moves");
    let kid = world.key("kek");
    let new = world.key("new");
    let elsewhere = world
        .fake
        .create_key("elsewhere.managedhsm.azure.net", "kek");
    world.sealed("a.cmk", &kid);
    let rewrap = |to: &str, more: &[&str]| {
        world.run(&[&["rewrap", "--key", &kid, "--to", to, "a.cmk"], more].concat())
    };
    let before = world.place.read("a.cmk");
    rewrap(&elsewhere, &[]).failed(
        4,
        &["a.cmk", "`--allow-other-vault`", "nothing was changed"],
    );
    assert_eq!(world.place.read("a.cmk"), before);

    assert_eq!(rewrap(&new, &[]).code, Some(0));
    assert_eq!(recipients(&world, "a.cmk"), [&*new]);
    let to = [
        "rewrap",
        "--key",
        &new,
        "--to",
        &elsewhere,
        "--allow-other-vault",
        "a.cmk",
    ];
    assert!(world.ok(&to).contains(&elsewhere));
    assert_eq!(recipients(&world, "a.cmk"), [&*elsewhere]);
}

#[test]
fn every_call_is_a_line_of_the_audit_file() {
    let world = World::new("audit");
    let kid = world.key("kek");
    world.place.write("a", "text");
    let more = ["--audit", "audit.jsonl", "--workspace", "contoso-ws"];
    world.ok(&[&["encrypt", "--key", &kid, "a"][..], &more].concat());
    world.fake.disable(&kid);
    let open = ["decrypt", "--key", &kid, "-o", "-", "a.cmk"];
    world.run(&[&open[..], &more].concat()).failed(4, &[]);
    let text = String::from_utf8(world.place.read("audit.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["operation"], "wrap");
    assert_eq!(lines[0]["outcome"], "ok");
    let unwrap = lines.iter().find(|l| l["operation"] == "unwrap").unwrap();
    assert_eq!(unwrap["outcome"], "KeyDisabled");
    assert!(
        lines
            .iter()
            .all(|l| l["key"].as_str().unwrap().starts_with(unversioned(&kid)))
    );
    assert!(lines.iter().all(|l| l["workspace"] == "contoso-ws"));
    assert!(
        !text.contains("a.cmk") && !text.contains(&world.fake.addresses().identity.client_secret)
    );

    let unwritable = ["encrypt", "--audit", "no/such/dir", "--key", &kid, "a"];
    world.run(&unwritable).failed(1, &["audit"]);
}
