//! Which proxy, and for which hosts none.

use cmkit::Error;

use crate::environment::Environment;
use crate::text::host_of;

/// The proxy of https requests, by `HTTPS_PROXY` or else `ALL_PROXY`, and the exceptions of `NO_PROXY`.
#[derive(Default)]
pub(crate) struct Proxies {
    proxy: Option<ureq::Proxy>,
    except: Vec<Exception>,
}

struct Exception {
    /// In lower case; empty for `*`.
    suffix: String,
    port: Option<u16>,
}

impl Proxies {
    /// As the environment says.
    pub(crate) fn from_environment(environment: &Environment) -> Result<Self, Error> {
        let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        let Some(url) = environment.first(&names) else {
            return Ok(Self::default());
        };
        // Going around a proxy that was asked for would surprise; so a bad URL is an error. It may hold a password: it is not repeated.
        let fail = |problem: &str| Error::InvalidArgument {
            problem: format!("the proxy in HTTPS_PROXY or ALL_PROXY {problem}"),
        };
        let proxy = ureq::Proxy::new(url)
            .map_err(|_| fail("is not a URL such as http://proxy.example:3128"))?;
        if !matches!(
            proxy.protocol(),
            ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https
        ) {
            return Err(fail("must be an http or https one"));
        }
        let except = environment
            .first(&["no_proxy", "NO_PROXY"])
            .unwrap_or_default();
        Ok(Self {
            proxy: Some(proxy),
            except: exceptions(except),
        })
    }

    /// The proxy for this host, which may have a port.
    pub(crate) fn for_host(&self, host: &str) -> Option<&ureq::Proxy> {
        let proxy = self.proxy.as_ref()?;
        let (name, port) = split_port(host);
        let name = name.to_ascii_lowercase();
        let port = port.unwrap_or(443);
        let excepted = self
            .except
            .iter()
            .any(|exception| exception.covers(&name, port));
        (!excepted).then_some(proxy)
    }
}

impl Exception {
    fn covers(&self, name: &str, port: u16) -> bool {
        let by_name = self.suffix.is_empty()
            || name
                .strip_suffix(&self.suffix)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        by_name && self.port.is_none_or(|p| p == port)
    }
}

/// `example.com`, `.example.com` and `*.example.com` all mean the host and what is below it, as in curl.
fn exceptions(list: &str) -> Vec<Exception> {
    list.split([',', ' '])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let (name, port) = split_port(host_of(entry));
            let name = name.trim_start_matches('*').trim_start_matches('.');
            Exception {
                suffix: name.to_ascii_lowercase(),
                port,
            }
        })
        .collect()
}

fn split_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (host, None),
        },
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(no_proxy: &str) -> Proxies {
        let environment = Environment::from_pairs([
            ("HTTPS_PROXY", "http://user:secret@proxy.example:3128"),
            ("NO_PROXY", no_proxy),
        ]);
        Proxies::from_environment(&environment).unwrap()
    }

    #[test]
    fn exceptions_are_hosts_and_what_is_below() {
        let proxies = proxies("localhost, .internal.example,one.example:8443,*.two.example");
        for direct in [
            "localhost",
            "LOCALHOST:8443",
            "a.internal.example",
            "one.example:8443",
            "x.two.example",
        ] {
            assert!(proxies.for_host(direct).is_none(), "{direct}");
        }
        for proxied in [
            "v.vault.azure.net",
            "notlocalhost",
            "one.example",
            "xtwo.example",
        ] {
            assert!(proxies.for_host(proxied).is_some(), "{proxied}");
        }
    }

    #[test]
    fn a_star_excepts_all_and_nothing_excepts_none() {
        assert!(proxies("*").for_host("v.vault.azure.net").is_none());
        assert!(proxies("").for_host("v.vault.azure.net").is_some());
        assert!(Proxies::default().for_host("v.vault.azure.net").is_none());
    }

    #[test]
    fn a_bad_proxy_is_an_error_that_keeps_its_password() {
        for url in ["http://user:secret@", "socks5://user:secret@h:1"] {
            let environment = Environment::from_pairs([("ALL_PROXY", url)]);
            let Err(e) = Proxies::from_environment(&environment) else {
                panic!("{url} was taken");
            };
            assert!(!e.to_string().contains("secret"), "{e}");
        }
    }
}
