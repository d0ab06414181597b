//! `cmkit-fake-vault`: prints one line of JSON that says where everything is, then serves until its standard
//! input ends or it is told to stop by SIGTERM or SIGINT.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use cmkit_testkit::{FakeVault, Options};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

const USAGE: &str = "usage: cmkit-fake-vault [--dir DIR] [--arc-dir DIR]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cmkit-fake-vault: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let options = options()?;
    let (end, ended) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let told = end.clone();
    thread::spawn(move || signals.forever().next().map(|_| told.send(())));
    let fake = FakeVault::start_with(options)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(fake.addresses())?)?;
    out.flush()?;
    thread::spawn(move || {
        let mut ignored = [0; 512];
        while io::stdin().read(&mut ignored).is_ok_and(|len| len > 0) {}
        end.send(())
    });
    // The signal thread keeps its end of the channel: nothing but a message comes.
    let _ = ended.recv();
    Ok(())
}

fn options() -> io::Result<Options> {
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, USAGE);
    let mut options = Options::default();
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or_else(usage)?;
        match arg.to_str() {
            Some("--dir") => options.dir = Some(value.into()),
            Some("--arc-dir") => options.arc_dir = Some(value.into()),
            _ => return Err(usage()),
        }
    }
    Ok(options)
}
