//! Blocks of scratch disks, 1 MiB at a time: AES-256-GCM against the bare library, XTS against OpenSSL and the crate `xts-mode`; making and destroying a disk.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aes::cipher::KeyInit as _;
use cmkit::{BlockKey, BlockSeal, BlockSize, SectorSize, XtsKey};
use cmkit_scratch::{FileBacking, Volume, VolumeSpec};
use xts_mode::Xts128;

use super::{Row, Target};
use crate::bare::BareBlocks;
use crate::measure::{RUNS, median, repetitions, side_by_side};

const LEN: usize = 1 << 20;
const BLOCK: usize = 4096;
const WINDOW: Duration = Duration::from_millis(200);

/// Rows for the functions over buffers. `openssl` is the compiled `benches/c/xts.c`, where it could be compiled.
///
/// # Panics
/// When something fails that can't.
#[must_use]
pub fn rows(openssl: Option<&Path>, dir: &Path) -> Vec<Row> {
    let mut rows = ephemeral(LEN);
    rows.extend(ephemeral(BLOCK));
    rows.extend(xts(openssl));
    rows.extend(life(dir));
    rows
}

fn rate(len: usize, seconds: f64) -> String {
    format!("{:.2} GB/s", len as f64 / seconds / 1e9)
}

fn ephemeral(len: usize) -> Vec<Row> {
    let blocks = len / BLOCK;
    let key = BlockKey::random(BlockSize::Kib4).expect("a key");
    let bare = BareBlocks::new(&[7; 32], BLOCK);
    let mut seals = vec![BlockSeal::UNWRITTEN; blocks];
    let mut tags = vec![[0; 16]; blocks];
    let (mut ours, mut theirs) = (vec![1; len], vec![1; len]);
    let n = repetitions(&mut || bare.seal(&mut theirs, &mut tags), WINDOW);
    let [a, b] = side_by_side([
        &mut || {
            (0..n).for_each(|_| {
                key.encrypt_blocks(0, &mut ours, &mut seals)
                    .expect("sealed")
            })
        },
        &mut || (0..n).for_each(|_| bare.seal(&mut theirs, &mut tags)),
    ]);
    let what = if blocks == 1 {
        "one block of 4 KiB a call"
    } else {
        "1 MiB in blocks of 4 KiB a call"
    };
    let row = |verb: &str, ours: f64, theirs: f64| Row {
        what: format!("block functions, ephemeral, {what}, {verb} / bare GCM"),
        ours: rate(len, ours / f64::from(n)),
        peer: rate(len, theirs / f64::from(n)),
        figure: theirs / ours,
        target: Target::AtLeast(0.95),
    };
    let encrypt = row("encrypt", a, b);
    // What was decrypted can't be decrypted again: both copy the ciphertext first.
    key.encrypt_blocks(0, &mut ours, &mut seals)
        .expect("sealed");
    bare.seal(&mut theirs, &mut tags);
    let (sealed_ours, sealed_theirs) = (ours.clone(), theirs.clone());
    let [a, b] = side_by_side([
        &mut || {
            (0..n).for_each(|_| {
                ours.copy_from_slice(&sealed_ours);
                key.decrypt_blocks(0, &mut ours, &seals).expect("opened");
            });
        },
        &mut || {
            (0..n).for_each(|_| {
                theirs.copy_from_slice(&sealed_theirs);
                bare.open(&mut theirs, &tags);
            });
        },
    ]);
    vec![encrypt, row("decrypt", a, b)]
}

fn xts(openssl: Option<&Path>) -> Vec<Row> {
    let bytes: Vec<u8> = (0..64).collect();
    let key = XtsKey::from_bytes(&bytes, SectorSize::B4096, 0).expect("a key");
    let cipher = |half: &[u8]| aes::Aes256::new_from_slice(half).expect("32 bytes");
    let crate_xts = Xts128::new(cipher(&bytes[..32]), cipher(&bytes[32..]));
    let (mut ours, mut theirs) = (vec![1; LEN], vec![1; LEN]);
    let tweak = |unit: u128| (unit * 8).to_le_bytes().into();
    let mut rows = Vec::new();
    for verb in ["encrypt", "decrypt"] {
        let is_encrypt = verb == "encrypt";
        let mut pass = || {
            let done = if is_encrypt {
                key.encrypt_sectors(0, &mut ours)
            } else {
                key.decrypt_sectors(0, &mut ours)
            };
            done.expect("whole sectors");
        };
        let n = repetitions(&mut pass, WINDOW);
        let mut peer = || {
            if is_encrypt {
                crate_xts.encrypt_area(&mut theirs, BLOCK, 0, tweak);
            } else {
                crate_xts.decrypt_area(&mut theirs, BLOCK, 0, tweak);
            }
        };
        let few = (n / 8).max(1);
        let timed = |count: u32, work: &mut dyn FnMut()| {
            let start = Instant::now();
            (0..count).for_each(|_| work());
            start.elapsed().as_secs_f64() / f64::from(count)
        };
        let runs: [[f64; 3]; RUNS] = std::array::from_fn(|_| {
            let theirs = openssl.map_or(0.0, |program| openssl_pass(program, n, verb));
            [timed(n, &mut pass), timed(few, &mut peer), theirs]
        });
        let [ours, peer, openssl_time] = [0, 1, 2].map(|side| median(runs.map(|run| run[side])));
        let row = |name: &str, peer: f64, target: f64| Row {
            what: format!("XTS, 1 MiB in sectors of 4 KiB, {verb} / {name}"),
            ours: rate(LEN, ours),
            peer: rate(LEN, peer),
            figure: peer / ours,
            target: Target::AtLeast(target),
        };
        rows.push(row("xts-mode", peer, 3.0));
        if openssl.is_some() {
            rows.push(row("OpenSSL", openssl_time, 0.7));
        }
    }
    rows
}

/// Seconds of one pass.
fn openssl_pass(program: &Path, passes: u32, verb: &str) -> f64 {
    let out = Command::new(program)
        .args([&passes.to_string(), verb])
        .output();
    let out = out.expect("benches/c/xts.c");
    let nanoseconds: f64 = String::from_utf8_lossy(&out.stdout)
        .trim()
        .parse()
        .expect("nanoseconds");
    nanoseconds / 1e9
}

/// 1 TiB, sparse: made, and its key destroyed while it is being read.
fn life(dir: &Path) -> Vec<Row> {
    let (mut create, mut destroy) = ([0.0; RUNS], [0.0; RUNS]);
    let before = resident();
    let mut memory = 0.0_f64;
    for run in 0..RUNS {
        let start = Instant::now();
        let backing = FileBacking::anonymous(dir, 1 << 40).expect("a sparse file");
        let volume = Volume::create(Box::new(backing), &VolumeSpec::default()).expect("a volume");
        create[run] = start.elapsed().as_secs_f64() * 1e3;
        memory = memory.max(resident() - before);
        let start = Instant::now();
        volume.destroy();
        destroy[run] = start.elapsed().as_secs_f64() * 1e3;
    }
    let row = |what: &str, ours: String, figure: f64, target: f64| Row {
        what: what.into(),
        ours,
        peer: "-".into(),
        figure,
        target: Target::AtMost(target),
    };
    let milliseconds = |ms: f64| format!("{ms:.3} ms");
    let (create, destroy) = (median(create), median(destroy));
    vec![
        row(
            "create a disk of 1 TiB, sparse, ms",
            milliseconds(create),
            create,
            100.0,
        ),
        row(
            "memory of a disk of 1 TiB, MiB",
            format!("{memory:.1} MiB"),
            memory,
            64.0,
        ),
        row("destroy its key, ms", milliseconds(destroy), destroy, 10.0),
    ]
}

/// MiB of this process in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<f64>().ok())
        .expect("a number of KiB")
        / 1024.0
}
