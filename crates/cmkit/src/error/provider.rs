//! What a key provider says when it fails.

use std::fmt;
use std::time::Duration;

#[cfg(doc)]
use super::Error;
use super::ErrorKind;

/// A key provider's failure: what, on which key, whether to retry.
///
/// [`Display`](fmt::Display) is the whole sentence. The message must not contain key bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProviderError {
    /// What kind of failure.
    pub kind: ProviderErrorKind,
    /// What happened and what to do, as a sentence without a full stop.
    pub message: String,
    /// The key that it is about.
    pub key: Option<String>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// The HTTP status, for providers that speak HTTP.
    pub http_status: Option<u16>,
    /// The provider's id of the failed request, for its support or audit log.
    pub request_id: Option<String>,
    /// Our id of the operation, which the provider was told: the `correlationId` in Key Vault's audit log.
    pub client_request_id: Option<String>,
    /// The provider's own code for the failure, such as `ForbiddenByRbac`.
    pub code: Option<String>,
    /// Where the provider answered from, such as `westeurope`.
    pub region: Option<String>,
}

/// What kind of failure a [`ProviderError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProviderErrorKind {
    /// No such key or version.
    NotFound,
    /// The key was deleted, and the provider says so. It can perhaps be recovered.
    Deleted,
    /// The key version is disabled.
    Disabled,
    /// Access is denied.
    Denied,
    /// The wrapped bytes are not what the key wrapped. Becomes [`Error::AuthenticationFailed`].
    Rejected,
    /// The key is there and can't be used for this.
    Unusable,
    /// The key doesn't meet a rule for keys, such as its size or how its vault protects it; the message says which.
    Policy,
    /// The answer names another vault or key than the one that was asked, or a key was to be exchanged for another vault's.
    WrongVault,
    /// Too many requests.
    Throttled,
    /// Out of reach, or a passing fault.
    Unavailable,
    /// Nobody knows who is asking: no identity, or one without a token.
    Identity,
    /// Anything else.
    Other,
}

impl ProviderErrorKind {
    pub(crate) fn error_kind(self) -> ErrorKind {
        match self {
            Self::NotFound => ErrorKind::KeyNotFound,
            Self::Deleted => ErrorKind::KeyDeleted,
            Self::Policy => ErrorKind::KeyPolicy,
            Self::WrongVault => ErrorKind::WrongVault,
            Self::Disabled => ErrorKind::KeyDisabled,
            Self::Denied => ErrorKind::AccessDenied,
            Self::Rejected => ErrorKind::Authentication,
            Self::Unusable => ErrorKind::KeyUnusable,
            Self::Throttled => ErrorKind::Throttled,
            Self::Unavailable => ErrorKind::Unavailable,
            Self::Identity => ErrorKind::Identity,
            Self::Other => ErrorKind::Provider,
        }
    }
}

impl ProviderError {
    /// An error of this kind. `Throttled` and `Unavailable` start out retryable, the others not.
    #[must_use]
    pub fn new(kind: ProviderErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            key: None,
            retryable: matches!(
                kind,
                ProviderErrorKind::Throttled | ProviderErrorKind::Unavailable
            ),
            retry_after: None,
            http_status: None,
            request_id: None,
            client_request_id: None,
            code: None,
            region: None,
        }
    }

    /// The same, about this key.
    #[must_use]
    pub fn on_key(mut self, key: impl fmt::Display) -> Self {
        self.key = Some(key.to_string());
        self
    }

    /// The same, with another word on whether to retry.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }
}

impl ProviderError {
    /// Where the answer came from, for a support request: ` (HTTP 403 ForbiddenByRbac, request 1f…, our request 7a…, westeurope)`.
    fn source_of_answer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut open = false;
        let mut part = |f: &mut fmt::Formatter<'_>, label: &str, text: &dyn fmt::Display| {
            let before = if std::mem::replace(&mut open, true) {
                ", "
            } else {
                " ("
            };
            write!(f, "{before}{label}{text}")
        };
        if let Some(status) = &self.http_status {
            part(f, "HTTP ", status)?;
        }
        if let Some(code) = &self.code {
            part(f, "code ", code)?;
        }
        if let Some(id) = &self.request_id {
            part(f, "request ", id)?;
        }
        if let Some(id) = &self.client_request_id {
            part(f, "our request ", id)?;
        }
        if let Some(region) = &self.region {
            part(f, "", region)?;
        }
        if open { f.write_str(")") } else { Ok(()) }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "key {key}: ")?;
        }
        f.write_str(&self.message)?;
        self.source_of_answer(f)?;
        if self.retryable {
            match self.retry_after {
                Some(wait) => write!(f, "; try again in {} s", wait.as_secs_f32().ceil())?,
                None => f.write_str("; try again")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ProviderError {}
