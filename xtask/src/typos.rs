//! Spelling, with the exceptions of `typos.toml`.

use crate::work::{self, Result, Work, has_option};

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    let mut command = work.tool("typos")?;
    if has_option(args, "--fix")? {
        command.arg("--write-changes");
    }
    work::run(&mut command)
}
