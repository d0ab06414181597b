//! What a person and an audit are told.

use std::io::Write as _;
use std::path::Path;

use cmkit::{AtomicFile, Error, ErrorKind, Overwrite};
use cmkit_scratch::{Discard, ErasureRecord};

use crate::discreet::{is_discreet, shown_job};
use crate::failure::{Doing, Failure, Result, say};

/// What went wrong with a disk.
pub(super) fn failure(error: &Error) -> Failure {
    discreet(error, Failure::of(error, Doing::Else))
}

/// The same failure; without the paths and jobs that such sentences are about, where names are withheld.
pub(super) fn discreet(error: &Error, failure: Failure) -> Failure {
    if !is_discreet() {
        return failure;
    }
    let what = match error.kind() {
        ErrorKind::Busy => "something is in use",
        ErrorKind::AccessDenied | ErrorKind::Policy => "it isn't permitted",
        ErrorKind::InvalidArgument => "an argument is out of range",
        ErrorKind::AlreadyExists => "something is there already",
        _ => return failure,
    };
    failure.saying(&format!(
        "{what}; what it is about is withheld, and told without `--high-business-impact`"
    ))
}

/// Says sentences that may have names in them; where names are withheld, how many they would be.
pub(super) fn warn(sentences: &[String]) {
    if !is_discreet() {
        sentences.iter().for_each(|sentence| say(sentence));
    } else if !sentences.is_empty() {
        say(&format!("{} warnings, which are withheld", sentences.len()));
    }
}

/// Everything that keeps an erasure from being complete, in sentences.
pub(super) fn problems(record: &ErasureRecord) -> Vec<String> {
    let mut problems: Vec<String> = record.left_behind.clone();
    if let Discard::Failed { why } = &record.discard {
        problems.push(format!(
            "the room of the disk couldn't be given back ({why}); what is in it can't be read any more"
        ));
    }
    problems
}

/// The line about what was erased.
pub(super) fn summary(record: &ErasureRecord) -> String {
    let job = record.job.as_deref().unwrap_or(&record.volume);
    let job = shown_job(job);
    let size = size(record.size);
    let Some(destroyed) = record.key_destroyed else {
        return format!("closed: {job}, {size}; what is in the volume stays");
    };
    let room = match &record.discard {
        Discard::GivenBack => "its room was given back",
        Discard::Unsupported => {
            "its device can't give room back, so the ciphertext stays until it is overwritten"
        }
        Discard::Failed { .. } => "its room was not given back",
        _ => "its room is as it was",
    };
    let written = match record.recovered {
        true => "its process died".to_owned(),
        false => format!("{} written", self::size(record.bytes_written)),
    };
    format!("erased: {job}, {size}, {written}; key destroyed {destroyed}; {room}")
}

/// The line, the problems, and the file of `--record`. An error if there are problems.
pub(super) fn erased(record: &ErasureRecord, file: Option<&Path>, quiet: bool) -> Result {
    let problems = problems(record);
    if !quiet {
        say(&summary(record));
        if record.end.contains("in use") && !is_discreet() {
            say(&record.end);
        }
    }
    let saved = file.map_or(Ok(()), |path| save(record, path));
    if !problems.is_empty() {
        warn(&problems);
        return Err(Failure::other(if record.left_behind.is_empty() {
            "the disk's key is destroyed, but its room wasn't given back: what is there can't be read, and stays until it is overwritten"
        } else {
            "the disk's key is destroyed, and something is left that couldn't be taken away; `cmkit scratch recover` tries again"
        }));
    }
    saved
}

fn save(record: &ErasureRecord, path: &Path) -> Result {
    let json = json(&serde_json::json!(record))?;
    let mut file = AtomicFile::create(path, Overwrite::Replace).map_err(|e| failure(&e))?;
    file.write_all(json.as_bytes())
        .map_err(|e| crate::place::cannot("write", path, &e))?;
    file.commit(None).map_err(|e| failure(&e))
}

/// Anything as JSON for people and programs.
pub(super) fn json(value: &serde_json::Value) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|e| Failure::other(format!("cannot write JSON: {e}")))
}

/// "100 GiB", "1.5 MiB", "12 bytes".
pub(super) fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes >> shift > 0);
    let Some((shift, name)) = unit else {
        return crate::text::bytes(bytes);
    };
    // Tenths, rounded down.
    let tenths = (u128::from(bytes) * 10) >> shift;
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {name}"),
        (whole, tenth) => format!("{whole}.{tenth} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (100 << 30, "100 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn what_is_left_is_a_problem() {
        let mut record = ErasureRecord::new("v");
        assert!(problems(&record).is_empty());
        record.discard = Discard::Failed { why: "EIO".into() };
        record.left_behind.push("/x: still there".into());
        let problems = problems(&record);
        assert_eq!(problems.len(), 2);
        assert!(problems[1].contains("EIO"));
    }
}
