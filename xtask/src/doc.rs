//! The API pages.

use crate::work::{self, Result, Work, no_args};

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    no_args(args)?;
    let mut command = work.cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    work::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}
