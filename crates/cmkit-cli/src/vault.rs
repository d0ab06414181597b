//! Keys in a vault: how the options and the environment say to reach them.

use std::ffi::OsString;
use std::path::PathBuf;

use cmkit::KeyRef;
use cmkit_azure::{Environment, Identity, KeyVaultProvider};

use crate::args;
use crate::failure::{Doing, Failure, Result};

/// The options, completed by the environment.
pub(crate) struct Settings {
    identity: String,
    client_id: Option<String>,
    ca_file: Option<PathBuf>,
    allow_hosts: Vec<String>,
    allow_rsa_2048: bool,
    no_get: bool,
}

impl Settings {
    /// What is given on the command line wins over the environment.
    pub(crate) fn new(args: args::Vault) -> Result<Self> {
        let identity = match args.identity {
            Some(name) => name,
            None => identity_of_environment()?,
        };
        let allow_hosts = if args.allow_host.is_empty() {
            let list = text("CMKIT_ALLOW_HOSTS")?.unwrap_or_default();
            let hosts = list.split(',').map(str::trim).filter(|h| !h.is_empty());
            hosts.map(str::to_owned).collect()
        } else {
            args.allow_host
        };
        let client_id = match args.client_id {
            Some(id) => Some(id),
            None => text("CMKIT_CLIENT_ID")?,
        };
        Ok(Self {
            identity,
            client_id,
            ca_file: args.ca_file.or_else(|| path("CMKIT_CA_FILE")),
            allow_hosts,
            allow_rsa_2048: args.allow_rsa_2048 || switch("CMKIT_ALLOW_RSA_2048")?,
            no_get: args.no_get || switch("CMKIT_NO_GET")?,
        })
    }

    /// Whose keys may all be opened.
    pub(crate) fn allow_hosts(&self) -> &[String] {
        &self.allow_hosts
    }

    /// To wrap with some keys and to open what others wrapped; `None` where no vault plays a part.
    pub(crate) fn provider(
        &self,
        wrapping: &[KeyRef],
        opening: &[KeyRef],
    ) -> Result<Option<KeyVaultProvider>> {
        let mut builder = KeyVaultProvider::builder();
        let mut any = false;
        for key in wrapping.iter().filter(|key| key.host().is_some()) {
            builder = builder.key(key.clone());
            any = true;
        }
        // Opening asks for the version that an envelope names, so that these needn't have one.
        let hosts = opening.iter().filter_map(|key| key.host());
        for host in hosts.chain(self.allow_hosts.iter().map(String::as_str)) {
            builder = builder.allow_host(host);
            any = true;
        }
        if !any {
            return Ok(None);
        }
        // Every name is one of `Identity::NAMES`.
        let mut identity = Identity::named(&self.identity).unwrap_or_default();
        if let Some(id) = &self.client_id {
            identity = identity.client_id(id);
        }
        builder = builder.identity(identity);
        if let Some(path) = &self.ca_file {
            builder = builder.ca_file(path);
        }
        if self.allow_rsa_2048 {
            builder = builder.allow_rsa_2048();
        }
        if self.no_get {
            builder = builder.no_get();
        }
        let provider = builder.build();
        provider.map(Some).map_err(|e| Failure::of(&e, Doing::Else))
    }
}

/// Whether a key could be reached if it were allowed. No network is.
pub(crate) fn is_reachable(key: &KeyRef) -> bool {
    let Some(host) = key.host() else {
        return key.scheme() == "local";
    };
    let nowhere = Environment::default();
    let builder = KeyVaultProvider::builder().allow_host(host);
    builder.environment(nowhere).build().is_ok()
}

fn identity_of_environment() -> Result<String> {
    const NAME: &str = "CMKIT_IDENTITY";
    let Some(given) = text(NAME)? else {
        return Ok("auto".to_owned());
    };
    let name = args::azure_ml_or(&given);
    if Identity::NAMES.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(Failure::usage(format!(
        "{NAME} is {given:?}; it can be {}",
        Identity::NAMES.join(", ")
    )))
}

/// A variable that is set and not empty.
fn value(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

pub(crate) fn path(name: &str) -> Option<PathBuf> {
    value(name).map(PathBuf::from)
}

fn text(name: &str) -> Result<Option<String>> {
    let text = value(name).map(OsString::into_string).transpose();
    text.map_err(|_| Failure::usage(format!("{name} is not UTF-8")))
}

/// A variable that turns something on.
pub(crate) fn switch(name: &str) -> Result<bool> {
    let Some(text) = text(name)? else {
        return Ok(false);
    };
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Failure::usage(format!("{name} can be 1 or 0"))),
    }
}
