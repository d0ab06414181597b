//! Microsoft Entra: workload identity and client secrets.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use cmkit::{Error, ProviderError};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::managed::error_code;
use super::{Credential, SignIn, required};
use crate::audience::sign_in_host;
use crate::environment::Environment;
use crate::failure::{About, identity, invalid, sentence};
use crate::http::{Request, Response, Route, retry_passing, send};
use crate::text::{encode_into, host_of};
use crate::token::{AccessToken, parse};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Bytes in the longest federated token.
const MAX_ASSERTION: u64 = 64 * 1024;

pub(super) struct Entra {
    /// `None`: that of the audience's cloud.
    authority: Option<String>,
    tenant: String,
    client_id: String,
    proof: Proof,
}

enum Proof {
    /// Read again each time: it is replaced every hour or so.
    AssertionFile(PathBuf),
    Secret(Zeroizing<String>),
}

impl Entra {
    pub(super) fn workload(
        environment: &Environment,
        tenant: Option<String>,
        client_id: Option<String>,
    ) -> Result<Self, Error> {
        let file = required(environment, "workload", "AZURE_FEDERATED_TOKEN_FILE")?;
        let proof = Proof::AssertionFile(PathBuf::from(file));
        Self::new(environment, "workload", tenant, client_id, proof)
    }

    pub(super) fn secret(
        environment: &Environment,
        tenant: Option<String>,
        client_id: Option<String>,
        secret: Zeroizing<String>,
    ) -> Result<Self, Error> {
        Self::new(
            environment,
            "client-secret",
            tenant,
            client_id,
            Proof::Secret(secret),
        )
    }

    fn new(
        environment: &Environment,
        name: &str,
        tenant: Option<String>,
        client_id: Option<String>,
        proof: Proof,
    ) -> Result<Self, Error> {
        let or_required = |given: Option<String>, variable| match given {
            Some(given) => Ok(given),
            None => required(environment, name, variable).map(str::to_owned),
        };
        let tenant = or_required(tenant, "AZURE_TENANT_ID")?;
        let fits = (1..=253).contains(&tenant.len())
            && tenant
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        if !fits {
            return Err(invalid(
                "the tenant is a UUID or a domain such as contoso.onmicrosoft.com",
            ));
        }
        let authority = match environment.get("AZURE_AUTHORITY_HOST") {
            // Old configurations have the host alone.
            Some(host) if !host.contains("://") => Some(format!("https://{host}")),
            Some(url) if url.starts_with("https://") => Some(url.to_owned()),
            Some(_) => return Err(invalid("AZURE_AUTHORITY_HOST must be an https URL")),
            None => None,
        };
        Ok(Self {
            authority: authority.map(|url| url.trim_end_matches('/').to_owned()),
            tenant,
            client_id: or_required(client_id, "AZURE_CLIENT_ID")?,
            proof,
        })
    }

    fn kind(&self) -> &'static str {
        match self.proof {
            Proof::AssertionFile(_) => "workload identity",
            Proof::Secret(_) => "client secret",
        }
    }

    fn form(&self, sign_in: &SignIn<'_>) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let scope = sign_in.scope();
        let mut pairs = vec![
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("scope", &scope),
        ];
        let assertion;
        match &self.proof {
            Proof::Secret(secret) => pairs.push(("client_secret", secret)),
            Proof::AssertionFile(path) => {
                assertion = read_assertion(path).map_err(|problem| {
                    identity(format!(
                        "no token for {}: the federated token {} can't be read: {problem}",
                        sign_in.audience,
                        path.display()
                    ))
                    .retryable(true)
                })?;
                pairs.push(("client_assertion_type", ASSERTION_TYPE));
                pairs.push(("client_assertion", assertion.trim()));
            }
        }
        if let Some(claims) = sign_in.claims {
            pairs.push(("claims", claims));
        }
        // Room for every byte encoded: it must not grow, since growing leaves a copy behind.
        let room = pairs
            .iter()
            .map(|(name, value)| name.len() + 3 * value.len() + 2)
            .sum();
        let mut form = Zeroizing::new(String::with_capacity(room));
        for (name, value) in pairs {
            if !form.is_empty() {
                form.push('&');
            }
            form.push_str(name);
            form.push('=');
            encode_into(&mut form, value);
        }
        Ok(Zeroizing::new(std::mem::take(&mut *form).into_bytes()))
    }
}

fn read_assertion(path: &PathBuf) -> Result<Zeroizing<String>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    if length > MAX_ASSERTION {
        return Err("it is longer than 64 KiB".into());
    }
    let room = usize::try_from(length).unwrap_or_default() + 1;
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(MAX_ASSERTION)
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    Ok(text)
}

impl Credential for Entra {
    fn name(&self) -> String {
        format!("{} of application {}", self.kind(), self.client_id)
    }

    fn sign_in(&self, sign_in: &SignIn<'_>) -> Result<AccessToken, ProviderError> {
        let authority = self
            .authority
            .as_deref()
            .unwrap_or_else(|| sign_in_host(sign_in.audience));
        let url = format!("{authority}/{}/oauth2/v2.0/token", self.tenant);
        let host = host_of(&url).to_owned();
        let request = Request::get(Route::Remote, url)
            .post("application/x-www-form-urlencoded", self.form(sign_in)?);
        let sent = send(
            sign_in.net,
            &request,
            retry_passing,
            sign_in.deadline,
            || {},
        );
        let response = sent.result.map_err(|fault| {
            let problem = sentence(&fault, &host);
            identity(format!("no token for {}: {problem}", sign_in.audience))
                .retryable(fault.may_pass())
        })?;
        if response.status != 200 {
            return Err(self
                .refusal(sign_in, &host, &response)
                .after(sent.retry_after));
        }
        parse(&response.body, sign_in.clock().unix()).map_err(|problem| {
            identity(format!(
                "no token for {}: the answer of {host} can't be used: {problem}",
                sign_in.audience
            ))
            .retryable(true)
            .answered(&response)
        })
    }
}

impl Entra {
    fn refusal(&self, sign_in: &SignIn<'_>, host: &str, response: &Response) -> ProviderError {
        let passing = matches!(response.status, 408 | 429 | 500..=599);
        let code = sts_code(&response.body).or_else(|| error_code(&response.body));
        let advice = match (passing, &self.proof) {
            (true, _) => "the sign-in service is busy",
            (false, Proof::Secret(_)) => {
                "check the tenant, the client id, and whether the secret has expired"
            }
            (false, Proof::AssertionFile(_)) => {
                "check the tenant, the client id, and the federated credential's issuer and subject"
            }
        };
        let mut error = identity(format!(
            "no token for {}: {host} refused the {} in tenant {}; {advice}",
            sign_in.audience,
            self.name(),
            self.tenant
        ))
        .retryable(passing)
        .answered(response);
        error.code = code;
        error
    }
}

/// Entra's own number for an error, as people look it up: `AADSTS7000215`.
fn sts_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error_codes: Vec<u64>,
    }
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    refusal
        .error_codes
        .first()
        .map(|code| format!("AADSTS{code}"))
}
