//! The grammar of the command line.

#[cfg(target_os = "linux")]
mod scratch;
mod trees;
mod vault;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use cmkit::{KeyId, KeyRef, KeyType};

#[cfg(target_os = "linux")]
pub(crate) use self::scratch::{
    Disk, Job, LockMemory, Mode, Scratch, ScratchBench, ScratchCreate, ScratchEnd, ScratchMount,
    ScratchOpen, ScratchRecover, ScratchRun, ScratchServe, ScratchStatus, State,
};
pub(crate) use self::trees::{Census, Doctor, Rotate};
pub(crate) use self::vault::{Audit, Vault, azure_ml_or};

const AFTER_HELP: &str = "\
Exit codes: 0 done; 2 wrong usage; 3 not authentic or damaged; 4 key missing, disabled, denied or not allowed; \
5 key provider out of reach; 130 interrupted; 1 anything else.";

/// Encrypts files and pipes under keys of your own: each gets a data key, which a key from your key directory or from Azure Key Vault wraps.
#[derive(Parser)]
#[command(name = "cmkit", version, arg_required_else_help = true, after_help = AFTER_HELP)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Key directory [default: $CMKIT_HOME, else cmkit in $XDG_DATA_HOME, else ~/.local/share/cmkit]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) home: Option<PathBuf>,
    /// No names of files and workspaces in messages and the audit file, only counts on standard output [env: CMKIT_HIGH_BUSINESS_IMPACT]
    #[arg(long, global = true)]
    pub(crate) high_business_impact: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Encrypt a file or a pipe
    ///
    /// Without --key it is encrypted under the key local:default, which is made when it is first needed.
    Encrypt(Encrypt),
    /// Decrypt a file or a pipe
    ///
    /// Nothing appears in OUT unless all of it is authentic. On a pipe, each chunk is authentic when it is written, but only the exit code says whether the end
    /// was there: don't use what came before an exit code 3.
    Decrypt(Decrypt),
    /// Say what can be said about an envelope without a key
    Inspect(Inspect),
    /// Wrap the data keys of files with another key; the data stays as it is
    ///
    /// The key that unwrapped the data key is replaced; other recipients stay. A rewrap revokes nothing: a copy of the old header works for as long as the
    /// old key version does.
    Rewrap(Rewrap),
    /// Bring files, directories and key stores to the newest versions of their keys
    ///
    /// After a key got a new version. Each data key is wrapped by that too, and the wrap by the old version is kept for --keep-old: so run it again when
    /// that time has passed. It may be stopped at any moment and run again. Files that aren't envelopes are passed over.
    Rotate(Rotate),
    /// Count which key versions files, directories and key stores still need
    ///
    /// Takes no key and no network, and nothing that it reads is authenticated.
    Census(Census),
    /// Try whether keys can be used, and say what to do where they can't
    ///
    /// Signs in, looks at the key and its vault, and wraps and unwraps some bytes. Nothing is changed. The exit code is 1 if something isn't all right.
    Doctor(Doctor),
    /// Make, list, rotate, disable, export and delete local keys
    Key {
        #[command(subcommand)]
        command: Key,
    },
    /// Encrypted disks for jobs: made in an instant, unreadable in an instant when the job ends
    ///
    /// The data key is in this process's memory, and only there unless --key is given: when the process ends, however it does, nobody can read the disk any more.
    #[cfg(target_os = "linux")]
    Scratch {
        #[command(subcommand)]
        command: Box<Scratch>,
    },
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages
    #[command(hide = true)]
    Man {
        /// Directory for a page a command; without it the main page is printed
        #[arg(value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct Common {
    /// Encryption context: must be given again, the same, to decrypt (repeatable)
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub(crate) context: Vec<(String, String)>,
    /// Workspace that the envelope belongs to
    #[arg(long, value_name = "W")]
    pub(crate) workspace: Option<String>,
    /// Replace an existing output file
    #[arg(long)]
    pub(crate) force: bool,
    /// No progress bar
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Args)]
pub(crate) struct Encrypt {
    /// Key to encrypt under, local:NAME[/VERSION] or https://VAULT.vault.azure.net/keys/NAME[/VERSION]; several: each of them can decrypt [default: local:default]
    #[arg(long, value_name = "ID", value_parser = parse_key)]
    pub(crate) key: Vec<KeyRef>,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) vault: Vault,
    #[command(flatten)]
    pub(crate) audit: Audit,
    /// Output file, "-" for standard output [default: IN.cmk]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Input file, "-" for standard input [default: -]
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Decrypt {
    /// Also allow this key, local:NAME or https://VAULT.vault.azure.net/keys/NAME, in any version (repeatable); local:default is allowed anyway
    #[arg(long, value_name = "ID", value_parser = parse_key)]
    pub(crate) key: Vec<KeyRef>,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) vault: Vault,
    #[command(flatten)]
    pub(crate) audit: Audit,
    /// Output file, "-" for standard output [default: IN without .cmk]
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Input file, "-" for standard input [default: -]
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Envelope, "-" for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Rewrap {
    /// Key to wrap with from now on, local:NAME[/VERSION] or https://VAULT.vault.azure.net/keys/NAME[/VERSION]
    #[arg(long, value_name = "ID", value_parser = parse_key)]
    pub(crate) to: KeyRef,
    /// Also allow this key to unwrap (repeatable); local:default and the one of --to are allowed anyway
    #[arg(long, value_name = "ID", value_parser = parse_key)]
    pub(crate) key: Vec<KeyRef>,
    /// Drop every other recipient
    #[arg(long)]
    pub(crate) only: bool,
    /// Let data move from a vault's key to one that isn't in that vault
    #[arg(long)]
    pub(crate) allow_other_vault: bool,
    /// No line for each file done
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) vault: Vault,
    #[command(flatten)]
    pub(crate) audit: Audit,
    /// Envelopes
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Key {
    /// Make a new key
    Create {
        /// Name of the key: 1 to 127 letters, digits or hyphens
        #[arg(value_parser = parse_name)]
        name: String,
        /// Type of the key: oct, rsa-3072 or rsa-4096
        #[arg(long = "type", value_name = "TYPE", default_value = "oct", value_parser = parse_type())]
        key_type: KeyType,
    },
    /// List all versions of all keys
    List,
    /// Show the versions of a key, or one of them
    Show {
        /// NAME[/VERSION], with or without local:
        #[arg(value_parser = parse_local)]
        id: KeyRef,
    },
    /// Make a new version of a key; encryption uses it from now on, old versions still decrypt
    Rotate {
        /// Name of the key
        #[arg(value_parser = parse_name)]
        name: String,
    },
    /// Take a key version out of use until it is enabled again
    Disable {
        /// NAME/VERSION, with or without local:
        #[arg(value_parser = parse_version)]
        id: KeyId,
    },
    /// Put a disabled key version back into use
    Enable {
        /// NAME/VERSION, with or without local:
        #[arg(value_parser = parse_version)]
        id: KeyId,
    },
    /// Bring in a key from a JWK, or an RSA key from PEM; a public key alone only encrypts
    Import {
        /// NAME[/VERSION], with or without local:; a version where the file doesn't say it
        #[arg(value_name = "NAME", value_parser = parse_local)]
        name: KeyRef,
        /// File with a JWK (as exported), a PKCS#8 private key or a public key in PEM; "-" for standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Write a key as a JWK, secret parts included, or its public half as PEM
    Export {
        /// Only the public half of an RSA key
        #[arg(long)]
        public: bool,
        /// As what to write a public half: pem, or jwk, which says which version it is
        #[arg(
            long,
            requires = "public",
            value_enum,
            default_value_t,
            value_name = "FORMAT"
        )]
        format: PublicFormat,
        /// Output file, mode 0600; "-" for standard output, which must not be a terminal for a secret [default: -]
        #[arg(short, long, value_name = "OUT", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
        /// Replace an existing output file
        #[arg(long)]
        force: bool,
        /// NAME[/VERSION], with or without local:; without a version the newest
        #[arg(value_parser = parse_local)]
        id: KeyRef,
    },
    /// Destroy a key version: what is encrypted under it alone is lost for ever
    Delete {
        /// Yes, destroy it
        #[arg(long)]
        yes_destroy: bool,
        /// NAME/VERSION, with or without local:
        #[arg(value_parser = parse_version)]
        id: KeyId,
    },
}

/// How the public half of a key is written.
#[derive(Clone, Copy, Default, ValueEnum)]
pub(crate) enum PublicFormat {
    #[default]
    Pem,
    Jwk,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// A key as `--key` and `--to` take it.
fn parse_key(text: &str) -> Result<KeyRef, String> {
    let key = KeyRef::parse(text).map_err(|e| e.to_string())?;
    if !matches!(key.scheme(), "local" | "https") {
        return Err("keys are local:NAME, or https://VAULT.vault.azure.net/keys/NAME".to_owned());
    }
    Ok(key)
}

/// A key as `cmkit key` takes it: there are only local ones, so the scheme may be left out.
fn parse_local(text: &str) -> Result<KeyRef, String> {
    let key = if text.contains(':') {
        parse_key(text)?
    } else {
        parse_key(&format!("local:{text}"))?
    };
    if key.scheme() != "local" {
        return Err(
            "`cmkit key` is for local keys; those of a vault are managed there, by `az keyvault key`"
                .to_owned(),
        );
    }
    Ok(key)
}

fn parse_name(text: &str) -> Result<String, String> {
    let key = parse_local(text)?;
    match key.version() {
        None => Ok(key.name().to_owned()),
        Some(_) => Err("give the name of the key alone, without a version".to_owned()),
    }
}

fn parse_version(text: &str) -> Result<KeyId, String> {
    let key = parse_local(text)?;
    match key.version() {
        Some(version) => key.with_version(version).map_err(|e| e.to_string()),
        None => Err(format!(
            "name the version too, NAME/VERSION: `cmkit key show {}` lists them",
            key.name()
        )),
    }
}

fn parse_type() -> impl clap::builder::TypedValueParser<Value = KeyType> {
    use clap::builder::TypedValueParser as _;
    let names = KeyType::ALL.iter().map(|t| t.name());
    clap::builder::PossibleValuesParser::new(names).try_map(|name| name.parse::<KeyType>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ids_with_and_without_scheme() {
        let version = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            parse_local("team").unwrap(),
            parse_local("local:team").unwrap()
        );
        assert_eq!(
            parse_version(&format!("team/{version}")).unwrap().version(),
            version
        );
        assert!(
            parse_version("team")
                .unwrap_err()
                .contains("cmkit key show team")
        );
        assert!(parse_name(&format!("team/{version}")).is_err());
        assert!(parse_key("team").unwrap_err().contains("local:NAME"));
        assert!(parse_key("https://v.vault.azure.net/keys/a").is_ok());
        assert!(parse_key("pkcs11:a").unwrap_err().contains("https://"));
        assert!(
            parse_local("https://v.vault.azure.net/keys/a")
                .unwrap_err()
                .contains("az keyvault")
        );
        assert!(parse_name("../x").is_err());
    }
}
