//! The side-by-side comparison with peers; arguments are handed on.

use crate::work::{self, Result, Work};

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    let mut command = work.cargo(["run", "--release", "--locked"]);
    command.args(["--package=cmkit-bench", "--bin=compare", "--"]);
    work::run(command.args(args))
}
