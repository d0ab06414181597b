//! Provider errors, as this crate makes them.

use std::time::Duration;

use cmkit::{Error, ProviderError, ProviderErrorKind};

use crate::call::Operation;
use crate::http::{Fault, FaultKind, Response};

/// An error about signing in. `retryable`: whether a later call may fare better.
pub(crate) fn identity(message: impl Into<String>) -> ProviderError {
    ProviderError::new(ProviderErrorKind::Identity, message)
}

pub(crate) fn invalid(problem: impl Into<String>) -> Error {
    Error::InvalidArgument {
        problem: problem.into(),
    }
}

/// What an answer tells besides its body.
pub(crate) trait About: Sized {
    /// The same, by this answer.
    fn answered(self, response: &Response) -> Self;
    /// The same, with the wait that was asked for.
    fn after(self, wait: Option<Duration>) -> Self;
    /// The same, about this operation.
    fn during(self, operation: &Operation<'_>) -> Self;
}

impl About for ProviderError {
    fn answered(mut self, response: &Response) -> Self {
        self.http_status = Some(response.status);
        self.request_id.clone_from(&response.request_id);
        self.region.clone_from(&response.region);
        self
    }

    fn after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    fn during(mut self, operation: &Operation<'_>) -> Self {
        self.client_request_id = Some(operation.call.id().to_owned());
        self
    }
}

/// What to do about a fault on the way to `host`.
pub(crate) fn advice(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Name => "check the name and the DNS; a deleted vault has no address either",
        FaultKind::Connect => "check the network, the firewall and the proxy settings",
        FaultKind::Timeout => "the service or the network is slow or cut off",
        FaultKind::Tls => {
            "if a proxy or an emulator has a certificate of its own, name its root as CA file"
        }
        FaultKind::Proxy => "check HTTPS_PROXY and NO_PROXY",
        FaultKind::Broken => "the connection broke on the way",
        FaultKind::Malformed => "something else than the service answers there",
    }
}

/// The sentence for a fault: what, where, what to do.
pub(crate) fn sentence(fault: &Fault, host: &str) -> String {
    format!(
        "no answer from {host}: {}; {}",
        fault.text,
        advice(fault.kind)
    )
}
