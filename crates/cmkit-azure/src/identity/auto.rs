//! The identity that the environment suggests.

use std::sync::Arc;

use cmkit::{Error, ProviderError};

use super::{Credential, Identity, SignIn, Source};
use crate::environment::Environment;
use crate::token::AccessToken;

/// In the order in which they are looked for.
const SOURCES: &[(Source, &[&str])] = &[
    (
        Source::AppService,
        &["IDENTITY_ENDPOINT", "IDENTITY_HEADER"],
    ),
    (Source::Arc, &["IDENTITY_ENDPOINT", "IMDS_ENDPOINT"]),
    (Source::AzureMl, &["MSI_ENDPOINT", "MSI_SECRET"]),
    (
        Source::Workload,
        &[
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_CLIENT_ID",
            "AZURE_TENANT_ID",
        ],
    ),
    (
        Source::ClientSecret,
        &["AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"],
    ),
];

pub(super) fn resolve(
    recipe: Identity,
    environment: &Environment,
) -> Result<Arc<dyn Credential>, Error> {
    let found = SOURCES
        .iter()
        .find(|(_, variables)| environment.has(variables));
    let source = match found {
        Some((Source::AppService, _)) => Source::AppService,
        Some((Source::Arc, _)) => Source::Arc,
        Some((Source::AzureMl, _)) => Source::AzureMl,
        Some((Source::Workload, _)) => Source::Workload,
        Some((Source::ClientSecret, _)) => Source::ClientSecret,
        _ => Source::Imds,
    };
    let inner = Identity { source, ..recipe }.resolve(environment)?;
    Ok(Arc::new(Auto(inner)))
}

struct Auto(Arc<dyn Credential>);

impl Credential for Auto {
    fn name(&self) -> String {
        self.0.name()
    }

    fn describe(&self) -> String {
        format!("auto: {}", self.0.describe())
    }

    fn sign_in(&self, sign_in: &SignIn<'_>) -> Result<AccessToken, ProviderError> {
        self.0.sign_in(sign_in).map_err(|mut e| {
            e.message.push_str(&format!(
                "; the identity `auto` took the {}; name another one if that is not meant, on a developer's machine `cli`",
                self.0.describe()
            ));
            e
        })
    }
}
