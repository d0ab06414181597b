//! What the compiler can't see: that the sources, the header and the documents agree. What the library does is tested from C, in
//! `tests/c`.

mod codes;
mod exports;
mod guide;
mod panics;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the checkout.
fn read(path: &str) -> String {
    let full = root().join(path);
    fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
