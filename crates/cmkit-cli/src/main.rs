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
#[cfg(target_os = "linux")]
mod scratch;
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
        #[cfg(target_os = "linux")]
        Command::Scratch { command } => scratch::run(*command, home, &signals),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { dir } => generate::man(dir.as_deref()),
    }
}

/// Clap's own answers: help and the version as they are, errors in the form of all the others.
fn refuse(error: &clap::Error) -> ExitCode {
    let usage = |text: &str| {
        let failure = Failure::usage(text);
        // There 2 would be the command's own code.
        if is_scratch_run() {
            failure.with_code(125)
        } else {
            failure
        }
        .report()
    };
    if error.use_stderr()
        && error.kind() != clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        // Clap quotes the words that it doesn't understand, and those may be names.
        let wants_discretion = std::env::args_os().any(|arg| arg == "--high-business-impact")
            || vault::switch(HIGH_BUSINESS_IMPACT).unwrap_or(true);
        if wants_discretion {
            let text = format!("{}; what was given is withheld", error.kind());
            return usage(&text);
        }
        let text = error.to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        return usage(text.trim_end());
    }
    // A reader that went away has seen enough.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Whether the command line, which couldn't be read, is one of `cmkit scratch run`.
fn is_scratch_run() -> bool {
    let mut words = std::env::args_os().skip(1);
    let mut command = Vec::new();
    while let Some(word) = words.next() {
        if word == "--home" {
            words.next();
        } else if !word.as_encoded_bytes().starts_with(b"-") {
            command.push(word);
            if command.len() == 2 {
                break;
            }
        }
    }
    command == ["scratch", "run"]
}
