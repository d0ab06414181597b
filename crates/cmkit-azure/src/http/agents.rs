//! ureq and rustls: what really carries requests.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ureq::http;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Error};
use zeroize::Zeroizing;

use super::{
    CONNECT_LIMIT, Carrier, Fault, FaultKind, MAX_BODY, Proxies, Request, Response, Route, roots,
};
use crate::process::PerProcess;
use crate::text::{host_of, printable};

/// Names us in the vault's audit log.
const USER_AGENT: &str = concat!("cmkit/", env!("CARGO_PKG_VERSION"));

/// The connections of a process.
pub(crate) struct Agents {
    proxies: Proxies,
    ca_file: Option<PathBuf>,
    pools: PerProcess<Pools>,
}

#[derive(Default)]
struct Pools {
    /// https through the proxy. Like `direct` it is made when it is first needed: reading the system's roots takes a while.
    proxied: OnceLock<Agent>,
    direct: OnceLock<Agent>,
    local: OnceLock<Agent>,
}

impl Agents {
    pub(crate) fn new(proxies: Proxies, ca_file: Option<PathBuf>) -> Self {
        Self {
            proxies,
            ca_file,
            pools: PerProcess::new(Pools::default()),
        }
    }

    fn agent(&self, request: &Request) -> Result<&Agent, Fault> {
        let pools = self.pools.get(Pools::default);
        let proxy = match request.route {
            Route::Local => {
                return Ok(pools
                    .local
                    .get_or_init(|| Agent::new_with_config(common().build())));
            }
            Route::Remote => self.proxies.for_host(host_of(&request.url)),
        };
        let cell = if proxy.is_some() {
            &pools.proxied
        } else {
            &pools.direct
        };
        if let Some(agent) = cell.get() {
            return Ok(agent);
        }
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(crypto)
            .root_certs(RootCerts::Specific(Arc::new(roots::load(
                self.ca_file.as_deref(),
            )?)))
            .build();
        let config = common()
            .https_only(true)
            .proxy(proxy.cloned())
            .tls_config(tls)
            .build();
        // Two threads may both make one; the loser's has no connections yet.
        Ok(cell.get_or_init(|| Agent::new_with_config(config)))
    }
}

fn common() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(USER_AGENT)
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_resolve(Some(CONNECT_LIMIT))
        .max_response_header_size(MAX_BODY)
}

impl Carrier for Agents {
    fn carry(&self, request: &Request, limit: Duration) -> Result<Response, Fault> {
        let scheme = match request.route {
            Route::Remote => "https://",
            Route::Local => "http://",
        };
        if !request.url.starts_with(scheme) {
            return Err(Fault::new(
                FaultKind::Malformed,
                format!("its URL must begin with {scheme}"),
            ));
        }
        let agent = self.agent(request)?;
        let method = if request.body.is_some() {
            "POST"
        } else {
            "GET"
        };
        let mut builder = http::Request::builder().method(method).uri(&request.url);
        for (name, value) in &request.headers {
            let mut value = http::HeaderValue::from_str(value).map_err(|_| {
                Fault::new(
                    FaultKind::Malformed,
                    format!("the value of {name} is not one for a header"),
                )
            })?;
            value.set_sensitive(true);
            builder = builder.header(*name, value);
        }
        let result = match &request.body {
            Some(body) => {
                let built = builder
                    .header("content-type", body.content_type)
                    .body(body.bytes.as_slice())
                    .map_err(|e| fault(Error::Http(e)))?;
                agent.run(within(agent, built, limit))
            }
            None => {
                let built = builder.body(()).map_err(|e| fault(Error::Http(e)))?;
                agent.run(within(agent, built, limit))
            }
        };
        read(result.map_err(fault)?)
    }
}

/// The request, to be over within `limit`.
fn within<S: ureq::AsSendBody>(
    agent: &Agent,
    request: http::Request<S>,
    limit: Duration,
) -> http::Request<S> {
    agent
        .configure_request(request)
        .timeout_global(Some(limit))
        .build()
}

fn read(response: http::Response<ureq::Body>) -> Result<Response, Fault> {
    let (parts, body) = response.into_parts();
    let header = |name: &str, limit: usize| {
        let values: Vec<&str> = parts
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        (!values.is_empty()).then(|| printable(&values.join(", "), limit))
    };
    Ok(Response {
        status: parts.status.as_u16(),
        retry_after: header("retry-after", 64),
        challenge: header("www-authenticate", 8 * 1024),
        request_id: header("x-ms-request-id", 64),
        region: header("x-ms-keyvault-region", 64),
        body: read_body(body.into_reader())?,
    })
}

/// Into a buffer that never grows, since growing would leave a copy behind.
fn read_body(mut reader: impl Read) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut bytes = Zeroizing::new(vec![0; MAX_BODY + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match reader.read(&mut bytes[length..]) {
            Ok(0) => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            Ok(more) => length += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(fault_of_io(&e)),
        }
    }
    Err(Fault::new(
        FaultKind::Malformed,
        "the answer is longer than 64 KiB",
    ))
}

fn fault(error: Error) -> Fault {
    let kind = match &error {
        Error::Io(e) => return fault_of_io(e),
        Error::Timeout(_) => return timeout(),
        Error::HostNotFound => FaultKind::Name,
        Error::ConnectionFailed => FaultKind::Connect,
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => FaultKind::Tls,
        Error::ConnectProxyFailed(_) => FaultKind::Proxy,
        _ => FaultKind::Malformed,
    };
    Fault::new(kind, printable(&error.to_string(), 200))
}

fn fault_of_io(error: &io::Error) -> Fault {
    // ureq wraps its own errors and rustls's into those of reading and writing.
    if let Some(inner) = error.get_ref() {
        if let Some(Error::Timeout(_)) = inner.downcast_ref::<Error>() {
            return timeout();
        }
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(inner);
        while let Some(e) = cause {
            if let Some(e) = e.downcast_ref::<rustls::Error>() {
                return Fault::new(FaultKind::Tls, printable(&format!("TLS failed: {e}"), 200));
            }
            cause = e.source();
        }
    }
    let kind = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => return timeout(),
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::NetworkDown => FaultKind::Connect,
        // The library has no kind for a name without an address.
        _ if error.to_string().contains("lookup address") => FaultKind::Name,
        _ => FaultKind::Broken,
    };
    Fault::new(kind, printable(&error.to_string(), 200))
}

fn timeout() -> Fault {
    Fault::new(FaultKind::Timeout, "no answer in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_has_its_scheme() {
        let agents = Agents::new(Proxies::default(), None);
        for (route, url) in [
            (Route::Local, "https://127.0.0.1:1/"),
            (Route::Local, "127.0.0.1"),
            (Route::Remote, "http://127.0.0.1:1/"),
            (Route::Remote, ""),
        ] {
            let request = Request::get(route, url.into());
            let result = agents.carry(&request, Duration::from_secs(1));
            assert_eq!(
                result.err().map(|fault| fault.kind),
                Some(FaultKind::Malformed),
                "{url}"
            );
        }
    }

    #[test]
    fn headers_can_t_be_smuggled() {
        let agents = Agents::new(Proxies::default(), None);
        let request =
            Request::get(Route::Local, "http://127.0.0.1:1/".into()).header("secret", "a\r\nb: c");
        let result = agents.carry(&request, Duration::from_secs(1));
        let fault = result.err().unwrap();
        assert_eq!(fault.kind, FaultKind::Malformed);
        assert!(!fault.text.contains("b: c"));
    }
}
