//! A 1 KiB document through the C library against the same call from Rust, in one run.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cmkit::EncryptionContext;

use super::{Row, Target};
use crate::measure::{RUNS, median, repetitions};

/// One row. `program` is the compiled `benches/c/call.c`: given a number of calls, it prints the nanoseconds of one.
///
/// # Panics
/// When the program fails.
#[must_use]
pub fn rows(program: &Path) -> Vec<Row> {
    let (keyring, _dir) = crate::keyring();
    let context = EncryptionContext::new([("doc", "42")]).expect("a context");
    let plaintext = [7; 1024];
    let mut out = [0; 2048];
    let mut call = || {
        keyring
            .encrypt_into(&plaintext, &context, &mut out)
            .expect("sealed");
    };
    let n = repetitions(&mut call, Duration::from_millis(200));
    let (mut rust, mut c) = ([0.0; RUNS], [0.0; RUNS]);
    for run in 0..RUNS {
        let start = std::time::Instant::now();
        (0..n).for_each(|_| call());
        rust[run] = start.elapsed().as_secs_f64() * 1e9 / f64::from(n);
        let out = Command::new(program)
            .arg(n.to_string())
            .output()
            .expect("the C program");
        c[run] = String::from_utf8_lossy(&out.stdout)
            .trim()
            .parse()
            .expect("nanoseconds");
    }
    let (rust, c) = (median(rust), median(c));
    vec![Row {
        what: "1 KiB document, C call - Rust call, ns".into(),
        ours: format!("{c:.0} ns"),
        peer: format!("{rust:.0} ns"),
        figure: c - rust,
        target: Target::AtMost(100.0),
    }]
}
