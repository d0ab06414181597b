//! Rust tests: everything with its defaults, then the core on the pure-Rust backend alone, then
//! with both backends, where each must open what the other sealed.

use crate::work::{self, Result, Work, no_args};

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    no_args(args)?;
    let selections: [&[&str]; 3] = [
        &["--workspace"],
        &[
            "--package=cmkit",
            "--no-default-features",
            "--features=rustcrypto",
        ],
        &["--package=cmkit", "--features=rustcrypto"],
    ];
    for selection in selections {
        let mut command = work.cargo(["test", "--locked"]);
        work::run(command.args(selection))?;
    }
    Ok(())
}
