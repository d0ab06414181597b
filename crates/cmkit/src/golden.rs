//! The golden vectors (`tests/vectors/v1`): written here, and held against what is there, byte for byte.
//!
//! `CMKIT_BLESS=1 cargo test -p cmkit golden::envelopes` writes them. That is for a new vector: one that was released never changes.

// A key directory's modes are those of Unix.
#![cfg(unix)]

mod forge;
mod keys;
mod refused;
mod run;
mod valid;
mod volume;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where the vectors are. A package unpacked from a registry has none, and its tests nothing to compare with.
fn dir() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/v1");
    dir.is_dir().then_some(dir)
}

fn blessing() -> bool {
    env::var_os("CMKIT_BLESS").is_some()
}

/// Compares a file with what it has to be, or writes it.
fn check_file(path: &Path, bytes: &[u8]) {
    if blessing() {
        fs::write(path, bytes).unwrap();
        return;
    }
    let there = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(
        there == bytes,
        "{} is not what this cmkit writes",
        path.display()
    );
}

fn check_json(path: &Path, list: Vec<Value>) {
    let text = serde_json::to_string_pretty(&Value::Array(list)).unwrap() + "\n";
    check_file(path, text.as_bytes());
}

fn read_json(path: &Path) -> Vec<Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// The plaintext of every vector: byte i is (7 i + floor(i / 251)) mod 256.
fn plaintext(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((7 * i + i / 251) % 256).unwrap())
        .collect()
}

/// Makes the vectors and compares them. One test, since the refused ones are made of the others.
#[test]
fn envelopes_are_written_as_ever() {
    let Some(dir) = dir() else { return };
    let bases = valid::check(&dir);
    refused::check(&dir, &bases);
}

#[test]
fn volume_files_are_written_as_ever() {
    let Some(dir) = dir() else { return };
    volume::check(&dir);
}

#[test]
fn every_vector_opens_in_every_way() {
    let Some(dir) = dir() else { return };
    run::valid(&dir);
}

#[test]
fn every_forgery_is_refused_in_every_way() {
    let Some(dir) = dir() else { return };
    run::refused(&dir);
}
