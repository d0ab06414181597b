//! The one place that reads the environment.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

/// Every variable that this crate looks at. `SSL_CERT_FILE` and `SSL_CERT_DIR` are read by the crate that finds the system's roots.
const NAMES: &[&str] = &[
    "ALL_PROXY",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_TENANT_ID",
    "DEFAULT_IDENTITY_CLIENT_ID",
    "HTTPS_PROXY",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "NO_PROXY",
    "PATH",
    "ProgramData",
    "all_proxy",
    "https_proxy",
    "no_proxy",
];

/// The environment variables that identities and proxies are found by, as they were at one moment.
///
/// Some hold secrets: it wipes its values when dropped, and its `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, Zeroizing<String>>);

impl Environment {
    /// Those of this process, as they are now.
    #[must_use]
    pub fn capture() -> Self {
        let value = |name: &&str| {
            Some((
                (*name).to_owned(),
                Zeroizing::new(std::env::var(name).ok()?),
            ))
        };
        Self(NAMES.iter().filter_map(value).collect())
    }

    /// These and no others.
    #[must_use]
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let pair = |(name, value): (N, V)| (name.into(), Zeroizing::new(value.into()));
        Self(pairs.into_iter().map(pair).collect())
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|value| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The first of these that is set.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    pub(crate) fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.get(name).is_some())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
