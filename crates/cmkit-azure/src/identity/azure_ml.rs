//! Azure ML compute: clusters, instances, jobs.

use cmkit::{Error, ProviderError};
use zeroize::Zeroizing;

use super::managed::{Asking, ManagedId, token};
use super::{Credential, SignIn, required};
use crate::environment::Environment;
use crate::failure::invalid;
use crate::http::{Request, Route, retry_passing};
use crate::text::with_query;
use crate::token::AccessToken;

const NAME: &str = "Azure ML managed identity";

pub(super) struct AzureMl {
    endpoint: String,
    secret: Zeroizing<String>,
    /// Even the system-assigned identity is named by it.
    client_id: Option<String>,
}

impl AzureMl {
    pub(super) fn new(environment: &Environment, id: &ManagedId) -> Result<Self, Error> {
        let client_id = match id {
            ManagedId::System => environment
                .get("DEFAULT_IDENTITY_CLIENT_ID")
                .map(str::to_owned),
            ManagedId::Client(id) => Some(id.clone()),
            ManagedId::Object(_) | ManagedId::Resource(_) => {
                return Err(invalid(
                    "the identity `azure-ml` is chosen by client id only",
                ));
            }
        };
        Ok(Self {
            endpoint: required(environment, "azure-ml", "MSI_ENDPOINT")?.to_owned(),
            secret: Zeroizing::new(required(environment, "azure-ml", "MSI_SECRET")?.to_owned()),
            client_id,
        })
    }
}

impl Credential for AzureMl {
    fn name(&self) -> String {
        NAME.into()
    }

    fn describe(&self) -> String {
        format!("{NAME} (MSI_ENDPOINT, MSI_SECRET)")
    }

    fn sign_in(&self, sign_in: &SignIn<'_>) -> Result<AccessToken, ProviderError> {
        let mut query = vec![
            ("api-version", "2017-09-01"),
            ("resource", sign_in.audience),
        ];
        if let Some(id) = &self.client_id {
            query.push(("clientid", id));
        }
        let request = Request::get(Route::Local, with_query(&self.endpoint, &query))
            .header("secret", self.secret.as_str());
        let advice = match self.client_id {
            Some(_) => "check that the compute has this identity, and its client id",
            None => "name the identity's client id, or set DEFAULT_IDENTITY_CLIENT_ID to it",
        };
        let asking = Asking {
            name: NAME,
            again: retry_passing,
            advice,
        };
        token(sign_in, &asking, &request)
    }
}
