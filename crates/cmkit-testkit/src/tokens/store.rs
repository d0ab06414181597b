//! Tokens that were given out, and what they are good for.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::random;
use crate::vault::encoding;

/// How an identity endpoint writes `expires_on`, where the endpoint's own way isn't wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// `1560999478`
    Integer,
    /// `"1560999478"`
    String,
    /// `"06/20/2019 02:57:58 +00:00"`
    Date,
    /// `"6/20/2019 2:57:58 AM +00:00"`
    DateAmPm,
}

/// What a token says.
pub(crate) struct Grant {
    pub(crate) audience: String,
    pub(crate) expires_on: i64,
    /// What the client had to put in to satisfy a claims challenge.
    pub(crate) claims: Value,
    /// How many claims challenges had been ordered when it was made.
    pub(crate) era: u64,
}

pub(crate) struct Tokens {
    given: HashMap<String, Grant>,
    pub(crate) lifetime: i64,
    pub(crate) expires_on: Option<TimeFormat>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            given: HashMap::new(),
            lifetime: 86_400,
            expires_on: None,
        }
    }
}

impl Tokens {
    /// A new token, in the form of a signed JWT whose signature means nothing.
    pub(crate) fn issue(&mut self, tenant: &str, client: &str, now: i64, grant: Grant) -> String {
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": "fake"});
        let claims = json!({
            "aud": grant.audience, "iss": format!("https://sts.windows.net/{tenant}/"),
            "iat": now, "nbf": now, "exp": grant.expires_on, "appid": client, "tid": tenant,
        });
        let token = format!(
            "{}.{}.{}",
            encoding::encode(header.to_string().as_bytes()),
            encoding::encode(claims.to_string().as_bytes()),
            encoding::encode(&random::bytes(32))
        );
        self.given.insert(token.clone(), grant);
        token
    }

    pub(crate) fn find(&self, token: &str) -> Option<&Grant> {
        self.given.get(token)
    }

    pub(crate) fn revoke_all(&mut self) {
        self.given.clear();
    }
}

/// The audience that a resource or a scope stands for, if there is one in this world.
pub(crate) fn audience(resource: &str) -> Option<&'static str> {
    let wanted = resource.strip_suffix("/.default").unwrap_or(resource);
    let wanted = wanted.trim_end_matches('/');
    AUDIENCES
        .iter()
        .map(|(_, audience)| *audience)
        .find(|known| *known == wanted)
}

/// The audience that a vault or HSM demands. Hosts that aren't Azure's are like the public vaults.
pub(crate) fn audience_of_host(host: &str) -> &'static str {
    AUDIENCES
        .iter()
        .find(|(suffix, _)| host.ends_with(suffix))
        .map_or(AUDIENCES[0].1, |(_, audience)| *audience)
}

pub(crate) const AUDIENCES: &[(&str, &str)] = &[
    (".vault.azure.net", "https://vault.azure.net"),
    (".managedhsm.azure.net", "https://managedhsm.azure.net"),
    (".vault.azure.cn", "https://vault.azure.cn"),
    (".managedhsm.azure.cn", "https://managedhsm.azure.cn"),
    (
        ".vault.usgovcloudapi.net",
        "https://vault.usgovcloudapi.net",
    ),
    (
        ".managedhsm.usgovcloudapi.net",
        "https://managedhsm.usgovcloudapi.net",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audiences() {
        let vault = Some("https://vault.azure.net");
        assert_eq!(audience("https://vault.azure.net"), vault);
        assert_eq!(audience("https://vault.azure.net/"), vault);
        assert_eq!(audience("https://vault.azure.net/.default"), vault);
        assert_eq!(audience("https://vault.azure.net.example"), None);
        assert_eq!(audience("vault.azure.net"), None);
        let hsm = audience_of_host("h.managedhsm.azure.net");
        assert_eq!(hsm, "https://managedhsm.azure.net");
    }
}
