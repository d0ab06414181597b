//! Formatting of all Rust code, the fuzz targets included.

use crate::work::{self, Result, Work, has_option};

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    let fix = has_option(args, "--fix")?;
    let fuzz = work.existing("fuzz/Cargo.toml")?;
    let mut workspace = work.cargo(["fmt", "--all"]);
    let mut targets = work.cargo(["fmt", "--manifest-path"]);
    targets.arg(fuzz);
    for command in [&mut workspace, &mut targets] {
        if !fix {
            command.arg("--check");
        }
        work::run(command)?;
    }
    Ok(())
}
