//! Every fuzz target for a bounded time.

use std::fs;

use crate::work::{self, Result, Work, output};

/// Seconds for each target unless the caller says otherwise.
const SECONDS: u32 = 30;

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    work.existing("fuzz/Cargo.toml")?;
    let (seconds, only) = match args {
        [] => (SECONDS, None),
        [seconds] => (parse(seconds)?, None),
        [seconds, target] => (parse(seconds)?, Some(target.as_str())),
        [.., extra] => return Err(format!("unexpected argument '{extra}'").into()),
    };
    let listed = output(cargo_fuzz(work)?.arg("list"))?;
    let targets: Vec<&str> = listed
        .lines()
        .filter(|target| only.is_none_or(|only| only == *target))
        .collect();
    if targets.is_empty() {
        return Err("there is no such fuzz target".into());
    }
    for target in targets {
        fuzz(work, target, seconds)?;
    }
    Ok(())
}

/// New inputs go to the target directory; the committed seeds are only read.
fn fuzz(work: &Work, target: &str, seconds: u32) -> Result {
    let corpus = work.target().join("fuzz-corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let mut command = cargo_fuzz(work)?;
    command.args(["run", "--target-dir"]);
    command
        .arg(work.target().join("fuzz"))
        .arg(target)
        .arg(corpus);
    let seeds = work.root().join("fuzz/seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    command.args([
        "--",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]);
    work::run(command.arg(format!("-max_total_time={seconds}")))
}

fn cargo_fuzz(work: &Work) -> Result<std::process::Command> {
    let mut command = work.tool("cargo-fuzz")?;
    // The sanitizers are unstable options. This lets the pinned toolchain take them, so that
    // nobody needs a nightly one, and a finding reproduces next year.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.env_remove("CARGO_TARGET_DIR");
    Ok(command)
}

fn parse(seconds: &str) -> Result<u32> {
    seconds
        .parse()
        .map_err(|_| format!("'{seconds}' is not a number of seconds").into())
}
