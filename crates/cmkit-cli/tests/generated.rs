//! Help, completions and manual pages.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use common::Place;

/// Those of every command that may call a vault, and what to set instead.
const VAULT: [&str; 16] = [
    "--identity",
    "azure-ml",
    "CMKIT_IDENTITY",
    "--client-id",
    "CMKIT_CLIENT_ID",
    "--ca-file",
    "CMKIT_CA_FILE",
    "--allow-host",
    "CMKIT_ALLOW_HOSTS",
    "--allow-rsa-2048",
    "--no-get",
    "--high-business-impact",
    "CMKIT_ALLOW_RSA_2048",
    "CMKIT_NO_GET",
    "--audit",
    "CMKIT_AUDIT",
];

#[test]
fn every_command_has_help() {
    let place = Place::new();
    let help = place.ok(&["--help"]);
    for (command, parts) in [
        (
            "encrypt",
            &[
                "--key",
                "--context",
                "--workspace",
                "--force",
                "-o",
                "local:default",
            ][..],
        ),
        (
            "decrypt",
            &["--key", "--context", "--workspace", "--force", "-o"],
        ),
        ("inspect", &["--json"]),
        ("encrypt", &VAULT),
        ("decrypt", &VAULT),
        ("rewrap", &VAULT),
        ("rotate", &VAULT),
        ("census", &VAULT),
        ("doctor", &VAULT[..12]),
        (
            "rewrap",
            &["--to", "--only", "--key", "--allow-other-vault"],
        ),
        (
            "rotate",
            &["--key", "--dry-run", "--keep-old", "--json", "-q"],
        ),
        (
            "census",
            &[
                "--safe-to-disable",
                "--poll-interval",
                "--dek-age",
                "--json",
            ],
        ),
        ("doctor", &["--json", "KEYID"]),
        (
            "key",
            &[
                "create", "list", "show", "rotate", "disable", "enable", "import", "export",
                "delete",
            ],
        ),
        ("completions", &["bash", "zsh", "fish"]),
    ] {
        assert!(help.contains(command));
        let help = place.ok(&[command, "--help"]);
        for part in parts {
            assert!(help.contains(part), "{command}: {part}");
        }
    }
    assert!(help.contains("Exit codes") && !help.contains("  man "));
    assert!(place.ok(&["--version"]).starts_with("cmkit 0."));
}

#[test]
#[cfg(target_os = "linux")]
fn scratch_commands_have_help_with_examples_and_pages() {
    let place = Place::new();
    place.ok(&["man", "pages"]);
    for command in [
        "run", "serve", "mount", "create", "open", "status", "end", "recover", "bench",
    ] {
        let help = place.ok(&["scratch", command, "--help"]);
        assert!(help.contains("Example") && help.contains(&format!("cmkit scratch {command}")));
        let page = place.path(&format!("pages/cmkit-scratch-{command}.1"));
        assert!(page.is_file(), "{command}");
    }
}

#[test]
fn wrong_usage_is_2_and_in_the_same_form() {
    let place = Place::new();
    for args in [
        &["frobnicate"][..],
        &["encrypt", "--frob"],
        &["rewrap", "a"],
        &["inspect"],
        &["encrypt", "a", "b"],
        &["completions", "tcsh"],
    ] {
        place.run(args).failed(2, &[]);
    }
    for args in [&[][..], &["key"]] {
        let ended = place.run(args);
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("Usage: cmkit"), "{}", ended.stderr);
    }
}

#[test]
fn completions_are_scripts() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.ok(&["completions", shell]);
        assert!(
            script.contains("cmkit") && script.contains("rewrap"),
            "{shell}"
        );
        for new in [
            "rotate",
            "census",
            "doctor",
            "safe-to-disable",
            "allow-host",
        ] {
            assert!(script.contains(new), "{shell}: {new}");
        }
    }
    place.write("c.bash", place.ok(&["completions", "bash"]));
    let mut bash = std::process::Command::new("bash");
    let status = bash.arg("-n").arg(place.path("c.bash")).status();
    match status {
        Ok(status) => assert!(status.success()),
        Err(error) => println!("SKIPPED: there is no bash to read its completions ({error})"),
    }
}

#[test]
fn manual_pages() {
    let place = Place::new();
    let page = place.ok(&["man"]);
    assert!(
        page.contains(".TH cmkit 1") && page.contains(r"cmkit\-rewrap(1)"),
        "{page}"
    );
    place.ok(&["man", "pages"]);
    for name in [
        "cmkit.1",
        "cmkit-encrypt.1",
        "cmkit-key.1",
        "cmkit-key-create.1",
        "cmkit-rotate.1",
        "cmkit-census.1",
        "cmkit-doctor.1",
    ] {
        let page = place.path("pages").join(name);
        assert!(
            std::fs::read_to_string(page).unwrap().contains(".TH"),
            "{name}"
        );
    }
}
