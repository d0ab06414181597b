//! 64 MiB bodies against bare AES-256-GCM over the same buffers.

use std::cell::RefCell;
use std::env;
use std::process::Command;

use cmkit::EncryptionContext;

use super::{Row, Target};
use crate::bare::Gcm;
use crate::measure::side_by_side;

const SIZE: usize = 64 << 20;

/// Names of what one process measures, in the order of its figures.
const ENCRYPT: usize = 0;
const DECRYPT: usize = 1;
const SEAL: usize = 2;
const OPEN: usize = 3;
const SEAL_TWO: usize = 4;
const OPEN_TWO: usize = 5;

/// Rows for one thread and for two.
///
/// # Panics
/// When the child process for one core fails.
#[must_use]
pub fn rows() -> Vec<Row> {
    let one = pinned_to_one_core();
    let two = measure();
    let throughput = |seconds: f64| format!("{:.2} GB/s", SIZE as f64 / seconds / 1e9);
    let row = |what: &str, ours: f64, peer: f64, figure: f64, target: f64| Row {
        what: what.to_owned(),
        ours: throughput(ours),
        peer: throughput(peer),
        figure,
        target: Target::AtLeast(target),
    };
    let mut rows = Vec::new();
    for (verb, ours, peer) in [("encrypt", ENCRYPT, SEAL), ("decrypt", DECRYPT, OPEN)] {
        let ratio = one[peer] / one[ours];
        rows.push(row(
            &format!("64 MiB {verb}, one thread / raw GCM"),
            one[ours],
            one[peer],
            ratio,
            0.93,
        ));
    }
    for (verb, ours, peer, peer_two) in [
        ("encrypt", ENCRYPT, SEAL, SEAL_TWO),
        ("decrypt", DECRYPT, OPEN, OPEN_TWO),
    ] {
        let gain = (one[ours] / two[ours]) / (one[peer] / two[peer_two]);
        let what = format!("64 MiB {verb}, gain of two threads / raw GCM's gain");
        rows.push(row(&what, two[ours], two[peer_two], gain, 0.9));
    }
    rows
}

/// A process that sees one core, in which the library uses one thread.
fn pinned_to_one_core() -> [f64; 6] {
    let exe = env::current_exe().expect("own path");
    let out = Command::new("taskset")
        .args(["-c", "0"])
        .arg(exe)
        .arg("--body-times")
        .output()
        .expect("taskset");
    let text = String::from_utf8_lossy(&out.stdout);
    let mut numbers = text.split_whitespace().map(|n| n.parse().expect("a time"));
    std::array::from_fn(|_| numbers.next().expect("six times"))
}

/// The child's part: prints the times.
pub fn print_times() {
    for time in measure() {
        println!("{time}");
    }
}

fn measure() -> [f64; 6] {
    let (keyring, _dir) = crate::keyring();
    let context = EncryptionContext::empty();
    let gcm = Gcm::new(&[1; 32]);
    let plaintext = vec![7; SIZE];
    let len = usize::try_from(keyring.encrypted_len(SIZE as u64).expect("a length")).expect("fits");
    // Touched before it is measured: page faults would hide the cipher. Both sides write to the same one.
    let out = RefCell::new(vec![1; len]);

    let [encrypt, seal, seal_two] = side_by_side([
        &mut || {
            keyring
                .encrypt_into(&plaintext, &context, &mut out.borrow_mut())
                .expect("sealed");
        },
        &mut || gcm.seal(&plaintext, &mut out.borrow_mut()),
        &mut || gcm.seal_two_threads(&plaintext, &mut out.borrow_mut()),
    ]);

    let envelope = keyring.encrypt(&plaintext, &context).expect("sealed");
    let mut bare = vec![0; len];
    gcm.seal(&plaintext, &mut bare);
    let mut bare_halves = vec![0; len];
    gcm.seal_two_threads(&plaintext, &mut bare_halves);
    let out = RefCell::new(vec![1; SIZE]);
    let [decrypt, open, open_two] = side_by_side([
        &mut || {
            keyring
                .decrypt_into(&envelope, &context, &mut out.borrow_mut())
                .expect("opened");
        },
        &mut || gcm.open(&bare, &mut out.borrow_mut()),
        &mut || gcm.open_two_threads(&bare_halves, &mut out.borrow_mut()),
    ]);
    [encrypt, decrypt, seal, open, seal_two, open_two]
}
