//! Requests and answers, apart from what carries them.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock::Clock;

mod agents;
pub(crate) mod date;
mod proxy;
mod retry;
mod roots;

pub(crate) use agents::Agents;
pub(crate) use proxy::Proxies;
pub(crate) use retry::{RetryRule, asked_pause, retry_passing, send};
pub(crate) use roots::check as check_ca_file;

/// Bytes in the longest answer that is read.
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// For a name, a connection and TLS on it.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// For one request and its answer.
pub(crate) const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// What carries requests, and what time it is.
#[derive(Clone)]
pub(crate) struct Net {
    pub(crate) carrier: Arc<dyn Carrier>,
    pub(crate) clock: Arc<dyn Clock>,
}

pub(crate) trait Carrier: Send + Sync {
    /// One request, one answer: no retry, no redirect.
    fn carry(&self, request: &Request, limit: Duration) -> Result<Response, Fault>;
}

/// Which way a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To a vault or the sign-in host: https only, through the proxy if there is one.
    Remote,
    /// To an endpoint of this node: never through a proxy.
    Local,
}

/// A request. Headers and body may hold secrets, so there is no `Debug`.
pub(crate) struct Request {
    pub(crate) route: Route,
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, Zeroizing<String>)>,
    /// `None`: a GET. Else a POST.
    pub(crate) body: Option<Body>,
}

pub(crate) struct Body {
    pub(crate) content_type: &'static str,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

impl Request {
    pub(crate) fn get(route: Route, url: String) -> Self {
        Self {
            route,
            url,
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, Zeroizing::new(value.into())));
        self
    }

    pub(crate) fn secret_header(mut self, name: &'static str, value: Zeroizing<String>) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn post(mut self, content_type: &'static str, bytes: Zeroizing<Vec<u8>>) -> Self {
        self.body = Some(Body {
            content_type,
            bytes,
        });
        self
    }
}

/// An answer, whatever its status. The body may hold secrets, so there is no `Debug`.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// `Retry-After`, seconds or a date.
    pub(crate) retry_after: Option<String>,
    /// All `WWW-Authenticate` headers, with commas between them.
    pub(crate) challenge: Option<String>,
    /// `x-ms-request-id`.
    pub(crate) request_id: Option<String>,
    /// `x-ms-keyvault-region`.
    pub(crate) region: Option<String>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// What happened, for a message.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The host has no address.
    Name,
    /// Nobody took the connection.
    Connect,
    /// Took too long.
    Timeout,
    /// The certificate or the handshake.
    Tls,
    /// The proxy refused.
    Proxy,
    /// The connection broke, or the answer was cut short.
    Broken,
    /// What came isn't an answer, or is too long.
    Malformed,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// Whether the same request may fare better. A certificate doesn't get better by asking again.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(self.kind, FaultKind::Tls | FaultKind::Malformed)
    }
}
