//! `cmkit scratch bench`: what encryption costs on a disk.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use cmkit::SectorSize;
use cmkit_scratch::{
    BlockDevice, Durability, FileBacking, PlainDevice, Volume, VolumeMode, VolumeSpec,
};
use serde_json::json;

use super::disk::is_in_memory;
use super::tell::{self, failure};
use crate::args;
use crate::failure::{Failure, Result};
use crate::text::table;

const LEN: u64 = 256 << 20;
const LARGE: usize = 1 << 20;
const SMALL: usize = 4096;

/// For each of the measurements with small blocks.
const WHILE: Duration = Duration::from_millis(500);

const MEANING: &str = "\
One thread, one request at a time, 256 MiB of a new file through the page cache; writes include bringing them to the disk at the end, reads come from\n\
the cache. So this is what encryption costs at most: where the disk is slower than that, the disk decides. `raw` is the same file without encryption.\n";

/// `cmkit scratch bench`
pub(crate) fn run(args: &args::ScratchBench) -> Result {
    let spec = |mode| VolumeSpec::new(mode);
    let file = || FileBacking::anonymous(&args.dir, LEN).map_err(|e| failure(&e));
    let encrypted = |mode| Volume::create(Box::new(file()?), &spec(mode)).map_err(|e| failure(&e));
    let mut found = Vec::new();
    found.push(("raw", measure(&PlainDevice::new(file()?))?));
    found.push((
        "ephemeral",
        measure(&encrypted(VolumeSpec::default().mode())?)?,
    ));
    let xts = encrypted(VolumeMode::Xts(SectorSize::B4096))?;
    found.push(("xts", measure(&xts)?));
    let text = if args.json {
        let rows = found.iter().map(|(mode, m)| {
            json!({
                "mode": mode,
                "write_1m_mib_s": m.write_large,
                "read_1m_mib_s": m.read_large,
                "write_4k_iops": m.write_small,
                "read_4k_iops": m.read_small,
            })
        });
        let rows: Vec<_> = rows.collect();
        tell::json(&json!({"bytes": LEN, "in_memory": is_in_memory(&args.dir), "modes": rows}))?
    } else {
        human(&found, is_in_memory(&args.dir))
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::print(&e))
}

struct Measured {
    /// MiB a second.
    write_large: f64,
    read_large: f64,
    /// Requests a second.
    write_small: f64,
    read_small: f64,
}

fn measure(device: &dyn BlockDevice) -> Result<Measured> {
    let of = |done: cmkit::Result<f64>| done.map_err(|e| failure(&e));
    // Something that a disk can't compress.
    let mut data: Vec<u8> = Numbers(1)
        .by_ref()
        .take(LARGE / 8)
        .flat_map(u64::to_le_bytes)
        .collect();
    Ok(Measured {
        write_large: of(large(
            |at| device.write_at(&data, at, Durability::Cached),
            || device.flush(),
        ))?,
        read_large: of(large(|at| device.read_at(&mut data, at), || Ok(())))?,
        write_small: of(small(
            |at| device.write_at(&[7; SMALL], at, Durability::Cached),
            || device.flush(),
        ))?,
        read_small: of(small(|at| device.read_at(&mut [0; SMALL], at), || Ok(())))?,
    })
}

/// MiB a second from one end to the other.
#[expect(
    clippy::cast_precision_loss,
    reason = "a measurement has no more digits"
)]
fn large(
    mut request: impl FnMut(u64) -> cmkit::Result<()>,
    finish: impl Fn() -> cmkit::Result<()>,
) -> cmkit::Result<f64> {
    let start = Instant::now();
    for at in (0..LEN).step_by(LARGE) {
        request(at)?;
    }
    finish()?;
    Ok((LEN >> 20) as f64 / start.elapsed().as_secs_f64())
}

/// Requests a second, here and there.
fn small(
    mut request: impl FnMut(u64) -> cmkit::Result<()>,
    finish: impl Fn() -> cmkit::Result<()>,
) -> cmkit::Result<f64> {
    let start = Instant::now();
    let mut done = 0_u32;
    for number in Numbers(2) {
        request(number % (LEN / SMALL as u64) * SMALL as u64)?;
        done += 1;
        if done.is_multiple_of(256) && start.elapsed() > WHILE {
            break;
        }
    }
    finish()?;
    Ok(f64::from(done) / start.elapsed().as_secs_f64())
}

/// Xorshift: no pattern that anything could guess.
struct Numbers(u64);

impl Iterator for Numbers {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Some(self.0)
    }
}

fn human(found: &[(&str, Measured)], in_memory: bool) -> String {
    let heading = [
        "",
        "write 1 MiB",
        "read 1 MiB",
        "random write 4 KiB",
        "random read 4 KiB",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let Some((_, raw)) = found.first() else {
        return String::new();
    };
    let cell = |value: f64, raw: f64, unit: &str| {
        format!("{value:.0} {unit} ({:.0} %)", 100.0 * value / raw)
    };
    for (mode, m) in found {
        rows.push(vec![
            (*mode).to_owned(),
            cell(m.write_large, raw.write_large, "MiB/s"),
            cell(m.read_large, raw.read_large, "MiB/s"),
            cell(m.write_small, raw.write_small, "IOPS"),
            cell(m.read_small, raw.read_small, "IOPS"),
        ]);
    }
    let mut text = table(&rows);
    text.push_str(MEANING);
    if in_memory {
        text.push_str("The directory is in memory (tmpfs): this is no disk.\n");
    }
    text
}
