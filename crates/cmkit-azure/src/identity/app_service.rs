//! App Service, Functions and Container Apps.

use cmkit::{Error, ProviderError};
use zeroize::Zeroizing;

use super::managed::{Asking, ManagedId, token};
use super::{Credential, SignIn, required};
use crate::environment::Environment;
use crate::http::{Request, Route, retry_passing};
use crate::text::with_query;
use crate::token::AccessToken;

const NAME: &str = "App Service managed identity";

pub(super) struct AppService {
    endpoint: String,
    header: Zeroizing<String>,
    id: ManagedId,
}

impl AppService {
    pub(super) fn new(environment: &Environment, id: ManagedId) -> Result<Self, Error> {
        Ok(Self {
            endpoint: required(environment, "app-service", "IDENTITY_ENDPOINT")?.to_owned(),
            header: Zeroizing::new(
                required(environment, "app-service", "IDENTITY_HEADER")?.to_owned(),
            ),
            id,
        })
    }
}

impl Credential for AppService {
    fn name(&self) -> String {
        NAME.into()
    }

    fn describe(&self) -> String {
        format!("{NAME} (IDENTITY_ENDPOINT, IDENTITY_HEADER)")
    }

    fn sign_in(&self, sign_in: &SignIn<'_>) -> Result<AccessToken, ProviderError> {
        let mut query = vec![
            ("api-version", "2019-08-01"),
            ("resource", sign_in.audience),
        ];
        match &self.id {
            ManagedId::System => {}
            ManagedId::Client(id) => query.push(("client_id", id)),
            ManagedId::Object(id) => query.push(("object_id", id)),
            ManagedId::Resource(id) => query.push(("mi_res_id", id)),
        }
        let request = Request::get(Route::Local, with_query(&self.endpoint, &query))
            .header("X-IDENTITY-HEADER", self.header.as_str());
        let asking = Asking {
            name: NAME,
            again: retry_passing,
            advice: "give the app a managed identity, and check the id if one was named",
        };
        token(sign_in, &asking, &request)
    }
}
