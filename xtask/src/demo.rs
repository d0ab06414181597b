//! The main job in front of one's eyes: a file, a key made on the spot, an envelope, and back.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::work::{self, Result, Work, no_args};

const LETTER: &str = "\
Dear reader,

this line was on disk as plaintext for a moment. Then it was sealed under a data key, and the data
key was wrapped by a key that lives in a directory of its own. Whoever has both can read it; whoever
changes one bit of it, or has only one of the two, can't.
";

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    no_args(args)?;
    say("Building the `cmkit` command (a few minutes the first time, seconds later)");
    work::run(&mut work.cargo(["build", "--release", "--locked", "--package=cmkit-cli"]))?;
    let program = work.target().join("release/cmkit");
    if !program.is_file() {
        return Err(format!("the build did not make {}", program.display()).into());
    }

    let dir = tempfile::Builder::new().prefix("cmkit-demo-").tempdir()?;
    let here = dir.path();
    fs::write(here.join("letter.txt"), LETTER)?;
    let cmkit = |args: &[&str]| {
        let mut command = work.command(&program);
        // A key directory for this demonstration only: yours is left alone.
        command.env("CMKIT_HOME", here.join("keys"));
        command.current_dir(here).args(args);
        command
    };

    say(
        "Encrypt a file. No key exists yet, so one is made, in a directory that goes with the demo",
    );
    show(&mut cmkit(&["encrypt", "letter.txt"]))?;
    list(here)?;

    say("What can be said about the envelope without any key");
    show(&mut cmkit(&["inspect", "letter.txt.cmk"]))?;

    say("Decrypt it and compare");
    show(&mut cmkit(&["decrypt", "-o", "back.txt", "letter.txt.cmk"]))?;
    if fs::read(here.join("back.txt"))? != LETTER.as_bytes() {
        return Err("what came back is not what went in".into());
    }
    println!("back.txt equals letter.txt, byte for byte");

    say("Change one bit of the envelope: it is refused, and nothing is written");
    let mut sealed = fs::read(here.join("letter.txt.cmk"))?;
    let middle = sealed.len() - 100;
    sealed[middle] ^= 1;
    fs::write(here.join("damaged.cmk"), sealed)?;
    let mut refused = cmkit(&["decrypt", "-o", "damaged.txt", "damaged.cmk"]);
    println!("$ cmkit decrypt -o damaged.txt damaged.cmk");
    let status = refused.status()?;
    println!("exit code {}", status.code().unwrap_or(-1));
    if status.code() != Some(3) || here.join("damaged.txt").exists() {
        return Err("a damaged envelope was not refused as it should be".into());
    }

    say("Done");
    println!(
        "The command is {}; `cmkit --help` says more.",
        program.display()
    );
    Ok(())
}

fn say(step: &str) {
    println!("\n--- {step}");
}

/// Shows the command as one would type it, then runs it.
fn show(command: &mut Command) -> Result {
    let args: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    println!("$ cmkit {}", args.join(" "));
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("that should have worked ({status})").into())
    }
}

fn list(dir: &Path) -> Result {
    let mut files: Vec<(String, u64)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let data = entry.metadata()?;
        if data.is_file() {
            files.push((entry.file_name().to_string_lossy().into_owned(), data.len()));
        }
    }
    files.sort();
    for (name, len) in files {
        println!("{len:>7} bytes  {name}");
    }
    Ok(())
}
