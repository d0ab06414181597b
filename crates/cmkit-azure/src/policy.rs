//! The rules that a key must meet before anything is wrapped with it.

use cmkit::{KeyId, KeyRef, ProviderError, ProviderErrorKind, WrapAlgorithm};

use crate::doctor::Check;
use crate::key::{Attributes, Jwk, KeyBundle, version_in};
use crate::rest::wrong_key;
use crate::text::printable;

/// What an operator may relax.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) rsa_2048: bool,
}

/// Bits of the smallest RSA key, unless 2048 are allowed.
const RSA_BITS: usize = 3072;

/// One rule, and whether the key meets it: what it is like, or what is wrong and what to do.
pub(crate) struct Finding {
    pub(crate) check: Check,
    pub(crate) result: Result<String, Violation>,
}

pub(crate) struct Violation {
    pub(crate) kind: ProviderErrorKind,
    pub(crate) problem: String,
    pub(crate) advice: String,
}

impl Violation {
    fn policy(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            kind: ProviderErrorKind::Policy,
            problem: problem.into(),
            advice: advice.into(),
        }
    }

    pub(crate) fn into_error(self, key: &KeyRef) -> ProviderError {
        ProviderError::new(self.kind, format!("{}; {}", self.problem, self.advice)).on_key(key)
    }
}

/// A key that meets the rules.
pub(crate) struct Fit {
    pub(crate) id: KeyId,
    pub(crate) algorithm: WrapAlgorithm,
    pub(crate) created: Option<u64>,
}

/// The version that an answer is about, if the answer is about `key`.
pub(crate) fn identify(bundle: &KeyBundle, key: &KeyRef) -> Result<KeyId, ProviderError> {
    let kid = bundle.key.kid.as_deref().unwrap_or_default();
    let id = version_in(kid, key).ok_or_else(|| wrong_key(kid, key))?;
    match key.version() {
        Some(version) if version != id.version() => Err(wrong_key(kid, key)),
        _ => Ok(id),
    }
}

/// How a key of this type wraps.
pub(crate) fn algorithm(jwk: &Jwk) -> Option<WrapAlgorithm> {
    match jwk.kty.as_deref()? {
        "RSA" | "RSA-HSM" => Some(WrapAlgorithm::RsaOaep256),
        "oct-HSM" => Some(WrapAlgorithm::A256Kw),
        _ => None,
    }
}

/// The first rule that the key fails, as an error.
pub(crate) fn enforce(
    bundle: &KeyBundle,
    key: &KeyRef,
    rules: Rules,
    now: u64,
) -> Result<Fit, ProviderError> {
    let id = identify(bundle, key)?;
    for finding in findings(bundle, rules, now) {
        finding
            .result
            .map_err(|violation| violation.into_error(&id))?;
    }
    let algorithm = algorithm(&bundle.key).ok_or_else(|| {
        // The rule on types has said so already.
        ProviderError::new(
            ProviderErrorKind::Policy,
            "its type is not one to wrap with",
        )
        .on_key(&id)
    })?;
    Ok(Fit {
        id,
        algorithm,
        created: bundle
            .attributes
            .created
            .and_then(|time| u64::try_from(time).ok()),
    })
}

/// Every rule, on this key.
pub(crate) fn findings(bundle: &KeyBundle, rules: Rules, now: u64) -> Vec<Finding> {
    let (jwk, attributes) = (&bundle.key, &bundle.attributes);
    let recovery = Recovery::of(attributes);
    [
        (Check::Enabled, enabled(attributes, now)),
        (Check::KeyType, key_type(jwk, rules)),
        (Check::KeyOperations, operations(jwk)),
        (Check::SoftDelete, soft_delete(&recovery)),
        (Check::PurgeProtection, purge_protection(&recovery)),
        (Check::Exportable, exportable(attributes)),
    ]
    .into_iter()
    .map(|(check, result)| Finding { check, result })
    .collect()
}

fn enabled(attributes: &Attributes, now: u64) -> Result<String, Violation> {
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if attributes.enabled != Some(true) {
        return Err(Violation {
            kind: ProviderErrorKind::Disabled,
            problem: "it is disabled".into(),
            advice: "have its owner enable it, or encrypt under another key".into(),
        });
    }
    if let Some(begin) = attributes.nbf.filter(|begin| *begin > now) {
        let problem = format!("it is not valid before {begin} (seconds since 1970)");
        return Err(Violation::policy(
            problem,
            "wait, or have its owner move its begin",
        ));
    }
    match attributes.exp {
        Some(end) if end <= now => Err(Violation::policy(
            format!("it has expired at {end} (seconds since 1970)"),
            "have its owner make a new version, or move its end; what it has wrapped can still be opened",
        )),
        Some(end) => Ok(format!("enabled; expires in {} days", (end - now) / 86_400)),
        None => Ok("enabled; does not expire".into()),
    }
}

fn key_type(jwk: &Jwk, rules: Rules) -> Result<String, Violation> {
    let kty = jwk.kty.as_deref().unwrap_or("none");
    match algorithm(jwk) {
        Some(WrapAlgorithm::RsaOaep256) => {}
        Some(_) => return Ok(format!("{kty}, wraps with A256KW")),
        None => {
            return Err(Violation::policy(
                format!("its type is {:?}", printable(kty, 20)),
                "make an RSA key of 3072 or 4096 bits, or an oct-HSM key of 256",
            ));
        }
    }
    let bits = jwk.modulus_bits().unwrap_or_default();
    let least = if rules.rsa_2048 { 2048 } else { RSA_BITS };
    if bits < least {
        let hint = match bits {
            2048.. => "; or allow RSA keys of 2048 bits explicitly",
            _ => "",
        };
        return Err(Violation::policy(
            format!("it is an RSA key of {bits} bits, and {least} are the least"),
            format!("make one of 3072 or 4096 bits{hint}"),
        ));
    }
    if !jwk.exponent_is_65537() {
        return Err(Violation::policy(
            "the public exponent of this RSA key is not 65537",
            "make a key with the usual one",
        ));
    }
    Ok(format!("{kty} of {bits} bits, wraps with RSA-OAEP-256"))
}

fn operations(jwk: &Jwk) -> Result<String, Violation> {
    let listed = |name: &str| {
        jwk.key_ops
            .as_ref()
            .is_some_and(|ops| ops.iter().any(|op| op == name))
    };
    let missing: Vec<&str> = ["wrapKey", "unwrapKey"]
        .into_iter()
        .filter(|name| !listed(name))
        .collect();
    if missing.is_empty() {
        return Ok("wrapKey and unwrapKey".into());
    }
    Err(Violation::policy(
        format!("its list of operations lacks {}", missing.join(" and ")),
        "have its owner add wrapKey and unwrapKey to its permitted operations",
    ))
}

/// What `recoveryLevel` says.
struct Recovery {
    soft_delete: bool,
    purge_protection: bool,
    said: String,
}

impl Recovery {
    /// An unknown level promises nothing.
    fn of(attributes: &Attributes) -> Self {
        let level = attributes.recovery_level.as_deref().unwrap_or("none");
        let (soft_delete, purge_protection) =
            match level.strip_prefix("Customized").unwrap_or(level) {
                "Recoverable" | "Recoverable+ProtectedSubscription" => (true, true),
                "Recoverable+Purgeable" => (true, false),
                _ => (false, false),
            };
        Self {
            soft_delete,
            purge_protection,
            said: printable(level, 60),
        }
    }
}

fn soft_delete(recovery: &Recovery) -> Result<String, Violation> {
    if recovery.soft_delete {
        return Ok(format!("on ({})", recovery.said));
    }
    Err(Violation::policy(
        format!(
            "soft delete is not on for its vault (recovery level {})",
            recovery.said
        ),
        "turn it on: otherwise a deleted key takes its data with it at once",
    ))
}

fn purge_protection(recovery: &Recovery) -> Result<String, Violation> {
    if recovery.purge_protection {
        return Ok(format!("on ({})", recovery.said));
    }
    Err(Violation::policy(
        format!(
            "purge protection is not on for its vault (recovery level {})",
            recovery.said
        ),
        "turn it on: az keyvault update --name VAULT --enable-purge-protection true",
    ))
}

fn exportable(attributes: &Attributes) -> Result<String, Violation> {
    if attributes.exportable == Some(true) {
        return Err(Violation::policy(
            "it is exportable: it can leave the vault",
            "make a key that is not",
        ));
    }
    Ok("no".into())
}
