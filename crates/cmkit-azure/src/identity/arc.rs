//! Machines with Azure Arc: who may read a file of root's may have a token.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cmkit::{Error, ProviderError};
use zeroize::Zeroizing;

use super::managed::{Asking, ManagedId, ask, token_of};
use super::{Credential, SignIn, required};
use crate::environment::Environment;
use crate::failure::{About, identity, invalid};
use crate::http::{Request, Route, retry_passing};
use crate::text::with_query;
use crate::token::AccessToken;

/// Bytes in the longest key file.
const MAX_KEY: u64 = 4096;

const NAME: &str = "Azure Arc managed identity";

pub(super) struct Arc {
    endpoint: String,
    folder: PathBuf,
}

impl Arc {
    pub(super) fn new(
        environment: &Environment,
        id: &ManagedId,
        folder: Option<PathBuf>,
    ) -> Result<Self, Error> {
        if !matches!(id, ManagedId::System) {
            return Err(invalid(
                "a machine with Azure Arc has one identity; the identity `arc` takes no id",
            ));
        }
        required(environment, "arc", "IMDS_ENDPOINT")?;
        Ok(Self {
            endpoint: required(environment, "arc", "IDENTITY_ENDPOINT")?.to_owned(),
            folder: folder.unwrap_or_else(|| usual_folder(environment)),
        })
    }

    /// The secret in the file that the endpoint names: proof that we may read it. Only in the agent's own folder, else the endpoint
    /// could have any file read and sent to it.
    fn secret(&self, challenge: Option<&str>) -> Result<Zeroizing<String>, &'static str> {
        let path = challenge
            .and_then(|text| text.trim().strip_prefix("Basic realm="))
            .map(|path| Path::new(path.trim_matches('"')))
            .ok_or("it named no key file")?;
        let name_fits = path.extension().is_some_and(|extension| extension == "key");
        if path.parent() != Some(&*self.folder) || !name_fits {
            return Err("it named a file that is not one of the agent's key files");
        }
        let open = |path: &Path| -> std::io::Result<(u64, File)> {
            let file = File::open(path)?;
            Ok((file.metadata()?.len(), file))
        };
        let cannot = "its key file can't be read; run as root or as a member of the group himds";
        let (length, file) = open(path).map_err(|_| cannot)?;
        if length > MAX_KEY {
            return Err("its key file is longer than 4096 bytes");
        }
        let mut secret = Zeroizing::new(String::with_capacity(4096));
        file.take(MAX_KEY)
            .read_to_string(&mut secret)
            .map_err(|_| cannot)?;
        Ok(secret)
    }
}

fn usual_folder(environment: &Environment) -> PathBuf {
    if cfg!(windows) {
        let data = environment.get("ProgramData").unwrap_or(r"C:\ProgramData");
        Path::new(data)
            .join("AzureConnectedMachineAgent")
            .join("Tokens")
    } else {
        PathBuf::from("/var/opt/azcmagent/tokens")
    }
}

impl Credential for Arc {
    fn name(&self) -> String {
        NAME.into()
    }

    fn describe(&self) -> String {
        format!("{NAME} (IDENTITY_ENDPOINT, IMDS_ENDPOINT)")
    }

    fn sign_in(&self, sign_in: &SignIn<'_>) -> Result<AccessToken, ProviderError> {
        let query = [
            ("api-version", "2020-06-01"),
            ("resource", sign_in.audience),
        ];
        let url = with_query(&self.endpoint, &query);
        let request = Request::get(Route::Local, url.clone()).header("Metadata", "true");
        let asking = Asking {
            name: NAME,
            again: retry_passing,
            advice: "check that the machine is connected: azcmagent show",
        };
        let (response, wait) = ask(sign_in, &asking, &request)?;
        if response.status != 401 {
            return token_of(sign_in, &asking, &request, &response, &wait);
        }
        let secret = self
            .secret(response.challenge.as_deref())
            .map_err(|problem| {
                identity(format!(
                    "no token for {}: the Azure Arc agent wants proof, and {problem}",
                    sign_in.audience
                ))
                .answered(&response)
            })?;
        let mut proof = Zeroizing::new(String::with_capacity(secret.len() + 6));
        proof.push_str("Basic ");
        proof.push_str(secret.trim());
        let request = Request::get(Route::Local, url)
            .header("Metadata", "true")
            .secret_header("Authorization", proof);
        let (response, wait) = ask(sign_in, &asking, &request)?;
        token_of(sign_in, &asking, &request, &response, &wait)
    }
}
