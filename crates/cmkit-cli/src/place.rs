//! Where data comes from and where it goes.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use cmkit::Error;

use crate::discreet::shown;
use crate::failure::{Doing, Failure, Result};
use crate::text::shell;

const SUFFIX: &str = ".cmk";

/// Where data comes from.
pub(crate) enum Input {
    Stdin,
    /// A regular file.
    File(PathBuf),
    /// A named pipe or a device.
    Stream(PathBuf, File),
}

/// Where data goes.
pub(crate) enum Output {
    Stdout,
    /// A regular file, there or not yet.
    File(PathBuf),
    /// A named pipe or a device that exists: it is written to, never replaced.
    Stream(PathBuf, File),
}

impl Input {
    /// The place that IN names.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            return Ok(Self::Stdin);
        };
        let metadata = fs::metadata(&path).map_err(|e| cannot("open", &path, &e))?;
        if metadata.is_dir() {
            return Err(Failure::usage(format!(
                "{} is a directory; name its files one by one, or pack it: \
                 `tar c {} | cmkit encrypt -o OUT`",
                shown(&path),
                shell(&shown(&path))
            )));
        }
        if metadata.is_file() {
            return Ok(Self::File(path));
        }
        let file = File::open(&path).map_err(|e| cannot("open", &path, &e))?;
        Ok(Self::Stream(path, file))
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &Path {
        match self {
            Self::Stdin => Path::new("standard input"),
            Self::File(path) | Self::Stream(path, _) => path,
        }
    }

    fn metadata(&self) -> Option<Metadata> {
        match self {
            Self::Stdin => std_metadata(io::stdin()),
            Self::File(path) => fs::metadata(path).ok(),
            Self::Stream(_, file) => file.metadata().ok(),
        }
    }
}

impl Output {
    /// The place that OUT names; without it the one that belongs to the input.
    pub(crate) fn open(
        given: Option<PathBuf>,
        input: &Input,
        force: bool,
        doing: Doing,
    ) -> Result<Self> {
        let path = match (given, input) {
            (Some(path), _) if path.as_os_str() == "-" => None,
            (Some(path), _) => Some(path),
            (None, Input::File(path)) if doing == Doing::Encrypt => Some(with_suffix(path)),
            (None, Input::File(path)) => Some(without_suffix(path)?),
            (None, Input::Stdin | Input::Stream(..)) => None,
        };
        let output = match path {
            None => Self::Stdout,
            Some(path) => Self::at(path)?,
        };
        output.refuse_itself(input)?;
        if doing == Doing::Encrypt && output.is_terminal() {
            return Err(Failure::usage(
                "envelopes are not written to a terminal; name a file with `-o`, or pipe it on",
            ));
        }
        output.refuse_existing(force)?;
        Ok(output)
    }

    fn at(path: PathBuf) -> Result<Self> {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Err(Failure::usage(format!(
                "{} is a directory; name a file in it with `-o`",
                shown(&path)
            ))),
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(&path);
                let file = file.map_err(|e| cannot("open", &path, &e))?;
                Ok(Self::Stream(path, file))
            }
            _ => Ok(Self::File(path)),
        }
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &Path {
        match self {
            Self::Stdout => Path::new("standard output"),
            Self::File(path) | Self::Stream(path, _) => path,
        }
    }

    fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stream(_, file) => file.is_terminal(),
            Self::File(_) => false,
        }
    }

    /// Before anything is read or any key is made; what counts is the look when the file is put in place.
    fn refuse_existing(&self, force: bool) -> Result {
        match self {
            Self::File(path) if !force && fs::symlink_metadata(path).is_ok() => {
                let error = Error::AlreadyExists {
                    what: path.display().to_string(),
                };
                Err(Failure::of(&error, Doing::Encrypt))
            }
            _ => Ok(()),
        }
    }

    fn refuse_itself(&self, input: &Input) -> Result {
        let output = match self {
            Self::Stdout => std_metadata(io::stdout()),
            Self::File(path) => fs::metadata(path).ok(),
            Self::Stream(..) => return Ok(()),
        };
        let (Some(from), Some(to)) = (input.metadata(), output) else {
            return Ok(());
        };
        if from.is_file() && to.is_file() && same_file(&from, &to) {
            return Err(Failure::usage(format!(
                "{} is input and output at once; name another output with `-o`",
                shown(self.name())
            )));
        }
        Ok(())
    }
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(SUFFIX);
    name.into()
}

fn without_suffix(path: &Path) -> Result<PathBuf> {
    let is_envelope_name = path.extension().is_some_and(|e| e == &SUFFIX[1..]);
    match path.file_stem() {
        Some(stem) if is_envelope_name => Ok(path.with_file_name(stem)),
        _ => Err(Failure::usage(format!(
            "{} doesn't end in {SUFFIX}, so there is no name for the output; name it with `-o`",
            shown(path)
        ))),
    }
}

/// A failed system call, with the file.
pub(crate) fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::other(format!("cannot {what} {}: {error}", shown(path)))
}

#[cfg(unix)]
fn std_metadata(stream: impl std::os::fd::AsFd) -> Option<Metadata> {
    File::from(stream.as_fd().try_clone_to_owned().ok()?)
        .metadata()
        .ok()
}

#[cfg(not(unix))]
fn std_metadata<S>(_: S) -> Option<Metadata> {
    None
}

#[cfg(unix)]
fn same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(_: &Metadata, _: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_outputs() {
        assert_eq!(with_suffix(Path::new("d/a.txt")), Path::new("d/a.txt.cmk"));
        assert_eq!(
            without_suffix(Path::new("d/a.txt.cmk")).unwrap(),
            Path::new("d/a.txt")
        );
        for name in ["a.txt", ".cmk", "d/.cmk", "a.CMK", "cmk"] {
            assert!(without_suffix(Path::new(name)).is_err(), "{name}");
        }
    }
}
