//! For which host a token is asked, and of whom: a fixed table, never a server's word.

/// Host suffixes, the audience of tokens for them, and the sign-in host of that cloud.
const TABLE: &[(&str, &str, &str)] = &[
    ("vault.azure.net", "https://vault.azure.net", PUBLIC),
    (
        "managedhsm.azure.net",
        "https://managedhsm.azure.net",
        PUBLIC,
    ),
    ("vault.azure.cn", "https://vault.azure.cn", CHINA),
    ("managedhsm.azure.cn", "https://managedhsm.azure.cn", CHINA),
    (
        "vault.usgovcloudapi.net",
        "https://vault.usgovcloudapi.net",
        GOVERNMENT,
    ),
    (
        "managedhsm.usgovcloudapi.net",
        "https://managedhsm.usgovcloudapi.net",
        GOVERNMENT,
    ),
];

const PUBLIC: &str = "https://login.microsoftonline.com";
const CHINA: &str = "https://login.chinacloudapi.cn";
const GOVERNMENT: &str = "https://login.microsoftonline.us";

/// The audiences of this provider: the table, and what a private cloud adds.
#[derive(Clone, Default)]
pub(crate) struct Audiences {
    added: Vec<(String, String)>,
}

impl Audiences {
    /// Vaults below `suffix`, or on exactly that host, take tokens for `audience`.
    pub(crate) fn add(&mut self, suffix: String, audience: String) {
        self.added.push((suffix, audience));
    }

    /// The audience of tokens for this host, which may have a port.
    pub(crate) fn of_host(&self, host: &str) -> Option<&str> {
        let host = host.split(':').next().unwrap_or_default();
        let added = self
            .added
            .iter()
            .find(|(suffix, _)| is_below(host, suffix) || host == suffix);
        if let Some((_, audience)) = added {
            return Some(audience);
        }
        let known = TABLE.iter().find(|(suffix, _, _)| is_below(host, suffix));
        known.map(|(_, audience, _)| *audience)
    }
}

/// Where one signs in for tokens for this audience, unless the environment or the caller says otherwise.
pub(crate) fn sign_in_host(audience: &str) -> &'static str {
    let row = TABLE.iter().find(|(_, known, _)| *known == audience);
    row.map_or(PUBLIC, |(_, _, host)| host)
}

fn is_below(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix)
        .and_then(|rest| rest.strip_suffix('.'))
        .is_some_and(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_below_a_known_suffix() {
        let audiences = Audiences::default();
        assert_eq!(
            audiences.of_host("v.vault.azure.net"),
            Some("https://vault.azure.net")
        );
        assert_eq!(
            audiences.of_host("h.managedhsm.azure.net:443"),
            Some("https://managedhsm.azure.net")
        );
        for host in [
            "vault.azure.net",
            "vvault.azure.net",
            "v.vault.azure.net.example",
            "localhost",
        ] {
            assert_eq!(audiences.of_host(host), None, "{host}");
        }
    }

    #[test]
    fn private_clouds_come_first() {
        let mut audiences = Audiences::default();
        audiences.add("localhost".into(), "https://vault.local".into());
        audiences.add("eu.vault.azure.net".into(), "https://own".into());
        assert_eq!(
            audiences.of_host("localhost:8443"),
            Some("https://vault.local")
        );
        assert_eq!(
            audiences.of_host("v.eu.vault.azure.net"),
            Some("https://own")
        );
    }

    #[test]
    fn each_cloud_has_its_sign_in_host() {
        assert_eq!(sign_in_host("https://managedhsm.azure.cn"), CHINA);
        assert_eq!(sign_in_host("https://own"), PUBLIC);
    }
}
