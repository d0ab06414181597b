//! Setting up a provider.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cmkit::{KeyRef, Result};

use crate::audience::Audiences;
use crate::bind::Bindings;
use crate::clock::SystemClock;
use crate::environment::Environment;
use crate::failure::invalid;
use crate::http::{Agents, Net, Proxies, check_ca_file};
use crate::identity::Identity;
use crate::policy::Rules;
use crate::process::PerProcess;
use crate::provider::KeyVaultProvider;
use crate::rest::Rest;
use crate::token::Tokens;

/// For one call to the vault with its retries, unless the caller gives less.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a [`KeyVaultProvider`] is made of. It needs at least one key or host; nothing is contacted before the first operation.
#[derive(Default)]
pub struct KeyVaultBuilder {
    keys: Vec<KeyRef>,
    hosts: Vec<String>,
    identity: Identity,
    ca_file: Option<PathBuf>,
    rules: Rules,
    no_get: bool,
    audiences: Vec<(String, String)>,
    timeout: Option<Duration>,
    environment: Option<Environment>,
}

impl KeyVaultBuilder {
    /// A key to use, with or without a version: `https://VAULT.vault.azure.net/keys/NAME`. Its host is thereby allowed. May be given several times.
    #[must_use]
    pub fn key(mut self, key: impl Into<KeyRef>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// A further host that may be talked to, exactly as in key ids: `contoso.vault.azure.net`. Other keys in that vault are opened, too, if the
    /// keyring allows them.
    #[must_use]
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// As whom to sign in. By default [`Identity::auto`].
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// A PEM file of at most 4 MiB with roots to trust besides the system's: those of an inspecting proxy, or of an emulator. A self-signed certificate of a server
    /// may stand in it, too, if it isn't marked as a CA's: TLS takes a CA's certificate for no server.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Takes RSA keys of 2048 bits, too. By default 3072 are the least.
    #[must_use]
    pub fn allow_rsa_2048(mut self) -> Self {
        self.rules.rsa_2048 = true;
        self
    }

    /// Never asks for the key itself, for key owners who don't grant `get`. Then keys are named with their version, rotations aren't noticed, and of the rules
    /// only that the key wraps and unwraps is checked: a report says the others are unverified.
    #[must_use]
    pub fn no_get(mut self) -> Self {
        self.no_get = true;
        self
    }

    /// For a private cloud or an emulator: hosts below `suffix`, or exactly that one, take tokens for `audience`, such as `https://vault.azure.net`.
    #[must_use]
    pub fn audience(mut self, suffix: impl Into<String>, audience: impl Into<String>) -> Self {
        self.audiences.push((suffix.into(), audience.into()));
        self
    }

    /// How long one call to the vault may take with all its retries; 1 s to 10 min, by default 30 s. Signing in comes on top: up to 90 s the first time. A caller's
    /// own deadline ends both.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Where to look for identities and proxies. By default the process's environment at the time of [`build`](Self::build).
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// The provider.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): neither a key nor a host is given; a host is not that of a vault that is known; the CA file can't be read; the timeout is
    ///   out of range; the identity lacks something in the environment; the proxy's URL is bad.
    pub fn build(mut self) -> Result<KeyVaultProvider> {
        let environment = self.environment.take().unwrap_or_else(Environment::capture);
        if let Some(path) = &self.ca_file {
            check_ca_file(path).map_err(invalid)?;
        }
        let net = Net {
            carrier: Arc::new(Agents::new(
                Proxies::from_environment(&environment)?,
                self.ca_file.clone(),
            )),
            clock: Arc::new(SystemClock),
        };
        self.build_on(net, &environment)
    }

    /// The same over another network.
    pub(crate) fn build_on(self, net: Net, environment: &Environment) -> Result<KeyVaultProvider> {
        let mut audiences = Audiences::default();
        for (suffix, audience) in self.audiences {
            let fits =
                audience.starts_with("https://") && audience.bytes().all(|b| b.is_ascii_graphic());
            if !fits {
                return Err(invalid("an audience looks like https://vault.azure.net"));
            }
            let suffix = suffix.trim_start_matches('.').to_ascii_lowercase();
            audiences.add(suffix, audience.trim_end_matches('/').to_owned());
        }
        let mut hosts = Vec::new();
        for key in &self.keys {
            let host = key.host().ok_or_else(|| {
                invalid(format!(
                    "key {key} is not in a vault; those are written https://VAULT.vault.azure.net/keys/NAME"
                ))
            })?;
            if self.no_get && key.version().is_none() {
                return Err(invalid(format!(
                    "key {key}: without the permission get its newest version can't be found; name it with its version"
                )));
            }
            hosts.push(host.to_owned());
        }
        for host in self.hosts {
            // The grammar of key ids is that of hosts.
            let key = KeyRef::parse(&format!("https://{host}/keys/x"));
            let fits = key.is_ok_and(|key| key.host() == Some(&*host));
            fits.then_some(()).ok_or_else(|| {
                invalid("an allowed host is written as in key ids: contoso.vault.azure.net")
            })?;
            hosts.push(host);
        }
        if hosts.is_empty() {
            return Err(invalid(
                "a Key Vault provider needs a key, or a host that it may talk to",
            ));
        }
        for host in &hosts {
            audiences.of_host(host).ok_or_else(|| {
                invalid(format!(
                    "{host} is not a host of Key Vault or Managed HSM; for a private cloud, say which audience its tokens are for"
                ))
            })?;
        }
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&timeout) {
            return Err(invalid("the timeout is 1 s to 10 min"));
        }
        let rest = Rest {
            net,
            credential: self.identity.resolve(environment)?,
            audiences,
            hosts,
            tokens: PerProcess::new(Tokens::new()),
        };
        Ok(KeyVaultProvider::new(
            rest,
            Bindings::new(self.rules, self.no_get),
            timeout,
        ))
    }
}
