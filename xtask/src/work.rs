//! The checkout, its target directory, and how commands are run in them.

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a piece returns; the error's text is for a person.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// A checkout and its target directory.
pub(crate) struct Work {
    root: PathBuf,
    target: PathBuf,
}

impl Work {
    /// The checkout that this program was started from.
    pub(crate) fn here() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest
            .parent()
            .ok_or("the xtask crate has no parent directory")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The root of the checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the checkout that must exist.
    pub(crate) fn existing(&self, path: &str) -> Result<PathBuf> {
        let full = self.root.join(path);
        if full.exists() {
            Ok(full)
        } else {
            Err(format!("{path} does not exist").into())
        }
    }

    /// The target directory; everything that pieces make goes there.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The virtual environment that `setup` makes.
    pub(crate) fn venv(&self) -> PathBuf {
        self.target.join("venv")
    }

    /// Where `setup` puts tools that had to be compiled.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A command in the root of the checkout, without what `cargo run` adds to the environment.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            let Some(name) = name.to_str() else { continue };
            if name == "CARGO"
                || name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || name.starts_with("CARGO_BIN_")
            {
                command.env_remove(name);
            }
        }
        // `cargo run` puts its own output directory first, where a stale library may lie.
        if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
            let kept: Vec<_> = env::split_paths(&paths)
                .filter(|path| !path.starts_with(&self.target) && !path.as_os_str().is_empty())
                .collect();
            match env::join_paths(&kept) {
                Ok(paths) if !kept.is_empty() => command.env("LD_LIBRARY_PATH", paths),
                _ => command.env_remove("LD_LIBRARY_PATH"),
            };
        }
        command
    }

    /// `cargo` with the given arguments, with the toolchain and target directory of this run.
    pub(crate) fn cargo<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command("cargo");
        command.env("CARGO_TARGET_DIR", &self.target).args(args);
        command
    }

    /// A program from the virtual environment or the compiled tools.
    pub(crate) fn tool(&self, name: &str) -> Result<Command> {
        let path = self
            .find_tool(name)
            .ok_or_else(|| format!("{name} is not installed: run `cargo xtask setup`"))?;
        let mut command = self.command(path);
        command.env("CARGO_TARGET_DIR", &self.target);
        Ok(command)
    }

    /// Where a tool is, if `setup` has installed it.
    pub(crate) fn find_tool(&self, name: &str) -> Option<PathBuf> {
        [self.venv(), self.tools()]
            .iter()
            .map(|dir| dir.join("bin").join(name))
            .find(|path| path.is_file())
    }
}

/// Runs a command, showing it first; an error unless it ends with success.
pub(crate) fn run(command: &mut Command) -> Result {
    let line = show(command);
    eprintln!("$ {line}");
    let status = command
        .status()
        .map_err(|error| format!("cannot start `{line}`: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{line}` failed ({status})").into())
    }
}

/// Runs a command silently and returns what it printed; an error unless it ends with success.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start `{line}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`{line}` failed ({})", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether a command can be run and ends with success; it prints nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// An error when a piece that takes no arguments is given some.
pub(crate) fn no_args(args: &[String]) -> Result {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(format!("unexpected argument '{arg}'").into()),
    }
}

/// Whether the only argument of a piece, which may be left out, is the given option.
pub(crate) fn has_option(args: &[String], option: &str) -> Result<bool> {
    match args {
        [] => Ok(false),
        [arg] if arg == option => Ok(true),
        [arg, ..] => Err(format!("unexpected argument '{arg}'").into()),
    }
}

fn show(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        if arg.is_empty() || arg.contains([' ', ';', '"']) {
            line.push_str(&format!(" '{arg}'"));
        } else {
            line.push_str(&format!(" {arg}"));
        }
    }
    line
}
