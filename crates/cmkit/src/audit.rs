//! What a keyring did with its keys: one event for each operation of a provider.

mod json_lines;

use std::time::Duration;

pub use self::json_lines::JsonLines;
use crate::error::ErrorKind;

/// Takes a keyring's events; see [`KeyringBuilder::audit`](crate::KeyringBuilder::audit).
///
/// Called on the thread that did the operation, with no lock held, after the operation. What it does with an event that it can't keep is its own affair: the
/// operation was done. It must not call the keyring, which is refused. Every event also goes to [`tracing`] with the target `cmkit::audit`.
pub trait AuditSink: Send + Sync {
    /// Takes an event.
    fn record(&self, event: &AuditEvent<'_>);
}

/// One operation of a key provider, or what came of one. Ids and outcomes, never content: no key bytes, no wrapped bytes, no plaintext, no encryption context, no
/// file names.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuditEvent<'a> {
    /// Milliseconds since 1970, when it ended.
    pub time: u64,
    /// What was done.
    pub operation: AuditOperation,
    /// The provider's name.
    pub provider: &'a str,
    /// The key's id: with the version that was used, where that is known.
    pub key: &'a str,
    /// How it failed; `None` if it didn't.
    pub failure: Option<ErrorKind>,
    /// The provider's own code for the failure.
    pub code: Option<&'a str>,
    /// The keyring's id of the operation, which the provider was told.
    pub call_id: &'a str,
    /// The service's id of its last answer.
    pub request_id: Option<&'a str>,
    /// Where the service answered from.
    pub region: Option<&'a str>,
    /// The HTTP status of the last answer.
    pub http_status: Option<u16>,
    /// Requests that were sent for it; 0 where the provider doesn't count.
    pub attempts: u32,
    /// How long it took.
    pub duration: Duration,
    /// The keyring's workspace; `None` also with [high business impact](crate::KeyringBuilder::high_business_impact).
    pub workspace: Option<&'a str>,
}

/// What an [`AuditEvent`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditOperation {
    /// A DEK was to be wrapped.
    Wrap,
    /// A DEK was to be unwrapped: for a message, or to see whether the key still works.
    Unwrap,
    /// The newest version of a key was asked for and checked.
    Newest,
    /// A key was found to be taken away: its DEKs are let go.
    Revoked,
    /// A key that was taken away or out of reach works again.
    Recovered,
    /// A key can't be reached.
    Unavailable,
    /// A DEK was moved to a key outside its vault, which was asked for.
    OtherVault,
}

impl AuditOperation {
    /// A lower-case name, such as `unwrap`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wrap => "wrap",
            Self::Unwrap => "unwrap",
            Self::Newest => "newest",
            Self::Revoked => "revoked",
            Self::Recovered => "recovered",
            Self::Unavailable => "unavailable",
            Self::OtherVault => "other_vault",
        }
    }
}

/// The event for whoever listens to `tracing`.
pub(crate) fn trace(event: &AuditEvent<'_>) {
    macro_rules! emit {
        ($level:ident) => {
            tracing::event!(
                target: "cmkit::audit",
                tracing::Level::$level,
                operation = event.operation.name(),
                provider = event.provider,
                key = event.key,
                outcome = outcome(event),
                code = event.code,
                call_id = event.call_id,
                request_id = event.request_id,
                region = event.region,
                http_status = event.http_status,
                attempts = event.attempts,
                duration_ms = u64::try_from(event.duration.as_millis()).unwrap_or(u64::MAX),
                workspace = event.workspace,
            )
        };
    }
    let in_trouble = matches!(
        event.operation,
        AuditOperation::Revoked | AuditOperation::Unavailable
    );
    if event.failure.is_some() || in_trouble {
        emit!(WARN);
    } else {
        emit!(INFO);
    }
}

/// `ok`, or the name of an [`ErrorKind`].
fn outcome(event: &AuditEvent<'_>) -> String {
    event
        .failure
        .map_or_else(|| "ok".to_owned(), |kind| format!("{kind:?}"))
}
