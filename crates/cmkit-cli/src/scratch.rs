//! `cmkit scratch`: encrypted disks for jobs.

mod bench;
mod create;
mod disk;
mod end;
mod mount;
mod notify;
mod open;
mod recover;
mod run;
mod serve;
mod setup;
mod state;
mod status;
mod stop;
mod tell;
mod volume_file;

use crate::args::Scratch;
use crate::failure::Result;
use crate::keys::Home;
use crate::signals::Signals;

/// `cmkit scratch COMMAND`
pub(crate) fn run(command: Scratch, home: Home, signals: &Signals) -> Result {
    match command {
        Scratch::Run(args) => run::run(args, home, signals),
        Scratch::Serve(args) => serve::run(args, home, signals),
        Scratch::Mount(args) => mount::run(args, home, signals),
        Scratch::Create(args) => create::run(args, home, signals),
        Scratch::Open(args) => open::run(args, home, signals),
        Scratch::Status(args) => status::run(&args),
        Scratch::End(args) => end::run(&args),
        Scratch::Recover(args) => recover::run(&args),
        Scratch::Bench(args) => bench::run(&args),
    }
}
