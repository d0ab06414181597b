//! One connection: plain, TLS, or plain that becomes a tunnel. Tunnels end here, whatever the host.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConnection, StreamOwned};

use super::http::{Request, Response, Via, Wire, plain_host};
use crate::control::log::{Entry, Facts};
use crate::control::op::Op;
use crate::control::{self, with_rules};
use crate::state::Shared;
use crate::tokens;
use crate::tokens::store::AUDIENCES;
use crate::vault;

/// Serves the proxy, the identity endpoints and control.
pub(crate) fn plain(shared: &Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    while let Some(mut request) = wire.read()? {
        request.resets = shared.state().resets;
        if request.method == "CONNECT" {
            return connect(shared, wire, &request);
        }
        let control = match request.via {
            Via::Direct => control::answer(shared, &request),
            Via::Proxy => None,
        };
        if let Some(response) = control {
            if !wire.write(&request, &response)? {
                return Ok(());
            }
            continue;
        }
        let (facts, response) = tokens::managed_answer(shared, &request);
        if !reply(shared, &mut wire, &request, facts, response)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Serves vaults, HSMs and Entra to those who connect directly.
pub(crate) fn tls(shared: &Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    secure(shared, stream, None)
}

fn connect(shared: &Arc<Shared>, mut wire: Wire<TcpStream>, request: &Request) -> io::Result<()> {
    let facts = Facts::new(&request.host, Op::Connect);
    let response = with_rules(shared, &facts, || match leads_here(shared, &request.host) {
        true => Response::empty(200),
        false => Response::empty(502),
    });
    let open = response
        .as_ref()
        .is_some_and(|response| response.status == 200);
    if !open {
        return reply(shared, &mut wire, request, facts, response).map(drop);
    }
    note(shared, request, &facts, Some(200));
    wire.stream
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    secure(shared, wire.stream, Some(&request.host))
}

/// Only hosts that this program stands in for: tests never reach the network through it.
fn leads_here(shared: &Shared, host: &str) -> bool {
    if shared.state().vault_is_gone(host) {
        return false;
    }
    let name = host.split(':').next().unwrap_or_default();
    tokens::is_login(host)
        || matches!(name, "localhost" | "127.0.0.1")
        || AUDIENCES.iter().any(|(suffix, _)| {
            let name = host.strip_suffix(suffix).unwrap_or_default();
            !name.is_empty() && !name.contains(['.', ':'])
        })
}

fn secure(shared: &Arc<Shared>, stream: TcpStream, tunnel: Option<&str>) -> io::Result<()> {
    let (certificate, only_tls12) = {
        let state = shared.state();
        (state.certificate, state.only_tls12)
    };
    let config = shared.authority.config(certificate, only_tls12)?;
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut wire = Wire::new(StreamOwned::new(session, stream));
    while let Some(mut request) = wire.read()? {
        request.resets = shared.state().resets;
        if tunnel.is_some() {
            request.via = Via::Proxy;
        }
        let misdirected = tunnel.is_some_and(|tunnel| plain_host(tunnel) != request.host);
        if misdirected || request.host.is_empty() {
            let facts = Facts::new(&request.host, Op::Unknown);
            let status = if misdirected { 421 } else { 400 };
            let response = Some(Response::empty(status));
            return reply(shared, &mut wire, &request, facts, response).map(drop);
        }
        if shared.state().vault_is_gone(&request.host) {
            return Ok(());
        }
        let (facts, response) = match tokens::is_login(&request.host) {
            true => tokens::entra(shared, &request),
            false => vault::answer(shared, &request),
        };
        if !reply(shared, &mut wire, &request, facts, response)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Logs, then sends: who has the answer finds the request in the log.
fn reply<S: Read + Write>(
    shared: &Shared,
    wire: &mut Wire<S>,
    request: &Request,
    facts: Facts,
    response: Option<Response>,
) -> io::Result<bool> {
    let status = response.as_ref().map(|response| response.status);
    note(shared, request, &facts, status);
    match response {
        Some(response) => wire.write(request, &response),
        None => Ok(false),
    }
}

fn note(shared: &Shared, request: &Request, facts: &Facts, status: Option<u16>) {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let mut state = shared.state();
    if state.resets != request.resets {
        return;
    }
    state.log.push(Entry {
        number: 0,
        op: facts.op,
        method: request.method.clone(),
        host: request.host.clone(),
        path: request.path.clone(),
        api_version: text(request.query("api-version")),
        key: facts.key.clone(),
        version: facts.version.clone(),
        status,
        client_request_id: text(request.header("x-ms-client-request-id")),
        proxied: request.via == Via::Proxy,
        authorization: request.header("authorization").is_some(),
        body_len: request.body.len(),
    });
}
