//! Clippy: everything with its defaults, then the core on the pure-Rust backend alone.

use crate::work::{self, Result, Work, no_args};

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    no_args(args)?;
    let selections: [&[&str]; 2] = [
        &["--workspace"],
        &[
            "--package=cmkit",
            "--no-default-features",
            "--features=rustcrypto",
        ],
    ];
    for selection in selections {
        let mut command = work.cargo(["clippy", "--locked", "--all-targets"]);
        command.args(selection).args(["--", "-D", "warnings"]);
        work::run(&mut command)?;
    }
    Ok(())
}
