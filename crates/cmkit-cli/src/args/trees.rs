//! The grammar of the commands about keys in use: `rotate`, `census` and `doctor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use cmkit::{KeyId, KeyRef};

use super::{Audit, Vault, parse_key};

#[derive(Args)]
pub(crate) struct Rotate {
    /// Key to follow, local:NAME or https://VAULT.vault.azure.net/keys/NAME (repeatable) [default: local:default]
    #[arg(long, value_name = "ID", value_parser = parse_key)]
    pub(crate) key: Vec<KeyRef>,
    /// Only tell what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long to keep a wrap by an old version beside the new one: 24h, 90m, 7d; 0 replaces it at once
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub(crate) keep_old: Duration,
    /// Print JSON, a line for each file that isn't up to date and one at the end
    #[arg(long)]
    pub(crate) json: bool,
    /// No line for each file done
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) vault: Vault,
    #[command(flatten)]
    pub(crate) audit: Audit,
    /// Envelopes, directories with some in them, key stores
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Census {
    /// Say whether this key version may be disabled, with its reasons: exit code 0 is yes, 1 is no
    #[arg(long, value_name = "KEYID", value_parser = parse_id)]
    pub(crate) safe_to_disable: Option<KeyId>,
    /// How long it takes until the last writer has noticed a new version
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub(crate) poll_interval: Duration,
    /// How old the data keys get that writers still encrypt under
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub(crate) dek_age: Duration,
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) vault: Vault,
    #[command(flatten)]
    pub(crate) audit: Audit,
    /// Envelopes, directories with some in them, key stores
    #[arg(value_name = "PATH", required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Doctor {
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) vault: Vault,
    /// Keys: https://VAULT.vault.azure.net/keys/NAME[/VERSION] or local:NAME[/VERSION]
    #[arg(value_name = "KEYID", required = true, value_parser = parse_key)]
    pub(crate) keys: Vec<KeyRef>,
}

/// A key version in full.
fn parse_id(text: &str) -> Result<KeyId, String> {
    let key = parse_key(text)?;
    match key.version() {
        Some(version) => key.with_version(version).map_err(|e| e.to_string()),
        None => Err(format!("name the version too: {key}/VERSION")),
    }
}

/// `90s`, `15m`, `24h`, `7d`, or seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let problem = || "write it as 90s, 15m, 24h or 7d".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(problem()),
    };
    let fits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| fits).ok_or_else(problem)?;
    let seconds = number
        .checked_mul(unit)
        .filter(|seconds| *seconds <= 3650 * 86_400)
        .ok_or("it is longer than ten years")?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("0", 0),
            ("90s", 90),
            ("15m", 900),
            ("24h", 86_400),
            ("7d", 604_800),
        ] {
            assert_eq!(parse_duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in [
            "",
            "h",
            "-1h",
            "+1h",
            "1.5h",
            "1 h",
            "1w",
            "99999999999999999999",
            "9999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
