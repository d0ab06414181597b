//! `cmkit`: envelope encryption of files and pipes, on the command line.

mod args;
mod census;
mod crypt;
mod discreet;
mod doctor;
mod failure;
mod generate;
mod inspect;
mod key;
mod keyrings;
mod keys;
mod pipe;
mod place;
mod progress;
mod rewrap;
mod rotate;
mod signals;
mod text;
mod vault;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::failure::{Failure, Result};
use crate::keys::Home;
use crate::signals::Signals;

const HIGH_BUSINESS_IMPACT: &str = "CMKIT_HIGH_BUSINESS_IMPACT";

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
    if cli.high_business_impact || vault::switch(HIGH_BUSINESS_IMPACT)? {
        discreet::be_discreet();
    }
    let home = Home::new(cli.home);
    match cli.command {
        Command::Encrypt(args) => crypt::encrypt(args, home, &signals),
        Command::Decrypt(args) => crypt::decrypt(args, home, &signals),
        Command::Inspect(args) => inspect::run(&args),
        Command::Rewrap(args) => rewrap::run(args, home, &signals),
        Command::Rotate(args) => rotate::run(args, home, &signals),
        Command::Census(args) => census::run(args, home),
        Command::Doctor(args) => doctor::run(args, &home),
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
        // Clap quotes the words that it doesn't understand, and those may be names.
        let wants_discretion = std::env::args_os().any(|arg| arg == "--high-business-impact")
            || vault::switch(HIGH_BUSINESS_IMPACT).unwrap_or(true);
        if wants_discretion {
            let text = format!("{}; what was given is withheld", error.kind());
            return Failure::usage(text).report();
        }
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        return Failure::usage(text.trim_end()).report();
    }
    // A reader that went away has seen enough.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
