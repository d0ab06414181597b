//! How keys in a vault are reached: the same options on every command that needs them.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use cmkit_azure::Identity;

/// Given to each option: as the struct's it would go on to what follows it elsewhere.
const HEADING: &str = "Azure Key Vault and Managed HSM";

#[derive(Args)]
pub(crate) struct Vault {
    /// As whom to sign in: auto takes what the environment suggests, never the Azure CLI [env: CMKIT_IDENTITY] [default: auto]
    #[arg(long, help_heading = HEADING, value_name = "IDENTITY", value_parser = parse_identity())]
    pub(crate) identity: Option<String>,
    /// Client id of a user-assigned managed identity, or of an application [env: CMKIT_CLIENT_ID]
    #[arg(long, help_heading = HEADING, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// PEM file with further roots to trust, such as an inspecting proxy's [env: CMKIT_CA_FILE]
    #[arg(long, help_heading = HEADING, value_name = "PEM", value_hint = ValueHint::FilePath)]
    pub(crate) ca_file: Option<PathBuf>,
    /// Open what any key of this vault wrapped: VAULT.vault.azure.net (repeatable) [env: CMKIT_ALLOW_HOSTS, separated by commas]
    #[arg(long, help_heading = HEADING, value_name = "HOST")]
    pub(crate) allow_host: Vec<String>,
    /// Take RSA keys of 2048 bits too; 3072 are the least otherwise [env: CMKIT_ALLOW_RSA_2048]
    #[arg(long, help_heading = HEADING)]
    pub(crate) allow_rsa_2048: bool,
    /// Don't look at the key itself, for owners who don't grant get: name keys with their version, and nothing about key and vault is verified [env: CMKIT_NO_GET]
    #[arg(long, help_heading = HEADING)]
    pub(crate) no_get: bool,
}

#[derive(Args)]
pub(crate) struct Audit {
    /// Append a line of JSON to this file for each call to a key provider [env: CMKIT_AUDIT]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) audit: Option<PathBuf>,
}

fn parse_identity() -> impl TypedValueParser<Value = String> {
    let names = Identity::NAMES.iter().map(|name| match *name {
        "azure-ml" => PossibleValue::new("azure-ml").alias("azureml"),
        name => PossibleValue::new(name),
    });
    PossibleValuesParser::new(names).map(|name| azure_ml_or(&name).to_owned())
}

/// The one identity that has two spellings.
pub(crate) fn azure_ml_or(name: &str) -> &str {
    match name {
        "azureml" => "azure-ml",
        name => name,
    }
}
