//! Certificates: a CA made at start, and a leaf for each host when somebody first asks for it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

/// What a client sees when it connects with TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certificate {
    /// Made by the CA for the host that was asked for.
    #[default]
    Good,
    /// For `localhost` and `127.0.0.1`, without a CA; in `self_signed_file`.
    SelfSigned,
    /// Made by the CA for another host.
    WrongHost,
    /// Made by the CA for the host, and over since 2020.
    Expired,
    /// Made by a CA that nobody knows.
    UnknownCa,
}

/// The CA and what it has made.
pub(crate) struct Authority {
    ca: Issuer<'static, KeyPair>,
    stranger: Issuer<'static, KeyPair>,
    ca_pem: String,
    self_signed: Arc<CertifiedKey>,
    self_signed_pem: String,
    made: Mutex<HashMap<(Certificate, String), Arc<CertifiedKey>>>,
}

impl Authority {
    pub(crate) fn new() -> io::Result<Self> {
        let (ca, ca_der) = issuer("cmkit fake vault CA").map_err(io::Error::other)?;
        let (stranger, _) = issuer("a CA that nobody knows").map_err(io::Error::other)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let params = params(&["localhost", "127.0.0.1"]).map_err(io::Error::other)?;
        let der = params.self_signed(&key).map_err(io::Error::other)?;
        let der = der.der().clone();
        Ok(Self {
            ca,
            stranger,
            ca_pem: pem(&ca_der),
            self_signed_pem: pem(&der),
            self_signed: certified(der, &key)?,
            made: Mutex::default(),
        })
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub(crate) fn self_signed_pem(&self) -> &str {
        &self.self_signed_pem
    }

    /// The settings for one connection.
    pub(crate) fn config(
        self: &Arc<Self>,
        certificate: Certificate,
        only_tls12: bool,
    ) -> io::Result<Arc<ServerConfig>> {
        let versions: &[_] = match only_tls12 {
            true => &[&rustls::version::TLS12],
            false => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver {
                authority: Arc::clone(self),
                certificate,
            }));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn leaf(&self, kind: Certificate, host: &str) -> io::Result<Arc<CertifiedKey>> {
        if kind == Certificate::SelfSigned {
            return Ok(Arc::clone(&self.self_signed));
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (kind, host.to_owned());
        if let Some(leaf) = made.get(&place) {
            return Ok(Arc::clone(leaf));
        }
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let names: &[&str] = match kind {
            Certificate::WrongHost => &["elsewhere.example"],
            _ if host == "localhost" => &["localhost", "127.0.0.1"],
            _ => &[host],
        };
        let mut params = params(names).map_err(io::Error::other)?;
        if kind == Certificate::Expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let issuer = match kind {
            Certificate::UnknownCa => &self.stranger,
            _ => &self.ca,
        };
        let der = params.signed_by(&key, issuer).map_err(io::Error::other)?;
        let leaf = certified(der.der().clone(), &key)?;
        made.insert(place, Arc::clone(&leaf));
        Ok(leaf)
    }
}

struct Resolver {
    authority: Arc<Authority>,
    certificate: Certificate,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Clients send no name when they connect to an IP address.
        let host = hello.server_name().unwrap_or("localhost");
        self.authority.leaf(self.certificate, host).ok()
    }
}

fn issuer(name: &str) -> Result<(Issuer<'static, KeyPair>, CertificateDer<'static>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    let der = params.self_signed(&key)?.der().clone();
    Ok((Issuer::new(params, key), der))
}

fn params(names: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names.clone())?;
    if let Some(name) = names.first() {
        params
            .distinguished_name
            .push(DnType::CommonName, name.as_str());
    }
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn certified(der: CertificateDer<'static>, key: &KeyPair) -> io::Result<Arc<CertifiedKey>> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(io::Error::other)?;
    Ok(Arc::new(CertifiedKey::new(vec![der], key)))
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}
