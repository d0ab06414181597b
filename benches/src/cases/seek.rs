//! Reads of 4 KiB at random places of a 1 GiB envelope whose file is in the page cache.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use cmkit::{EncryptionContext, FileOptions};

use super::{Row, Target};
use crate::measure::{RUNS, median, repetitions};

const SIZE: u64 = 1 << 30;
const READS: u32 = 20_000;

/// One row; writes 2 GiB into `dir`.
///
/// # Panics
/// When the files can't be written.
#[must_use]
pub fn rows(dir: &Path) -> Vec<Row> {
    let (keyring, _dir) = crate::keyring();
    let context = EncryptionContext::empty();
    let (plain, sealed) = (dir.join("seek"), dir.join("seek.cmk"));
    File::create(&plain)
        .and_then(|f| f.set_len(SIZE))
        .expect("a sparse file");
    keyring
        .encrypt_file(&plain, &sealed, &context, &FileOptions::default())
        .expect("sealed");
    let reader = keyring.open_file(&sealed, &context).expect("opened");

    let mut buffer = [0; 4096];
    let mut state = 1u64;
    let mut read = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let offset = (state >> 16) % (SIZE - 4096);
        assert_eq!(reader.read_at(&mut buffer, offset).expect("read"), 4096);
    };
    repetitions(&mut read, Duration::from_millis(100));
    let times = [(); RUNS].map(|()| {
        let start = Instant::now();
        (0..READS).for_each(|_| read());
        start.elapsed().as_secs_f64() / f64::from(READS)
    });
    let microseconds = median(times) * 1e6;
    for path in [plain, sealed] {
        let _ = fs::remove_file(path);
    }
    vec![Row {
        what: "seek and read 4 KiB in a 1 GiB envelope, warm".into(),
        ours: format!("{microseconds:.1} us"),
        peer: String::new(),
        figure: microseconds,
        target: Target::AtMost(20.0),
    }]
}
