//! Licences, sources and banned crates, with the exceptions of `deny.toml`.

use crate::work::{self, Result, Work, has_option};

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    // The advisories come from a database that is fetched: a piece of its own, so that the rest
    // says the same today and tomorrow, with and without a network.
    let checks: &[&str] = if has_option(args, "--advisories")? {
        &["advisories"]
    } else {
        &["bans", "licenses", "sources"]
    };
    let mut command = work.tool("cargo-deny")?;
    command.args(["--all-features", "--locked", "check"]);
    command.args(checks);
    work::run(&mut command)
}
