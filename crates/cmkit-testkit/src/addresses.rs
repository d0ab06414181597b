//! Where everything is, and how clients are told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::state::Shared;
use crate::tokens::identity::Identity;
use crate::tokens::managed;

pub(crate) const CA_FILE: &str = "ca.pem";
pub(crate) const SELF_SIGNED_FILE: &str = "self-signed.pem";
pub(crate) const FEDERATED_TOKEN_FILE: &str = "federated-token";

/// Where a client gets its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// From Entra, with a secret.
    ClientSecret,
    /// From Entra, with the federated token file.
    Workload,
    /// From a virtual machine's endpoint.
    Imds,
    /// From App Service or Container Apps.
    AppService,
    /// From Azure Arc.
    Arc,
    /// From Azure ML.
    AzureMl,
}

/// Where everything is: what `cmkit-fake-vault` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Addresses {
    /// For `HTTPS_PROXY`.
    pub proxy: String,
    /// TLS without the proxy, on 127.0.0.1.
    pub https_port: u16,
    /// The plain listener; no slash at the end.
    pub http: String,
    /// Commands go to this and their name.
    pub control: String,
    /// The CA in PEM.
    pub ca_file: PathBuf,
    /// The self-signed certificate in PEM.
    pub self_signed_file: PathBuf,
    /// For `AZURE_FEDERATED_TOKEN_FILE`.
    pub federated_token_file: PathBuf,
    /// Where Azure Arc's key files are written.
    pub arc_dir: PathBuf,
    /// For `AZURE_POD_IDENTITY_AUTHORITY_HOST`, or in place of `http://169.254.169.254`.
    pub imds: String,
    /// For `IDENTITY_ENDPOINT` on App Service.
    pub app_service: String,
    /// For `IDENTITY_ENDPOINT` with Azure Arc.
    pub arc: String,
    /// For `MSI_ENDPOINT` on Azure ML.
    pub azure_ml: String,
    /// Who may sign in.
    pub identity: Identity,
    /// What clients need in their environment to find the fake vault and to sign in, for each [`Source`].
    pub env: BTreeMap<Source, BTreeMap<String, String>>,
}

impl Addresses {
    pub(crate) fn new(shared: &Shared, plain: SocketAddr, tls: SocketAddr) -> Self {
        let http = format!("http://{plain}");
        let mut addresses = Self {
            proxy: http.clone(),
            https_port: tls.port(),
            control: format!("{http}/control/"),
            ca_file: shared.dir.join(CA_FILE),
            self_signed_file: shared.dir.join(SELF_SIGNED_FILE),
            federated_token_file: shared.dir.join(FEDERATED_TOKEN_FILE),
            arc_dir: shared.key_files.dir().to_owned(),
            imds: http.clone(),
            app_service: format!("{http}{}", managed::APP_SERVICE),
            arc: format!("{http}{}", managed::ARC),
            azure_ml: format!("{http}{}", managed::AZURE_ML),
            identity: shared.identity.clone(),
            http,
            env: BTreeMap::new(),
        };
        let sources = [
            Source::ClientSecret,
            Source::Workload,
            Source::Imds,
            Source::AppService,
            Source::Arc,
            Source::AzureMl,
        ];
        let env = sources.map(|source| (source, addresses.variables(source)));
        addresses.env = env.into();
        addresses
    }

    fn variables(&self, source: Source) -> BTreeMap<String, String> {
        let who = &self.identity;
        let ca_file = self.ca_file.display().to_string();
        let mut variables = vec![
            ("HTTPS_PROXY", self.proxy.clone()),
            ("SSL_CERT_FILE", ca_file.clone()),
            ("REQUESTS_CA_BUNDLE", ca_file),
        ];
        if matches!(source, Source::ClientSecret | Source::Workload) {
            variables.push(("AZURE_CLIENT_ID", who.client_id.clone()));
            variables.push(("AZURE_TENANT_ID", who.tenant_id.clone()));
        }
        variables.extend(match source {
            Source::ClientSecret => vec![("AZURE_CLIENT_SECRET", who.client_secret.clone())],
            Source::Workload => {
                let file = self.federated_token_file.display().to_string();
                vec![("AZURE_FEDERATED_TOKEN_FILE", file)]
            }
            Source::Imds => vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", self.imds.clone())],
            Source::AppService => vec![
                ("IDENTITY_ENDPOINT", self.app_service.clone()),
                ("IDENTITY_HEADER", who.identity_header.clone()),
            ],
            Source::Arc => vec![
                ("IDENTITY_ENDPOINT", self.arc.clone()),
                ("IMDS_ENDPOINT", self.imds.clone()),
            ],
            Source::AzureMl => vec![
                ("MSI_ENDPOINT", self.azure_ml.clone()),
                ("MSI_SECRET", who.msi_secret.clone()),
                ("DEFAULT_IDENTITY_CLIENT_ID", who.managed_client_id.clone()),
            ],
        });
        variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}
