//! Files in, files out: names, contexts, modes, what exists already.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use common::{Place, noise};

#[test]
fn there_and_back_at_every_boundary() {
    let place = Place::new();
    for len in [0, 1, 16_383, 16_384, 16_385, 100_000, (4 << 20) + 1] {
        let plain = noise(len);
        place.write("a.bin", &plain);
        place.ok(&["encrypt", "--force", "a.bin"]);
        let sealed = place.read("a.bin.cmk");
        assert_eq!(sealed.len(), 4096 + 56 + len + 16 * (len / 16_384 + 1));
        fs::remove_file(place.path("a.bin")).unwrap();
        place.ok(&["decrypt", "a.bin.cmk"]);
        assert_eq!(place.read("a.bin"), plain);
    }
    assert_eq!(place.names(), ["a.bin", "a.bin.cmk"]);
}

#[test]
fn the_default_key_is_made_once_and_only_by_encrypt() {
    let place = Place::new();
    place.write("a", "text");
    place.ok(&["key", "list"]);
    place
        .run(&["rewrap", "--to", "local:default", "a"])
        .failed(3, &["a: "]);
    assert!(!place.home().exists());

    let first = place.run(&["encrypt", "a"]);
    assert_eq!(first.code, Some(0));
    let home = place.home().display().to_string();
    first.said(&["made the key local:default/", &home, "back up"]);
    assert_eq!(first.stderr.lines().count(), 1);
    assert_eq!(fs::metadata(place.home()).unwrap().mode() & 0o777, 0o700);

    let second = place.run(&["encrypt", "--force", "a"]);
    assert_eq!((second.code, second.stderr.as_str()), (Some(0), ""));

    // In another directory, which stays empty.
    place.write("sealed.cmk", place.read("a.cmk"));
    let elsewhere = place.path("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    place
        .run(&["--home", elsewhere, "decrypt", "-o", "b", "sealed.cmk"])
        .failed(
            4,
            &[
                "sealed.cmk",
                "local:default/",
                elsewhere,
                "--home",
                "backup",
            ],
        );
    place
        .run(&[
            "rewrap",
            "--home",
            elsewhere,
            "--to",
            "local:default",
            "sealed.cmk",
        ])
        .failed(4, &["sealed.cmk", "local:default/"]);
    assert!(!fs::exists(elsewhere).unwrap());
}

#[test]
fn the_home_option_is_stronger_than_the_variable() {
    let place = Place::new();
    place.write("a", "text");
    let other = place.path("other");
    let ended = place.run(&["encrypt", "--home", other.to_str().unwrap(), "a"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(other.join("keys/default").is_dir() && !place.home().exists());
    place
        .run(&["encrypt", "--home", "", "-o", "b", "a"])
        .failed(2, &["--home"]);
}

#[test]
fn names_of_outputs() {
    let place = Place::new();
    place.write("a", "text");
    place.ok(&["encrypt", "a"]);
    place.ok(&["encrypt", "-o", "other", "a"]);
    place
        .run(&["decrypt", "other"])
        .failed(2, &["other", ".cmk", "`-o`"]);
    place.ok(&["decrypt", "-o", "back", "other"]);
    assert_eq!(place.ok(&["decrypt", "-o", "-", "other"]), "text");
    assert_eq!(place.names(), ["a", "a.cmk", "back", "other"]);
    // A name that looks like an option, and one that looks like a pipe.
    place.write("-x", "text");
    place.ok(&["encrypt", "--", "-x"]);
    place.write("-", "text");
    place.ok(&["encrypt", "./-"]);
    assert!(place.path("-x.cmk").exists() && place.path("-.cmk").exists());
}

#[test]
fn what_exists_is_replaced_by_force_only() {
    let place = Place::new();
    place.write("a", "text");
    place.write("a.cmk", "precious");
    place
        .run(&["encrypt", "a"])
        .failed(1, &["a.cmk exists already", "--force", "`-o`"]);
    assert_eq!(place.read("a.cmk"), b"precious");
    // Nothing was asked of the key directory for that.
    assert!(!place.home().exists());
    place.ok(&["encrypt", "--force", "a"]);
    place
        .run(&["decrypt", "a.cmk"])
        .failed(1, &["a exists already", "--force"]);
    place.ok(&["decrypt", "--force", "a.cmk"]);

    // A link that leads nowhere is in the way too, and is replaced itself.
    symlink("nowhere", place.path("link")).unwrap();
    place
        .run(&["encrypt", "-o", "link", "a"])
        .failed(1, &["link exists already"]);
    place.ok(&["encrypt", "--force", "-o", "link", "a"]);
    assert!(!place.path("link").is_symlink() && !place.path("nowhere").exists());
}

#[test]
fn output_equal_to_input() {
    let place = Place::new();
    place.write("a", "text");
    symlink("a", place.path("soft")).unwrap();
    fs::hard_link(place.path("a"), place.path("hard")).unwrap();
    for output in ["a", "./a", "soft", "hard"] {
        for force in [
            &["encrypt", "--force", "a", "-o"][..],
            &["encrypt", "a", "-o"],
        ] {
            place
                .run(&[force, &[output]].concat())
                .failed(2, &["input and output at once", "`-o`"]);
        }
    }
    assert_eq!(place.read("a"), b"text");
    assert_eq!(place.names(), ["a", "hard", "soft"]);

    // Through redirections.
    let mut command = place.command(&["encrypt", "-o", "a", "--force"]);
    let ended: common::Ended = command
        .stdin(fs::File::open(place.path("a")).unwrap())
        .output()
        .unwrap()
        .into();
    ended.failed(2, &["input and output at once"]);
    let append = fs::OpenOptions::new()
        .append(true)
        .open(place.path("a"))
        .unwrap();
    let ended: common::Ended = place
        .command(&["encrypt", "-o", "-", "a"])
        .stdout(append)
        .output()
        .unwrap()
        .into();
    ended.failed(2, &["input and output at once"]);
    assert_eq!(place.read("a"), b"text");
}

#[test]
fn directories_and_missing_files() {
    let place = Place::new();
    fs::create_dir(place.path("d")).unwrap();
    place.write("a", "text");
    place
        .run(&["encrypt", "d"])
        .failed(2, &["d is a directory", "tar"]);
    place
        .run(&["decrypt", "d"])
        .failed(2, &["d is a directory"]);
    place
        .run(&["inspect", "d"])
        .failed(2, &["d is a directory"]);
    place
        .run(&["rewrap", "--to", "local:default", "d"])
        .failed(2, &["d"]);
    place
        .run(&["encrypt", "-o", "d", "a"])
        .failed(2, &["d is a directory", "`-o`"]);
    place
        .run(&["encrypt", "--force", "-o", "d", "a"])
        .failed(2, &["d is a directory"]);
    place
        .run(&["encrypt", "none"])
        .failed(1, &["cannot open none"]);
    place
        .run(&["decrypt", "none.cmk"])
        .failed(1, &["cannot open none.cmk"]);
    place
        .run(&["inspect", "none"])
        .failed(1, &["cannot open none"]);
    place
        .run(&["encrypt", "-o", "none/b", "a"])
        .failed(1, &["none/b"]);
    assert_eq!(place.names(), ["a", "d"]);
}

#[test]
fn contexts_must_be_the_same() {
    let place = Place::new();
    place.write("a", "text");
    place.ok(&[
        "encrypt",
        "--context",
        "doc=42",
        "--context",
        "kind==x",
        "a",
    ]);
    let decrypt = |contexts: &[&str]| {
        let mut args = vec!["decrypt", "--force", "a.cmk"];
        for context in contexts {
            args.extend(["--context", context]);
        }
        place.run(&args)
    };
    assert_eq!(decrypt(&["kind==x", "doc=42"]).code, Some(0));
    for wrong in [
        &["doc=42"][..],
        &[],
        &["doc=42", "kind=x"],
        &["doc=42", "kind==x", "more="],
    ] {
        decrypt(wrong).failed(3, &["a.cmk", "authentication failed", "--context"]);
    }
    decrypt(&["doc"]).failed(2, &["KEY=VALUE"]);
    decrypt(&["doc=1", "doc=2"]).failed(2, &["doc", "twice"]);
    decrypt(&[&format!("k={}", "v".repeat(8200))]).failed(2, &["8192"]);
}

#[test]
fn workspaces_must_be_the_same() {
    let place = Place::new();
    place.write("a", "text");
    place.ok(&["encrypt", "--workspace", "tenant 1", "a"]);
    place.ok(&["encrypt", "-o", "none.cmk", "a"]);
    place
        .run(&["decrypt", "-o", "b", "a.cmk"])
        .failed(4, &["a.cmk", "--workspace 'tenant 1'"]);
    place
        .run(&["decrypt", "-o", "b", "--workspace", "x", "a.cmk"])
        .failed(4, &["tenant 1", "\"x\""]);
    place
        .run(&["decrypt", "-o", "b", "--workspace", "x", "none.cmk"])
        .failed(4, &["leave out"]);
    place
        .run(&["decrypt", "-o", "b", "--workspace", "", "a.cmk"])
        .failed(2, &["512"]);
    place.ok(&["decrypt", "-o", "b", "--workspace", "tenant 1", "a.cmk"]);
}

#[test]
fn what_an_envelope_says_does_not_steer_the_terminal() {
    let place = Place::new();
    place.write("a", "text");
    place.ok(&["encrypt", "--workspace", "\u{1b}[31m\u{202e}", "a"]);
    let inspected = place.ok(&["inspect", "a.cmk"]);
    let refused = place.run(&["decrypt", "-o", "b", "a.cmk"]).stderr;
    for text in [inspected, refused] {
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert!(text.contains("[31m"));
    }
}

#[test]
fn the_output_has_the_mode_of_the_input() {
    let place = Place::new();
    for mode in [0o600, 0o640, 0o644, 0o755, 0o400] {
        let path = place.write("a", "text");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        place.ok(&["encrypt", "--force", "a"]);
        place.ok(&["decrypt", "--force", "-o", "b", "a.cmk"]);
        for name in ["a.cmk", "b"] {
            assert_eq!(
                fs::metadata(place.path(name)).unwrap().mode() & 0o7777,
                mode
            );
        }
        fs::remove_file(path).unwrap();
    }
    // Nobody says for a pipe: private.
    place.pipe(&["encrypt", "-o", "c"], b"text");
    assert_eq!(
        fs::metadata(place.path("c")).unwrap().mode() & 0o7777,
        0o600
    );
}

#[test]
fn several_recipients_each_open_it() {
    let place = Place::new();
    place.write("a", "text");
    place.create_key(&["one"]);
    place.create_key(&["two", "--type", "rsa-3072"]);
    place.ok(&["encrypt", "--key", "local:one", "--key", "local:two", "a"]);
    place.run(&["decrypt", "-o", "b", "a.cmk"]).failed(
        4,
        &[
            "local:one/",
            "local:two/",
            "`--key local:one` or `--key local:two`",
        ],
    );
    for key in ["local:one", "local:two"] {
        assert_eq!(
            place.ok(&["decrypt", "-o", "-", "--key", key, "a.cmk"]),
            "text"
        );
    }
    place
        .run(&[
            "encrypt",
            "--force",
            "--key",
            "local:one",
            "--key",
            "local:one",
            "a",
        ])
        .failed(2, &["twice"]);
    place
        .run(&["encrypt", "--force", "--key", "local:none", "a"])
        .failed(4, &["cmkit key create none"]);
    place
        .run(&["encrypt", "--key", "one", "a"])
        .failed(2, &["local:NAME"]);
    place
        .run(&["encrypt", "--key", "local:../x", "a"])
        .failed(2, &["letters, digits or hyphens"]);
    place
        .run(&[
            "encrypt",
            "--force",
            "--key",
            "https://v.example/keys/k",
            "a",
        ])
        .failed(2, &["not a host of Key Vault"]);
}
