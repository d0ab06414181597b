//! Whom TLS trusts: the system's roots, and those of a file.

use std::path::Path;

use ureq::tls::{Certificate, PemItem, parse_pem};

use super::{Fault, FaultKind};

/// Bytes in the longest file of roots.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// The system's roots and the file's.
pub(super) fn load(ca_file: Option<&Path>) -> Result<Vec<Certificate<'static>>, Fault> {
    let system = rustls_native_certs::load_native_certs();
    let mut roots: Vec<_> = system
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    if let Some(path) = ca_file {
        roots.extend(read(path)?);
    }
    if roots.is_empty() {
        return Err(Fault::new(
            FaultKind::Tls,
            "this system has no root certificates; install ca-certificates, or name a CA file",
        ));
    }
    Ok(roots)
}

/// Whether the file can be used, else a sentence.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    read(path).map(drop).map_err(|fault| fault.text)
}

/// The certificates of a PEM file: at least one.
pub(super) fn read(path: &Path) -> Result<Vec<Certificate<'static>>, Fault> {
    let fail = |problem: &str| {
        Fault::new(
            FaultKind::Tls,
            format!("CA file {}: {problem}", path.display()),
        )
    };
    let length = std::fs::metadata(path)
        .map_err(|e| fail(&e.to_string()))?
        .len();
    if length > MAX_FILE {
        return Err(fail("it is longer than 4 MiB"));
    }
    let pem = std::fs::read(path).map_err(|e| fail(&e.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(fail("it is not PEM")),
        }
    }
    if found.is_empty() {
        return Err(fail("there is no certificate in it; it must be PEM"));
    }
    Ok(found)
}
