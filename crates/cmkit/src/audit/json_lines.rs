//! Events as lines of JSON.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::{AuditEvent, AuditSink, outcome};
use crate::error::{Error, Result};

/// Writes each event as one line of JSON, in one call, so that lines of several processes don't mix in a file opened for appending.
///
/// Keys: `time` (milliseconds since 1970), `pid`, `operation`, `provider`, `key`, `outcome` (`ok` or an [`ErrorKind`](crate::ErrorKind)), `call_id`, `attempts`,
/// `duration_ms`, and where they are known `code`, `request_id`, `region`, `http_status`, `workspace`.
///
/// A line that can't be written is lost and [counted](Self::lost): the operation was done, and failing it would help nobody.
pub struct JsonLines<W: Write + Send> {
    writer: Mutex<W>,
    lost: AtomicU64,
}

impl JsonLines<File> {
    /// Appends to a file, which is made with mode 0600 if it isn't there.
    ///
    /// # Errors
    /// * [`Error::Io`]: it can't be opened.
    pub fn append(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(path)
            .map_err(|e| Error::io_at("open the audit log", path, e))?;
        Ok(Self::new(file))
    }
}

impl<W: Write + Send> JsonLines<W> {
    /// Writes to `writer`, unbuffered.
    pub fn new(writer: W) -> Self {
        Self {
            writer: Mutex::new(writer),
            lost: AtomicU64::new(0),
        }
    }

    /// Lines that couldn't be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.writer
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: u64,
    pid: u32,
    operation: &'static str,
    provider: &'a str,
    key: &'a str,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    call_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    attempts: u32,
    duration_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<&'a str>,
}

impl<W: Write + Send> AuditSink for JsonLines<W> {
    fn record(&self, event: &AuditEvent<'_>) {
        let line = Line {
            time: event.time,
            pid: std::process::id(),
            operation: event.operation.name(),
            provider: event.provider,
            key: event.key,
            outcome: outcome(event),
            code: event.code,
            call_id: event.call_id,
            request_id: event.request_id,
            region: event.region,
            http_status: event.http_status,
            attempts: event.attempts,
            duration_ms: event.duration.as_millis(),
            workspace: event.workspace,
        };
        let written = serde_json::to_vec(&line).is_ok_and(|mut line| {
            line.push(b'\n');
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.write_all(&line).is_ok()
        });
        if !written {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
