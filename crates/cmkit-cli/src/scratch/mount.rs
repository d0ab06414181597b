//! `cmkit scratch mount`: a mounted disk until somebody ends it.

use cmkit_scratch::Expose;

use super::disk::Disk;
use super::serve::until_stopped;
use super::setup::Setup;
use super::tell::failure;
use crate::args;
use crate::failure::Result;
use crate::keys::Home;
use crate::signals::Signals;

/// `cmkit scratch mount`
pub(crate) fn run(args: args::ScratchMount, home: Home, signals: &Signals) -> Result {
    check_permitted()?;
    let setup = Setup::new(args.job, "mount")?;
    let disk = Disk::new(args.disk, home, setup.quiet)?;
    let expose = Expose::Mount {
        dir: Some(args.at),
        file_system: args.fs,
        owner: args.owner,
    };
    until_stopped(&setup, signals, || setup.begin(&disk, &expose))
}

/// Before anything is made.
pub(super) fn check_permitted() -> Result {
    cmkit_scratch::mount::check_permitted().map_err(|e| {
        failure(&e)
            .and("that is `cmkit scratch serve --socket S`, and `cmkit scratch serve --file DIR`")
    })
}
