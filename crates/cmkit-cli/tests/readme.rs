//! The shell examples of the README and of the guide are run, in order, as one story each; the Rust example is the one in `examples/rust`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{CMKIT, Place};

/// Stands in for cargo: what the examples may ask of it, without a second build. `cargo xtask ci` runs the demo.
const CARGO: &str = r#"#!/bin/sh
case "$*" in
  "build --release --package cmkit-cli")
    mkdir -p target/release
    ln -sf "$CMKIT" target/release/cmkit ;;
  "xtask demo" | "xtask ci") ;;
  *)
    echo "unexpected: cargo $*" >&2
    exit 9 ;;
esac
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The contents of the fenced blocks in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(tag) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<_> = lines
            .by_ref()
            .take_while(|line| !line.starts_with("```"))
            .collect();
        if tag == language {
            blocks.push(block.join("\n") + "\n");
        }
    }
    blocks
}

fn run_story(document: &str, at_least: usize) {
    let place = Place::new();
    let bin = place.path("../bin");
    fs::create_dir(&bin).unwrap();
    symlink(CMKIT, bin.join("cmkit")).unwrap();
    fs::write(bin.join("cargo"), CARGO).unwrap();
    fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(place.path("project")).unwrap();
    place.write("project/a", "text");
    let path = std::env::join_paths(
        [bin]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );

    let text = fs::read_to_string(root().join(document)).unwrap();
    let blocks = blocks(&text, "sh");
    assert!(
        blocks.len() >= at_least,
        "{document} has {} examples",
        blocks.len()
    );
    for block in blocks {
        let mut shell = Command::new("bash");
        shell
            .args(["-e", "-u", "-c", &block])
            .current_dir(place.path(""));
        shell
            .env("PATH", path.as_ref().unwrap())
            .env("CMKIT", CMKIT);
        shell
            .env("HOME", place.home())
            .env_remove("CMKIT_HOME")
            .env_remove("XDG_DATA_HOME");
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{document}:\n{block}\n{said}");
    }
}

#[test]
fn shell_examples_of_the_readme() {
    run_story("README.md", 7);
}

#[test]
fn shell_examples_of_the_guide() {
    run_story("docs/guides/cli.md", 4);
}

#[test]
fn the_rust_example() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = fs::read_to_string(root().join("examples/rust/quickstart.rs")).unwrap();
    let (_, program) = example.split_once("\n\n").unwrap();
    assert_eq!(blocks(&readme, "rust"), [program]);

    // Cargo builds the examples of a package for its tests.
    let built = Path::new(CMKIT)
        .with_file_name("examples")
        .join("quickstart");
    assert!(
        built.is_file(),
        "run the tests of the whole package: `cargo test -p cmkit-cli`"
    );
    let place = Place::new();
    let mut command = Command::new(built);
    command
        .current_dir(place.path(""))
        .env("CMKIT_HOME", place.home());
    assert!(command.status().unwrap().success());
    assert_eq!(place.names(), ["plan.txt", "plan.txt.cmk"]);
}

#[test]
fn every_example_has_a_language_and_every_link_a_file() {
    for document in [
        "README.md",
        "docs/guides/cli.md",
        "docs/guides/key-vault-cli.md",
        "docs/guides/scratch.md",
    ] {
        let path = root().join(document);
        let text = fs::read_to_string(&path).unwrap();
        let fences: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("```"))
            .collect();
        assert!(
            fences
                .chunks(2)
                .all(|pair| pair[0].len() > 3 && pair[1] == "```"),
            "{document}"
        );
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap();
            let there = link.starts_with("https://") || path.with_file_name(link).exists();
            assert!(there, "{document} links to {link}");
        }
    }
}
