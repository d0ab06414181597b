//! Keyrings over local keys and those of vaults.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use cmkit::{
    AllowEntry, DefaultKeyProvider, Error, ErrorKind, JsonLines, KeyProvider, KeyRef, Keyring,
    KeyringBuilder,
};

use crate::args;
use crate::discreet::{is_discreet, shown};
use crate::failure::{Doing, Failure, Result, say};
use crate::keys::Home;
use crate::vault::{self, Settings};

/// The keys that a command may use, and the file that tells of their use.
pub(crate) struct Keyrings {
    home: Home,
    vault: Settings,
    audit: Option<(PathBuf, Arc<JsonLines<File>>)>,
    /// As whom to sign in, once a vault plays a part.
    identity: OnceLock<String>,
}

impl Keyrings {
    pub(crate) fn new(home: Home, vault: args::Vault, audit: args::Audit) -> Result<Self> {
        let path = audit.audit.or_else(|| vault::path("CMKIT_AUDIT"));
        let audit = match path {
            None => None,
            Some(path) => {
                let lines = JsonLines::append(&path).map_err(|e| Failure::of(&e, Doing::Else))?;
                Some((path, Arc::new(lines)))
            }
        };
        Ok(Self {
            home,
            vault: Settings::new(vault)?,
            audit,
            identity: OnceLock::new(),
        })
    }

    /// To encrypt: `local:default`, and only that, is made when it isn't there.
    pub(crate) fn encrypting(&self, keys: &[KeyRef], workspace: Option<&str>) -> Result<Keyring> {
        let default = default_key()?;
        let keys = if keys.is_empty() {
            std::slice::from_ref(&default)
        } else {
            keys
        };
        let mut builder = self.begin(keys, &[])?;
        if keys.iter().any(|key| key.scheme() == "local") {
            let provider = DefaultKeyProvider::new(self.home.dir()?).on_create(|id, dir| {
                say(&format!(
                    "made the key {id} in {}; back up that directory: what is encrypted can't be read without it",
                    dir.display()
                ));
            });
            builder = builder.provider(Arc::new(provider));
        }
        for key in keys {
            builder = builder.wrap_with(key.clone());
        }
        finish(builder, workspace, Doing::Encrypt)
    }

    /// To open: `local:default`, the given keys and all of the hosts allowed are. `to` is to wrap with.
    pub(crate) fn opening(
        &self,
        keys: &[KeyRef],
        to: Option<&KeyRef>,
        workspace: Option<&str>,
    ) -> Result<Keyring> {
        let mut builder = self.begin(to.map_or(&[], std::slice::from_ref), keys)?;
        let allowed = keys.iter().chain(to);
        match self.home.provider() {
            Ok(provider) => {
                builder = builder
                    .provider(Arc::new(provider))
                    .allow(AllowEntry::Key(default_key()?));
            }
            // A node may have no home directory, and needs none for a vault's keys.
            Err(failure) => {
                let any_local = allowed.clone().any(|key| key.scheme() == "local");
                if any_local || self.identity.get().is_none() {
                    return Err(failure);
                }
            }
        }
        for key in allowed {
            builder = builder.allow(AllowEntry::Key(key.clone()));
        }
        for host in self.vault.allow_hosts() {
            builder = builder.allow(AllowEntry::Host(host.clone()));
        }
        finish(builder, workspace, Doing::Decrypt)
    }

    /// To follow rotations of these keys, or of `local:default`. Nothing is made.
    pub(crate) fn following(&self, keys: &[KeyRef]) -> Result<Keyring> {
        let default = default_key()?;
        let keys = if keys.is_empty() {
            std::slice::from_ref(&default)
        } else {
            keys
        };
        let mut builder = self.begin(keys, &[])?;
        if keys.iter().any(|key| key.scheme() == "local") {
            builder = builder.provider(Arc::new(self.home.provider()?));
        }
        for key in keys {
            builder = builder.wrap_with(key.clone());
        }
        finish(builder, None, Doing::Rewrap)
    }

    /// What all have in common: vaults, audit, discretion.
    fn begin(&self, wrapping: &[KeyRef], opening: &[KeyRef]) -> Result<KeyringBuilder> {
        let mut builder = Keyring::builder();
        if let Some(provider) = self.vault.provider(wrapping, opening)? {
            let _ = self.identity.set(provider.identity());
            builder = builder.provider(Arc::new(provider) as Arc<dyn KeyProvider>);
        }
        if let Some((_, lines)) = &self.audit {
            builder = builder.audit(Arc::clone(lines) as _);
        }
        if is_discreet() {
            builder = builder.high_business_impact();
        }
        Ok(builder)
    }

    /// What went wrong with a keyring of these.
    pub(crate) fn failure(&self, error: &Error, doing: Doing) -> Failure {
        let failure = self.home.failure(error, doing);
        let is_refused = error.kind() == ErrorKind::AccessDenied
            && error.provider().is_some_and(|e| e.http_status.is_some());
        match self.identity.get() {
            Some(identity) if is_refused => failure.and(&format!("signed in as {identity}")),
            _ => failure,
        }
    }
}

impl Drop for Keyrings {
    fn drop(&mut self) {
        if let Some((path, lines)) = &self.audit
            && lines.lost() > 0
        {
            say(&format!(
                "{} lines of the audit file {} could not be written and are lost",
                lines.lost(),
                shown(path)
            ));
        }
    }
}

fn finish(builder: KeyringBuilder, workspace: Option<&str>, doing: Doing) -> Result<Keyring> {
    let builder = match workspace {
        Some(workspace) => builder.workspace(workspace),
        None => builder,
    };
    builder.build().map_err(|e| Failure::of(&e, doing))
}

fn default_key() -> Result<KeyRef> {
    KeyRef::local("default").map_err(|e| Failure::of(&e, Doing::Else))
}
