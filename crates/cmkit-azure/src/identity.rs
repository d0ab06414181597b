//! Who signs in, and how.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cmkit::{Error, ProviderError};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::environment::Environment;
use crate::failure::{identity, invalid};
use crate::http::Net;
use crate::text::printable;
use crate::token::AccessToken;

mod app_service;
mod arc;
mod auto;
mod azure_ml;
mod cli;
mod entra;
mod imds;
mod managed;

use self::managed::ManagedId;

/// What signs in.
pub(crate) trait Credential: Send + Sync {
    /// What it is, for messages: `Azure ML managed identity`.
    fn name(&self) -> String;

    /// The same, with what it was found by: `Azure ML managed identity (MSI_ENDPOINT, MSI_SECRET)`.
    fn describe(&self) -> String {
        self.name()
    }

    fn sign_in(&self, sign_in: &SignIn<'_>) -> Result<AccessToken, ProviderError>;
}

/// What to sign in for.
pub(crate) struct SignIn<'a> {
    pub(crate) net: &'a Net,
    /// Such as `https://vault.azure.net`.
    pub(crate) audience: &'a str,
    /// What a vault demands of the token besides, as JSON.
    pub(crate) claims: Option<&'a str>,
    pub(crate) deadline: Instant,
}

impl SignIn<'_> {
    fn scope(&self) -> String {
        format!("{}/.default", self.audience)
    }

    fn clock(&self) -> &dyn Clock {
        &*self.net.clock
    }
}

/// As whom to sign in: a recipe, which the provider's builder completes with the environment.
///
/// [`auto`](Self::auto) looks at the environment once and takes the first source that it recognises; it never goes on to another one because
/// that one fails, so what it chose is what is used.
pub struct Identity {
    source: Source,
    managed: ManagedId,
    tenant: Option<String>,
    arc_folder: Option<PathBuf>,
}

enum Source {
    Auto,
    AppService,
    Arc,
    AzureMl,
    Workload,
    ClientSecret,
    ClientSecretOf {
        client_id: String,
        secret: Zeroizing<String>,
    },
    Imds,
    Cli,
    Callback(Callback),
}

type Result<T, E = Error> = std::result::Result<T, E>;
type CallbackResult = Result<Token, Box<dyn StdError + Send + Sync>>;

struct Callback {
    name: String,
    function: Box<dyn Fn(&TokenRequest<'_>) -> CallbackResult + Send + Sync>,
}

impl Identity {
    /// The names that [`named`](Self::named) knows.
    pub const NAMES: &'static [&'static str] = &[
        "auto",
        "app-service",
        "arc",
        "azure-ml",
        "workload",
        "client-secret",
        "imds",
        "cli",
    ];

    fn new(source: Source) -> Self {
        Self {
            source,
            managed: ManagedId::default(),
            tenant: None,
            arc_folder: None,
        }
    }

    /// The first of these that the environment has the variables of: App Service and Container Apps, Azure Arc, Azure ML, workload identity, client
    /// secret; else the virtual machine's own endpoint (IMDS). Never the Azure CLI.
    #[must_use]
    pub fn auto() -> Self {
        Self::new(Source::Auto)
    }

    /// The managed identity of App Service, Functions and Container Apps: `IDENTITY_ENDPOINT`, `IDENTITY_HEADER`.
    #[must_use]
    pub fn app_service() -> Self {
        Self::new(Source::AppService)
    }

    /// The managed identity of a machine with Azure Arc: `IDENTITY_ENDPOINT`, `IMDS_ENDPOINT`.
    #[must_use]
    pub fn arc() -> Self {
        Self::new(Source::Arc)
    }

    /// The managed identity of Azure ML compute: `MSI_ENDPOINT`, `MSI_SECRET`, and `DEFAULT_IDENTITY_CLIENT_ID` if no client id is given.
    #[must_use]
    pub fn azure_ml() -> Self {
        Self::new(Source::AzureMl)
    }

    /// Workload identity, as in Kubernetes: `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_CLIENT_ID`, `AZURE_TENANT_ID`.
    #[must_use]
    pub fn workload() -> Self {
        Self::new(Source::Workload)
    }

    /// An application's secret, from `AZURE_CLIENT_SECRET`, `AZURE_CLIENT_ID`, `AZURE_TENANT_ID`.
    #[must_use]
    pub fn client_secret() -> Self {
        Self::new(Source::ClientSecret)
    }

    /// An application's secret that is given here.
    #[must_use]
    pub fn client_secret_of(
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> Self {
        let source = Source::ClientSecretOf {
            client_id: client_id.into(),
            secret: Zeroizing::new(secret.into()),
        };
        Self::new(source).tenant(tenant)
    }

    /// The managed identity of a virtual machine or a scale set.
    #[must_use]
    pub fn imds() -> Self {
        Self::new(Source::Imds)
    }

    /// Whoever is signed in at the Azure CLI, `az`: for a developer's machine.
    #[must_use]
    pub fn cli() -> Self {
        Self::new(Source::Cli)
    }

    /// Tokens that the caller gets, such as from another library. `name` says in messages what that is.
    ///
    /// The function is called from any thread, one call at a time for each audience, and its tokens are cached. What it says when it fails
    /// goes into the error's message, printable ASCII only and at most 300 characters.
    #[must_use]
    pub fn callback(
        name: impl Into<String>,
        function: impl Fn(&TokenRequest<'_>) -> CallbackResult + Send + Sync + 'static,
    ) -> Self {
        Self::new(Source::Callback(Callback {
            name: name.into(),
            function: Box::new(function),
        }))
    }

    /// The identity of this name, as a command line takes it: one of [`NAMES`](Self::NAMES).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "auto" => Self::auto(),
            "app-service" => Self::app_service(),
            "arc" => Self::arc(),
            "azure-ml" | "azureml" => Self::azure_ml(),
            "workload" => Self::workload(),
            "client-secret" => Self::client_secret(),
            "imds" => Self::imds(),
            "cli" => Self::cli(),
            _ => return None,
        })
    }

    /// A user-assigned managed identity, or an application, by its client id.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.managed = ManagedId::Client(id.into());
        self
    }

    /// A user-assigned managed identity by its object id: App Service and virtual machines only.
    #[must_use]
    pub fn object_id(mut self, id: impl Into<String>) -> Self {
        self.managed = ManagedId::Object(id.into());
        self
    }

    /// A user-assigned managed identity by its resource id: App Service and virtual machines only.
    #[must_use]
    pub fn resource_id(mut self, id: impl Into<String>) -> Self {
        self.managed = ManagedId::Resource(id.into());
        self
    }

    /// The tenant to sign in to, for workload identity, client secrets and the Azure CLI.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Where Azure Arc's key files are, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn arc_key_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.arc_folder = Some(folder.into());
        self
    }

    /// The credential, with what the environment has for it.
    pub(crate) fn resolve(self, environment: &Environment) -> Result<Arc<dyn Credential>> {
        let client_id = match &self.managed {
            ManagedId::Client(id) => Some(id.clone()),
            _ => None,
        };
        Ok(match self.source {
            Source::Auto => auto::resolve(self, environment)?,
            Source::AppService => {
                Arc::new(app_service::AppService::new(environment, self.managed)?)
            }
            Source::Arc => Arc::new(arc::Arc::new(environment, &self.managed, self.arc_folder)?),
            Source::AzureMl => Arc::new(azure_ml::AzureMl::new(environment, &self.managed)?),
            Source::Workload => {
                Arc::new(entra::Entra::workload(environment, self.tenant, client_id)?)
            }
            Source::ClientSecret => {
                let secret = required(environment, "client secret", "AZURE_CLIENT_SECRET")?;
                let secret = Zeroizing::new(secret.to_owned());
                Arc::new(entra::Entra::secret(
                    environment,
                    self.tenant,
                    client_id,
                    secret,
                )?)
            }
            Source::ClientSecretOf { client_id, secret } => Arc::new(entra::Entra::secret(
                environment,
                self.tenant,
                Some(client_id),
                secret,
            )?),
            Source::Imds => Arc::new(imds::Imds::new(environment, self.managed)),
            Source::Cli => Arc::new(cli::Cli::new(environment, self.tenant)?),
            Source::Callback(callback) => Arc::new(callback),
        })
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::auto()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::Auto => "auto",
            Source::AppService => "app-service",
            Source::Arc => "arc",
            Source::AzureMl => "azure-ml",
            Source::Workload => "workload",
            Source::ClientSecret | Source::ClientSecretOf { .. } => "client-secret",
            Source::Imds => "imds",
            Source::Cli => "cli",
            Source::Callback(_) => "callback",
        };
        f.debug_tuple("Identity").field(&source).finish()
    }
}

/// A variable that an identity can't do without.
fn required<'a>(environment: &'a Environment, identity: &str, name: &str) -> Result<&'a str> {
    environment.get(name).ok_or_else(|| {
        invalid(format!(
            "the identity `{identity}` needs the environment variable {name}, which is not set"
        ))
    })
}

/// What a callback is asked for.
#[non_exhaustive]
pub struct TokenRequest<'a> {
    /// The audience, such as `https://vault.azure.net`.
    pub resource: &'a str,
    /// The same as an OAuth 2.0 scope: `https://vault.azure.net/.default`.
    pub scope: &'a str,
    /// Further claims that the vault demands, as JSON: then a cached token won't do.
    pub claims: Option<&'a str>,
}

/// An access token that a callback gives. Wiped when dropped; has no `Debug`.
pub struct Token {
    secret: Zeroizing<String>,
    expires: u64,
}

impl Token {
    /// A token that is good until `expires`, in seconds since 1970.
    #[must_use]
    pub fn new(secret: impl Into<String>, expires: u64) -> Self {
        Self {
            secret: Zeroizing::new(secret.into()),
            expires,
        }
    }
}

impl Credential for Callback {
    fn name(&self) -> String {
        format!("callback {}", printable(&self.name, 60))
    }

    fn sign_in(&self, sign_in: &SignIn<'_>) -> Result<AccessToken, ProviderError> {
        let request = TokenRequest {
            resource: sign_in.audience,
            scope: &sign_in.scope(),
            claims: sign_in.claims,
        };
        let name = Credential::name(self);
        let token = (self.function)(&request).map_err(|e| {
            let said = printable(&e.to_string(), 300);
            identity(format!(
                "the {name} gave no token for {}: {said}",
                sign_in.audience
            ))
            .retryable(true)
        })?;
        let now = sign_in.clock().unix();
        let fits = !token.secret.is_empty() && token.secret.bytes().all(|b| b.is_ascii_graphic());
        if !fits || token.expires <= now {
            let problem = if fits {
                "has expired already"
            } else {
                "is not one for a header"
            };
            return Err(identity(format!("the token of the {name} {problem}")));
        }
        Ok(AccessToken::new(token.secret, token.expires, now))
    }
}
