//! `cmkit`: envelope encryption of files and pipes, on the command line.

mod args;
mod crypt;
mod failure;
mod generate;
mod inspect;
mod key;
mod keys;
mod pipe;
mod place;
mod progress;
mod rewrap;
mod signals;
mod text;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::failure::{Failure, Result};
use crate::keys::Home;
use crate::signals::Signals;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result {
    let signals = Signals::install()?;
    let home = Home::new(cli.home);
    match cli.command {
        Command::Encrypt(args) => crypt::encrypt(args, &home, &signals),
        Command::Decrypt(args) => crypt::decrypt(args, &home, &signals),
        Command::Inspect(args) => inspect::run(&args),
        Command::Rewrap(args) => rewrap::run(&args, &home, &signals),
        Command::Key { command } => key::run(command, &home, &signals),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { dir } => generate::man(dir.as_deref()),
    }
}

/// Clap's own answers: help and the version as they are, errors in the form of all the others.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.use_stderr()
        && error.kind() != clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        return Failure::usage(text.trim_end()).report();
    }
    // A reader that went away has seen enough.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
