//! The system's programs that do what takes an ioctl otherwise: losetup, mkfs, blkid.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use cmkit::{Error, Result};

use crate::failure::io_at;

/// Where they are, whatever the caller's own `PATH` says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs and the Debian packages that have them.
const PACKAGES: &[(&str, &str)] = &[
    ("blkid", "util-linux"),
    ("fusermount3", "fuse3"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
];

/// Runs a program to its end, without input, in the C locale.
pub(crate) fn output<A: AsRef<OsStr>>(name: &'static str, args: &[A]) -> Result<Output> {
    let mut command = command(name, args)?;
    let output = command.stdin(Stdio::null()).output();
    output.map_err(|error| io_at("run", Path::new(name), error))
}

fn command<A: AsRef<OsStr>>(name: &'static str, args: &[A]) -> Result<Command> {
    let mut command = Command::new(find(name)?);
    command.args(args).env_clear();
    command.env("PATH", PATH).env("LC_ALL", "C");
    Ok(command)
}

/// The same as [`run`], with a descriptor as its standard input and a variable in its environment.
pub(crate) fn run_with<A: AsRef<OsStr>>(
    name: &'static str,
    args: &[A],
    input: OwnedFd,
    (variable, value): (&str, &str),
    subject: &Path,
) -> Result<()> {
    let mut command = command(name, args)?;
    let output = command.stdin(input).env(variable, value).output();
    let output = output.map_err(|error| io_at("run", Path::new(name), error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(name, subject, &output))
}

/// Runs a program on `subject`; what it says on success.
pub(crate) fn run<A: AsRef<OsStr>>(
    name: &'static str,
    args: &[A],
    subject: &Path,
) -> Result<String> {
    let output = output(name, args)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(failed(name, subject, &output))
    }
}

/// An error with the last lines that the program said.
pub(crate) fn failed(name: &'static str, subject: &Path, output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let mut lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    lines.drain(..lines.len().saturating_sub(3));
    let said = if lines.is_empty() {
        output.status.to_string()
    } else {
        lines.join("; ")
    };
    io_at(name, subject, io::Error::other(said))
}

fn find(name: &'static str) -> Result<std::path::PathBuf> {
    let found = PATH
        .split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        let package = PACKAGES.iter().find(|(program, _)| *program == name);
        let package = package.map_or(name, |(_, package)| package);
        Error::NotPermitted {
            problem: format!(
                "the program {name} is not on this machine: install it (Debian's package {package})"
            ),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_a_sentence() {
        let error = output::<&str>("mkfs.nothing", &[]).unwrap_err();
        assert!(error.to_string().contains("mkfs.nothing"), "{error}");
        assert!(error.to_string().contains("Debian"), "{error}");
    }

    #[test]
    fn what_a_program_says_is_in_the_error() {
        let error = run("mkfs.ext4", &["/dev/null"], Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("/dev/null"), "{error}");
        assert!(!error.to_string().contains("exit status"), "{error}");
    }
}
