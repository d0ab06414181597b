//! Virtual machines and scale sets: the instance metadata service.

use std::time::Duration;

use cmkit::ProviderError;

use super::managed::{Asking, ManagedId, token};
use super::{Credential, SignIn};
use crate::environment::Environment;
use crate::http::{Fault, FaultKind, Request, Response, Route};
use crate::text::with_query;
use crate::token::AccessToken;

const NAME: &str = "virtual machine's managed identity (IMDS)";
const HOST: &str = "http://169.254.169.254";
const PATH: &str = "/metadata/identity/oauth2/token";
/// How long 410, an endpoint being updated, can last.
const GONE_LIMIT: Duration = Duration::from_secs(70);
/// Where there is no such endpoint, nothing answers; more attempts than this would only keep people waiting.
const CONNECT_ATTEMPTS: u32 = 3;

pub(super) struct Imds {
    endpoint: String,
    id: ManagedId,
}

impl Imds {
    pub(super) fn new(environment: &Environment, id: ManagedId) -> Self {
        let host = environment
            .get("AZURE_POD_IDENTITY_AUTHORITY_HOST")
            .unwrap_or(HOST);
        Self {
            endpoint: format!("{}{PATH}", host.trim_end_matches('/')),
            id,
        }
    }
}

impl Credential for Imds {
    fn name(&self) -> String {
        NAME.into()
    }

    fn sign_in(&self, sign_in: &SignIn<'_>) -> Result<AccessToken, ProviderError> {
        let mut query = vec![
            ("api-version", "2018-02-01"),
            ("resource", sign_in.audience),
        ];
        match &self.id {
            ManagedId::System => {}
            ManagedId::Client(id) => query.push(("client_id", id)),
            ManagedId::Object(id) => query.push(("object_id", id)),
            ManagedId::Resource(id) => query.push(("msi_res_id", id)),
        }
        let request = Request::get(Route::Local, with_query(&self.endpoint, &query))
            .header("Metadata", "true");
        let asking = Asking {
            name: NAME,
            again,
            advice: "give the machine a managed identity, and name which one if it has several",
        };
        token(sign_in, &asking, &request)
    }
}

fn again(result: &Result<Response, Fault>, attempt: u32, since: Duration) -> bool {
    match result {
        Ok(response) => match response.status {
            410 => since < GONE_LIMIT,
            status => matches!(status, 404 | 408 | 429 | 500..=599),
        },
        Err(fault) => match fault.kind {
            FaultKind::Connect | FaultKind::Timeout | FaultKind::Name => attempt < CONNECT_ATTEMPTS,
            _ => fault.may_pass(),
        },
    }
}
