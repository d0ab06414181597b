//! The files and directories that a job makes, and removing those and no others.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use super::steps::step;
use crate::backing::{Punched, punch_hole};
use crate::record::Discard;
use crate::state::{CreatedFile, FileIdentity, JobState};

/// What wasn't taken away.
#[derive(Default)]
pub(super) struct Left {
    /// A sentence each.
    pub(super) sentences: Vec<String>,
    /// Whether it may be later.
    pub(super) again: bool,
}

impl Left {
    /// For another time.
    pub(super) fn add(&mut self, sentence: String) {
        self.sentences.push(sentence);
        self.again = true;
    }
}

/// Which file a name is of, for one that was just made.
pub(super) fn identity(path: &Path) -> Option<FileIdentity> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.is_file().then(|| FileIdentity::of(&metadata))
}

/// Removes the files and directories that a job made.
pub(super) fn remove_created(state: &JobState, left: &mut Left) {
    for file in &state.created_files {
        step();
        match look(file, state.size) {
            Found::Gone => {}
            Found::Ours(_) => match fs::remove_file(&file.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    left.add(sentence(&file.path, &e));
                }
                _ => {}
            },
            // There is nothing that could be done about it later.
            Found::Other => left.sentences.push(format!(
                "{}: another file has this name by now and was left alone; the disk's own may be somewhere else",
                file.path.display()
            )),
            Found::Unknown(error) => left.add(sentence(&file.path, &error)),
        }
    }
    for dir in state.created_dirs.iter().rev() {
        step();
        // Only if empty: never what is in it.
        match fs::remove_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => left.add(sentence(dir, &e)),
            _ => {}
        }
    }
}

/// Gives back the room of the file at this path, whose owner died.
pub(super) fn discard(path: &Path, state: &JobState) -> Discard {
    let Some(file) = state.created_files.iter().find(|file| file.path == path) else {
        return Discard::NotTried;
    };
    let failed = |why: String| Discard::Failed { why };
    match look(file, state.size) {
        // Nothing was written to it.
        Found::Gone | Found::Other if file.identity.is_none() => Discard::GivenBack,
        Found::Gone => failed(format!(
            "{}: the file isn't there any more; if it was moved, its room is still taken",
            path.display()
        )),
        Found::Other => failed(format!(
            "{}: another file has this name by now",
            path.display()
        )),
        Found::Unknown(error) => failed(error.to_string()),
        // Also if it has another name, or somebody has it open: removing it wouldn't do.
        Found::Ours(open) => match open.metadata() {
            Ok(metadata) => match punch_hole(&open, 0, metadata.len()) {
                Ok(Punched::Yes) => Discard::GivenBack,
                Ok(Punched::Unsupported) if metadata.nlink() <= 1 => Discard::GivenBack,
                Ok(Punched::Unsupported) => Discard::Unsupported,
                Err(error) => failed(error.to_string()),
            },
            Err(error) => failed(error.to_string()),
        },
    }
}

/// What is there by the name of a file that a job made.
enum Found {
    Gone,
    Ours(File),
    Other,
    Unknown(io::Error),
}

fn look(file: &CreatedFile, size: u64) -> Found {
    match fs::symlink_metadata(&file.path) {
        Ok(metadata) if !metadata.is_file() => return Found::Other,
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Found::Gone,
        Err(e) => return Found::Unknown(e),
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    let opened = options
        .open(&file.path)
        .and_then(|open| Ok((open.metadata()?, open)));
    match opened {
        Ok((metadata, open)) if is_it(file, &metadata, size) => Found::Ours(open),
        Ok(_) => Found::Other,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Found::Gone,
        Err(e) => Found::Unknown(e),
    }
}

fn is_it(file: &CreatedFile, metadata: &fs::Metadata, size: u64) -> bool {
    match &file.identity {
        Some(identity) => metadata.is_file() && FileIdentity::of(metadata) == *identity,
        // Its owner died while it made one: ours has nothing in it.
        None => {
            metadata.is_file()
                && metadata.blocks() == 0
                && [0, size].contains(&metadata.len())
                && metadata.uid() == rustix::process::geteuid().as_raw()
                && metadata.mode() & 0o7777 == 0o600
        }
    }
}

fn sentence(path: &Path, error: &io::Error) -> String {
    format!("{}: can't be removed: {error}", path.display())
}
