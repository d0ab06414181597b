//! A client that does as it is told, right or wrong.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use cmkit_testkit::FakeVault;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn inner(&self) -> String {
        let inner = &self.json()["error"]["innererror"]["code"];
        inner.as_str().unwrap_or_default().to_owned()
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A tunnel to a host.
pub(crate) fn tunnel(fake: &FakeVault, host: &str) -> io::Result<TcpStream> {
    let mut stream = connect(&fake.addresses().proxy)?;
    write!(
        stream,
        "CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    match head.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(stream),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&head).into_owned(),
        )),
    }
}

/// TLS over a stream, with the fake's CA and the certificates in `more`.
pub(crate) fn secure(
    fake: &FakeVault,
    stream: TcpStream,
    host: &str,
    more: &[u8],
) -> io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    let ca = std::fs::read(&fake.addresses().ca_file)?;
    for pem in [&ca[..], more] {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tls = StreamOwned::new(session, stream);
    tls.flush()?;
    Ok(tls)
}

/// Sends a request through a tunnel of its own.
pub(crate) fn send(fake: &FakeVault, host: &str, request: &str) -> io::Result<Answer> {
    let stream = tunnel(fake, host)?;
    let mut tls = secure(fake, stream, host, &[])?;
    tls.write_all(request.as_bytes())?;
    answer(&mut tls)
}

/// Sends a request to the plain listener.
pub(crate) fn send_plain(fake: &FakeVault, request: &str) -> io::Result<Answer> {
    let mut stream = connect(&fake.addresses().http)?;
    stream.write_all(request.as_bytes())?;
    answer(&mut stream)
}

fn connect(url: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Reads one answer.
pub(crate) fn answer(stream: &mut impl Read) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let status = head[9..12].parse().unwrap();
    let mut answer = Answer {
        status,
        head,
        body: String::new(),
    };
    let len = answer.header("content-length").unwrap_or("0");
    let mut body = vec![0; len.parse().unwrap()];
    stream.read_exact(&mut body)?;
    answer.body = String::from_utf8(body).unwrap();
    Ok(answer)
}

/// A request with a token, and with a JSON body if it isn't empty.
pub(crate) fn request(method: &str, host: &str, target: &str, token: &str, body: &str) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    if !token.is_empty() {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    if !body.is_empty() {
        head += "Content-Type: application/json\r\n";
    }
    head + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A token for the vaults, from IMDS.
pub(crate) fn token(fake: &FakeVault) -> String {
    token_for(fake, "https://vault.azure.net")
}

/// A token for a resource, from IMDS.
pub(crate) fn token_for(fake: &FakeVault, resource: &str) -> String {
    let answer = send_plain(fake, &imds(resource, "Metadata: true\r\n")).unwrap();
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// A request to IMDS.
pub(crate) fn imds(resource: &str, headers: &str) -> String {
    let path = "/metadata/identity/oauth2/token?api-version=2018-02-01";
    format!("GET {path}&resource={resource} HTTP/1.1\r\nHost: 169.254.169.254\r\n{headers}\r\n")
}
