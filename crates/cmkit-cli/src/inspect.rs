//! `cmkit inspect`: what can be said about an envelope without a key.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cmkit::{Error, Inspection};
use serde_json::json;

use crate::args::Inspect;
use crate::discreet::shown;
use crate::failure::{Doing, Failure, Result};
use crate::pipe;
use crate::place::cannot;
use crate::text::{bytes, printable, table, time};

const MAX_HEADER_LEN: u64 = 64 * 1024;

/// `cmkit inspect`
pub(crate) fn run(args: &Inspect) -> Result {
    let (name, mut file) = if args.file.as_os_str() == "-" {
        let stdin = pipe::stdin().map_err(|e| cannot("read", Path::new("standard input"), &e))?;
        (PathBuf::from("standard input"), stdin)
    } else {
        let file = File::open(&args.file).map_err(|e| cannot("open", &args.file, &e))?;
        if file.metadata().is_ok_and(|m| m.is_dir()) {
            return Err(Failure::usage(format!(
                "{} is a directory",
                shown(&args.file)
            )));
        }
        (args.file.clone(), file)
    };
    let mut header = Vec::new();
    let read = (&mut file).take(MAX_HEADER_LEN).read_to_end(&mut header);
    read.map_err(|e| cannot("read", &name, &e))?;
    let inspection = cmkit::inspect(&header).map_err(|e| refused(e, &name))?;

    // Of a pipe the rest would have to be read, and perhaps waited for.
    let len = file
        .metadata()
        .ok()
        .filter(|m| m.is_file() && args.file.as_os_str() != "-")
        .map(|m| m.len());
    let body = len.map(|len| len.saturating_sub(inspection.header_len as u64));
    let about = About {
        name: &name,
        inspection: &inspection,
        body,
        plaintext: len.and_then(|len| cmkit::decrypted_len_of(&header, len).ok()),
    };
    let text = if args.json {
        about.json()?
    } else {
        about.human()
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::print(&e))?;
    if about.is_cut() {
        return Err(Failure::of(&Error::Truncated.in_file(&name), Doing::Else));
    }
    Ok(())
}

fn refused(error: Error, name: &Path) -> Failure {
    let failure = Failure::of(&error.in_file(name), Doing::Else);
    let mut sidecar = name.as_os_str().to_owned();
    sidecar.push(".cmk-rewrap");
    if Path::new(&sidecar).exists() {
        return failure.and("a rewrap of it was interrupted: run it again, it completes");
    }
    failure
}

struct About<'a> {
    name: &'a Path,
    inspection: &'a Inspection,
    /// Bytes behind the header, where the whole file is there.
    body: Option<u64>,
    plaintext: Option<u64>,
}

impl About<'_> {
    fn is_cut(&self) -> bool {
        self.body.is_some() && self.plaintext.is_none()
    }

    fn human(&self) -> String {
        let i = self.inspection;
        let mut facts = vec![
            ("format", format!("cmkit envelope, version {}", i.version)),
            ("suite", format!("{} = {}", i.suite, i.suite_name)),
            ("DEK", format!("{}, made {}", i.dek_id, time(i.created))),
            ("purpose", i.purpose.name().to_owned()),
            (
                "workspace",
                i.workspace.clone().unwrap_or_else(|| "none".to_owned()),
            ),
            ("header", header(i)),
        ];
        if let Some(body) = self.body {
            facts.push(("body", bytes(body)));
            let plaintext = self
                .plaintext
                .map_or("unknown: the end is missing".to_owned(), bytes);
            facts.push(("plaintext", plaintext));
        }
        if i.is_compact {
            facts.push((
                "recipients",
                "none: the data key is in a key store".to_owned(),
            ));
        }
        for r in &i.recipients {
            let line = format!(
                "{}, {}, {}",
                r.key_id,
                r.algorithm.name(),
                time(r.wrapped_at)
            );
            facts.push(("recipient", line));
        }
        let rows: Vec<_> = facts
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect();
        let note = "Nothing of this is authenticated: that takes a key.";
        printable(&format!(
            "{}\n{}{note}\n",
            self.name.display(),
            table(&rows)
        ))
    }

    fn json(&self) -> Result<String> {
        let i = self.inspection;
        let recipients: Vec<_> = i
            .recipients
            .iter()
            .map(|r| {
                json!({
                    "provider": r.provider,
                    "key_id": r.key_id.as_str(),
                    "algorithm": r.algorithm.name(),
                    "wrapped_length": r.wrapped_len,
                    "wrapped_at": time(r.wrapped_at),
                })
            })
            .collect();
        let value = json!({
            "file": self.name.to_string_lossy(),
            "authenticated": false,
            "version": i.version,
            "suite": i.suite,
            "suite_name": i.suite_name,
            "dek_id": i.dek_id.to_string(),
            "purpose": i.purpose.name(),
            "workspace": i.workspace,
            "created": time(i.created),
            "compact": i.is_compact,
            "header_length": i.header_len,
            "padding_length": i.padding_len,
            "body_length": self.body,
            "plaintext_length": self.plaintext,
            "recipients": recipients,
        });
        let text = serde_json::to_string_pretty(&value);
        text.map(|text| text + "\n")
            .map_err(|e| Failure::other(format!("cannot write JSON: {e}")))
    }
}

fn header(i: &Inspection) -> String {
    let mut text = bytes(i.header_len as u64);
    if i.padding_len > 0 {
        text.push_str(&format!(", {} of them room for a rewrap", i.padding_len));
    }
    text
}
