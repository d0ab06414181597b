//! `cmkit key` and `cmkit rewrap`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use common::Place;

/// A version that no key has.
const OTHER: &str = "00000000000000000000000000000000";

#[test]
fn the_life_of_a_key() {
    let place = Place::new();
    place.write("a", "text");
    let made = place.run(&["key", "create", "team"]);
    made.said(&["back up", &place.home().display().to_string()]);
    let first = String::from_utf8(made.stdout)
        .unwrap()
        .trim_end()
        .to_owned();
    assert!(first.starts_with("local:team/") && first.len() == 11 + 32);
    place
        .run(&["key", "create", "team"])
        .failed(1, &["local:team", "cmkit key rotate team"]);

    place.ok(&["encrypt", "--key", "local:team", "a"]);
    let second = place
        .ok(&["key", "rotate", "local:team"])
        .trim_end()
        .to_owned();
    place.ok(&["encrypt", "--key", "local:team", "-o", "b.cmk", "a"]);
    assert!(place.ok(&["inspect", "a.cmk"]).contains(&first));
    assert!(place.ok(&["inspect", "b.cmk"]).contains(&second));
    // Both versions open what they wrapped.
    for name in ["a.cmk", "b.cmk"] {
        assert_eq!(
            place.ok(&["decrypt", "--key", "local:team", "-o", "-", name]),
            "text"
        );
    }

    place.ok(&["key", "disable", &first]);
    let refused = place.run(&["decrypt", "--key", "local:team", "-o", "-", "a.cmk"]);
    refused.failed(4, &["a.cmk", &first, "disabled", "cmkit key enable"]);
    let table = place.ok(&["key", "list"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("ID"));
    assert!(
        lines[1].starts_with(&first)
            && lines[1].contains("disabled")
            && !lines[1].contains("newest")
    );
    assert!(
        lines[2].starts_with(&second)
            && lines[2].contains("enabled")
            && lines[2].contains("newest")
    );
    assert_eq!(place.ok(&["key", "show", "team"]), table);
    let one = place.ok(&["key", "show", &first]);
    assert_eq!(one.lines().count(), 2);
    // Without the scheme, too.
    place.ok(&["key", "enable", first.strip_prefix("local:").unwrap()]);
    place.ok(&["decrypt", "--key", "local:team", "-o", "-", "a.cmk"]);

    let kept = place.run(&["key", "delete", &first]);
    kept.failed(
        2,
        &["nothing was deleted", "--yes-destroy", "cmkit key export"],
    );
    place.ok(&["decrypt", "--key", "local:team", "-o", "-", "a.cmk"]);
    place.ok(&["key", "delete", "--yes-destroy", &first]);
    let lost = place.run(&["decrypt", "--key", "local:team", "-o", "-", "a.cmk"]);
    lost.failed(4, &["a.cmk", &first, "destroyed"]);
    assert!(place.ok(&["key", "list"]).contains("destroyed"));
}

#[test]
fn what_key_commands_refuse() {
    let place = Place::new();
    for (args, said) in [
        (&["key", "create", "../x"][..], "letters, digits or hyphens"),
        (&["key", "create", ""], "letters, digits or hyphens"),
        (&["key", "create", "a/b"], "32 lower-case hex"),
        (
            &["key", "create", &format!("a/{OTHER}")],
            "without a version",
        ),
        (&["key", "create", &"x".repeat(128)], "127"),
        (&["key", "create", "a", "--type", "rsa-2048"], "rsa-3072"),
        (&["key", "disable", "a"], "cmkit key show a"),
        (&["key", "delete", "--yes-destroy", "a"], "NAME/VERSION"),
        (&["key", "show", "https://v.example/keys/a"], "local"),
    ] {
        place.run(args).failed(2, &[said]);
    }
    assert!(!place.home().exists());
    for args in [
        &["key", "show", "none"][..],
        &["key", "rotate", "none"],
        &["key", "export", "none"],
        &["key", "enable", &format!("none/{OTHER}")],
        &["key", "delete", "--yes-destroy", &format!("none/{OTHER}")],
    ] {
        place.run(args).failed(4, &["local:none"]);
    }
    assert!(!place.home().exists());
    let none = place.run(&["key", "list"]);
    assert_eq!((none.code, none.stdout.len()), (Some(0), 0));
    none.said(&["no keys in", "cmkit key create NAME"]);
    place.create_key(&["a"]);
    place
        .run(&["key", "show", &format!("a/{OTHER}")])
        .failed(4, &[OTHER]);
}

#[test]
fn a_backup_of_one_key_restores_it() {
    let place = Place::new();
    place.write("a", "text");
    for key_type in ["oct", "rsa-3072"] {
        let id = place.create_key(&[key_type, "--type", key_type]);
        let key = format!("local:{key_type}");
        place.ok(&["encrypt", "--force", "--key", &key, "a"]);
        let jwk = place.ok(&["key", "export", &id]);
        assert!(jwk.starts_with('{') && jwk.contains(&id));
        assert_eq!(place.ok(&["key", "export", key_type]), jwk);
        place.ok(&["key", "export", "--force", "-o", "key.jwk", &id]);
        assert_eq!(place.read("key.jwk"), jwk.as_bytes());
        assert_eq!(
            fs::metadata(place.path("key.jwk")).unwrap().mode() & 0o777,
            0o600
        );
        place
            .run(&["key", "export", "-o", "key.jwk", &id])
            .failed(1, &["key.jwk exists", "--force"]);

        let elsewhere = place.path("elsewhere");
        let elsewhere = elsewhere.to_str().unwrap();
        let imported = place.ok(&["--home", elsewhere, "key", "import", key_type, "key.jwk"]);
        assert_eq!(imported.trim_end(), id);
        let opened = place.ok(&[
            "--home", elsewhere, "decrypt", "--key", &key, "-o", "-", "a.cmk",
        ]);
        assert_eq!(opened, "text");
        // From a pipe, and again.
        let again = place.pipe(
            &["--home", elsewhere, "key", "import", key_type, "-"],
            jwk.as_bytes(),
        );
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        place
            .run(&["key", "import", "wrong-name", "key.jwk"])
            .failed(2, &["key.jwk", &key]);
    }
}

#[test]
fn a_public_half_only_encrypts() {
    let place = Place::new();
    place.write("a", "text");
    let id = place.create_key(&["box", "--type", "rsa-3072"]);
    place.create_key(&["oct"]);
    place
        .run(&["key", "export", "--public", "oct"])
        .failed(2, &["no public half"]);
    let pem = place.ok(&["key", "export", "--public", "box"]);
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----"));
    let jwk = place.ok(&["key", "export", "--public", "--format", "jwk", "box"]);
    assert!(jwk.contains(&id) && !jwk.contains("\"d\""));

    let outside = place.path("outside");
    let outside = outside.to_str().unwrap();
    place.write("box.pem", pem);
    // PEM doesn't say which version it is.
    let imported = place.ok(&["--home", outside, "key", "import", &id, "box.pem"]);
    assert_eq!(imported.trim_end(), id);
    assert!(
        place
            .ok(&["--home", outside, "key", "list"])
            .contains("public half only")
    );
    place.ok(&["--home", outside, "encrypt", "--key", "local:box", "a"]);
    place
        .run(&[
            "--home",
            outside,
            "decrypt",
            "--key",
            "local:box",
            "-o",
            "-",
            "a.cmk",
        ])
        .failed(4, &["a.cmk", "public half"]);
    assert_eq!(
        place.ok(&["decrypt", "--key", "local:box", "-o", "-", "a.cmk"]),
        "text"
    );
}

#[test]
fn what_import_refuses() {
    let place = Place::new();
    place.write("junk", "not a key");
    place.write("huge", vec![b' '; 100_000]);
    place.write("empty", "");
    for name in ["junk", "huge", "empty"] {
        place
            .run(&["key", "import", "a", name])
            .failed(2, &[name, "not usable"]);
    }
    place
        .run(&["key", "import", "a", "none"])
        .failed(1, &["cannot open none"]);
    place.run(&["key", "import", "a", "."]).failed(1, &["."]);
}

#[test]
fn open_modes_and_damaged_keys_are_refused() {
    let place = Place::new();
    place.write("a", "text");
    place.ok(&["encrypt", "a"]);
    let id = place.ok(&["key", "list"]).lines().nth(1).unwrap()[..46].to_owned();
    let (_, version) = id.split_once('/').unwrap();
    let file = place.home().join(format!("keys/default/{version}.jwk"));

    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, open, private) in [(&file, 0o640, 0o600), (&place.home(), 0o750, 0o700)] {
        mode(path, open);
        for args in [
            &["encrypt", "-o", "b", "a"][..],
            &["decrypt", "-o", "b", "a.cmk"],
            &["rewrap", "--to", "local:default", "a.cmk"],
        ] {
            place.run(args).failed(4, &["chmod"]);
        }
        mode(path, private);
    }
    let sealed = place.read("a.cmk");
    fs::write(&file, "{}").unwrap();
    for args in [
        &["encrypt", "-o", "b", "a"][..],
        &["decrypt", "-o", "b", "a.cmk"],
    ] {
        place.run(args).failed(4, &[version, "backup"]);
    }
    assert!(place.ok(&["key", "list"]).contains("damaged"));
    assert_eq!(place.names(), ["a", "a.cmk"]);
    assert_eq!(place.read("a.cmk"), sealed);
}

#[test]
fn rewrapping_moves_files_to_another_key() {
    let place = Place::new();
    let (one, two) = (place.create_key(&["one"]), place.create_key(&["two"]));
    for name in ["a", "b"] {
        place.write(name, name);
        place.ok(&["encrypt", "--key", "local:one", name]);
    }
    let body = place.read("a.cmk").split_off(4096);

    place
        .run(&["rewrap", "--to", "local:two", "a.cmk"])
        .failed(4, &["a.cmk", "`--key local:one`"]);
    let done = place.ok(&[
        "rewrap",
        "--key",
        "local:one",
        "--to",
        "local:two",
        "a.cmk",
        "b.cmk",
    ]);
    assert_eq!(
        done,
        format!("a.cmk: rewrapped by {two}\nb.cmk: rewrapped by {two}\n")
    );
    assert!(!place.ok(&["inspect", "a.cmk"]).contains(&one));
    assert!(place.read("a.cmk").ends_with(&body));
    assert_eq!(
        place.ok(&["decrypt", "--key", "local:two", "-o", "-", "a.cmk"]),
        "a"
    );
    place
        .run(&["decrypt", "--key", "local:one", "-o", "-", "a.cmk"])
        .failed(4, &["`--key local:two`"]);
    // To a new version of the same key nothing more is to be said.
    let newer = place.ok(&["key", "rotate", "two"]).trim_end().to_owned();
    assert_eq!(
        place.ok(&["rewrap", "--quiet", "--to", "local:two", "a.cmk"]),
        ""
    );
    assert!(place.ok(&["inspect", "a.cmk"]).contains(&newer));
    place
        .run(&[
            "rewrap",
            "--key",
            "local:two",
            "--to",
            "local:none",
            "a.cmk",
        ])
        .failed(4, &["local:none"]);
    assert_eq!(place.names(), ["a", "a.cmk", "b", "b.cmk"]);
}

#[test]
fn rewrapping_keeps_other_recipients_unless_told() {
    let place = Place::new();
    place.write("a", "text");
    for name in ["one", "two", "three"] {
        place.create_key(&[name]);
    }
    place.ok(&["encrypt", "--key", "local:one", "--key", "local:two", "a"]);
    place.ok(&[
        "rewrap",
        "--key",
        "local:one",
        "--to",
        "local:three",
        "a.cmk",
    ]);
    let inspected = place.ok(&["inspect", "a.cmk"]);
    assert!(!inspected.contains("local:one/") && inspected.contains("local:two/"));
    place.ok(&["rewrap", "--only", "--to", "local:three", "a.cmk"]);
    let inspected = place.ok(&["inspect", "a.cmk"]);
    assert!(!inspected.contains("local:two/") && inspected.contains("local:three/"));
    place.ok(&["decrypt", "--key", "local:three", "-o", "-", "a.cmk"]);
}

#[test]
fn rewrapping_goes_on_after_a_file_that_failed() {
    let place = Place::new();
    place.write("a", "text");
    place.ok(&["encrypt", "a"]);
    place.write("b.cmk", place.read("a.cmk"));
    place.create_key(&["new"]);
    let ended = place.run(&[
        "rewrap",
        "--to",
        "local:new",
        "a.cmk",
        "none",
        "a",
        ".",
        "b.cmk",
    ]);
    // The first failure's: there is no such file.
    assert_eq!(ended.code, Some(1));
    ended.said(&["none", "cmkit: a: ", ". is a directory"]);
    let done = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(done.lines().count(), 2);
    for name in ["a.cmk", "b.cmk"] {
        assert!(place.ok(&["inspect", name]).contains("local:new/"));
    }
}

#[test]
fn rewrapping_needs_no_workspace() {
    let place = Place::new();
    place.write("a", "text");
    place.ok(&["encrypt", "--workspace", "w", "--context", "k=v", "a"]);
    place.create_key(&["new"]);
    place.ok(&["rewrap", "--to", "local:new", "a.cmk"]);
    let args = [
        "decrypt",
        "-o",
        "-",
        "--key",
        "local:new",
        "--workspace",
        "w",
        "--context",
        "k=v",
        "a.cmk",
    ];
    assert_eq!(place.ok(&args), "text");
}

#[test]
fn a_rewrap_that_was_interrupted_completes() {
    let place = Place::new();
    place.write("a", "text");
    place.ok(&["encrypt", "--workspace", "w", "a"]);
    let old = place.read("a.cmk")[..4096].to_vec();
    place.write("b.cmk", place.read("a.cmk"));
    place.create_key(&["new"]);
    place.ok(&["rewrap", "--to", "local:new", "b.cmk"]);
    let new = place.read("b.cmk")[..4096].to_vec();
    // As if the machine had stopped in the middle of writing the header.
    let mut torn = place.read("a.cmk");
    torn[..200].copy_from_slice(&new[..200]);
    assert!(torn[..4096] != old && torn[..4096] != new);
    place.write("a.cmk", &torn);
    place.write("a.cmk.cmk-rewrap", [new, old].concat());

    let open = [
        "decrypt",
        "--workspace",
        "w",
        "--key",
        "local:new",
        "-o",
        "-",
        "a.cmk",
    ];
    assert_eq!(place.ok(&open), "text");
    let piped = place.pipe(
        &["decrypt", "--workspace", "w", "--key", "local:new"],
        &torn,
    );
    piped.failed(3, &["standard input"]);
    place.ok(&["rewrap", "--to", "local:new", "a.cmk"]);
    assert!(!place.path("a.cmk.cmk-rewrap").exists());
    assert_eq!(place.ok(&open), "text");
}
