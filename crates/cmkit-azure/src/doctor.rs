//! Trying everything that a key needs, one thing after the other.

use std::fmt;
use std::time::Duration;

use cmkit::{Call, KeyId, KeyProvider, KeyRef, ProviderError, ProviderErrorKind, WrapAlgorithm};

use crate::bind::{check_round_trip, probe, versioned};
use crate::policy::{algorithm, findings, identify};
use crate::provider::KeyVaultProvider;

/// What a [`Report`] has a row for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// The identity gets a token.
    SignIn,
    /// The key can be read, and the answer is about this key.
    Get,
    /// Enabled, and within its dates.
    Enabled,
    /// A type and size to wrap with.
    KeyType,
    /// wrapKey and unwrapKey are on its list.
    KeyOperations,
    /// The vault keeps what is deleted for some days.
    SoftDelete,
    /// Nobody can do away with it in these days.
    PurgeProtection,
    /// The key can't leave the vault.
    Exportable,
    /// 32 random bytes are wrapped.
    Wrap,
    /// They come back.
    Unwrap,
    /// How long a wrap and an unwrap take.
    Latency,
}

impl Check {
    /// A name for a table: `purge protection`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Get => "get",
            Self::Enabled => "enabled and dates",
            Self::KeyType => "key type and size",
            Self::KeyOperations => "key operations",
            Self::SoftDelete => "soft delete",
            Self::PurgeProtection => "purge protection",
            Self::Exportable => "exportable",
            Self::Wrap => "wrap",
            Self::Unwrap => "unwrap",
            Self::Latency => "latency",
        }
    }
}

/// How a check went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// All right.
    Pass,
    /// Not all right: the row says what and what to do.
    Fail,
    /// Not tried: something before it failed, or it isn't allowed. Nothing is known about it.
    Skipped,
}

/// One check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Row {
    /// Which.
    pub check: Check,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, or what is wrong and what to do.
    pub detail: String,
}

/// What [`KeyVaultProvider::doctor`] found. Displays as a table, a line for each check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The key, with the version that was tried if it is known.
    pub key: String,
    /// As whom.
    pub identity: String,
    /// In the order in which they were tried.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether nothing failed. What was skipped may still be wrong: see [`is_verified`](Self::is_verified).
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.rows.iter().all(|row| row.outcome != Outcome::Fail)
    }

    /// Whether everything was tried and all right.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.rows.iter().all(|row| row.outcome == Outcome::Pass)
    }

    fn pass(&mut self, check: Check, detail: impl Into<String>) {
        self.row(check, Outcome::Pass, detail.into());
    }

    fn fail(&mut self, check: Check, error: &ProviderError) {
        // The key stands above the table.
        let mut error = error.clone();
        error.key = None;
        self.row(check, Outcome::Fail, error.to_string());
    }

    fn skip(&mut self, check: Check, why: &str) {
        self.row(check, Outcome::Skipped, why.to_owned());
    }

    fn row(&mut self, check: Check, outcome: Outcome, detail: String) {
        self.rows.push(Row {
            check,
            outcome,
            detail,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {}", self.key)?;
        writeln!(f, "as  {}", self.identity)?;
        for row in &self.rows {
            let outcome = match row.outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "FAIL",
                Outcome::Skipped => "skip",
            };
            writeln!(f, "{outcome}  {:18}  {}", row.check.name(), row.detail)?;
        }
        Ok(())
    }
}

/// Those that need the key's description.
const PROPERTIES: &[Check] = &[
    Check::Enabled,
    Check::KeyType,
    Check::KeyOperations,
    Check::SoftDelete,
    Check::PurgeProtection,
    Check::Exportable,
];

impl KeyVaultProvider {
    /// Tries everything that `key` needs, whatever failed before, and says what to do. It wraps and unwraps 32 random bytes; nothing changes in the vault.
    ///
    /// Takes as long as its calls do: seconds, or minutes when nothing answers.
    #[must_use]
    pub fn doctor(&self, key: &KeyRef) -> Report {
        let call = Call::default();
        let mut report = Report {
            key: key.to_string(),
            identity: self.identity(),
            rows: Vec::new(),
        };
        if !self.owns(key) {
            let problem = "its vault is not one that this provider was given; give it this key, or allow the host";
            report.fail(
                Check::SignIn,
                &ProviderError::new(ProviderErrorKind::WrongVault, problem),
            );
            return report;
        }
        match self.rest().sign_in(key, &self.operation(&call)) {
            Ok(left) => report.pass(
                Check::SignIn,
                format!("the token is good for {} min", left.as_secs() / 60),
            ),
            Err(e) => {
                report.fail(Check::SignIn, &e);
                let rest = [Check::Get].into_iter().chain(PROPERTIES.iter().copied());
                for check in rest.chain([Check::Wrap, Check::Unwrap, Check::Latency]) {
                    report.skip(check, "not without signing in");
                }
                return report;
            }
        }
        let found = self.look(key, &call, &mut report);
        match found {
            Some((id, algorithm)) => {
                report.key = id.to_string();
                self.try_out(&id, algorithm, &call, &mut report);
            }
            None => {
                for check in [Check::Wrap, Check::Unwrap, Check::Latency] {
                    report.skip(check, "not without the key's version and type");
                }
            }
        }
        report
    }

    /// The rows about the key itself, and what to try it with.
    fn look(
        &self,
        key: &KeyRef,
        call: &Call,
        report: &mut Report,
    ) -> Option<(KeyId, Option<WrapAlgorithm>)> {
        let skip = |report: &mut Report, why: &str| {
            for check in PROPERTIES {
                report.skip(*check, why);
            }
        };
        let id = versioned(key).ok();
        if self.bindings().is_without_get() {
            report.skip(Check::Get, "not allowed here");
            skip(report, "unverified: the key is not looked at here");
            return Some((id?, None));
        }
        let bundle = match self.rest().get(key, &self.operation(call)) {
            Ok(bundle) => bundle,
            Err(e) => {
                report.fail(Check::Get, &e);
                skip(report, "not without get");
                return Some((id?, None));
            }
        };
        let id = match identify(&bundle, key) {
            Ok(id) => id,
            Err(e) => {
                report.fail(Check::Get, &e);
                skip(report, "the answer is about another key");
                return None;
            }
        };
        report.pass(Check::Get, format!("version {}", id.version()));
        let now = self.rest().net.clock.unix();
        for finding in findings(&bundle, self.bindings().rules(), now) {
            match finding.result {
                Ok(detail) => report.pass(finding.check, detail),
                Err(violation) => {
                    let detail = format!("{}; {}", violation.problem, violation.advice);
                    report.row(finding.check, Outcome::Fail, detail);
                }
            }
        }
        algorithm(&bundle.key).map(|algorithm| (id, Some(algorithm)))
    }

    fn try_out(&self, id: &KeyId, known: Option<WrapAlgorithm>, call: &Call, report: &mut Report) {
        let clock = &*self.rest().net.clock;
        let probe = match probe(id) {
            Ok(probe) => probe,
            Err(e) => return report.fail(Check::Wrap, &e),
        };
        let mut algorithm = known.unwrap_or(WrapAlgorithm::RsaOaep256);
        let mut begun = clock.now();
        let mut wrapped = self
            .rest()
            .wrap(id, algorithm, &*probe, &self.operation(call));
        let misfit = |e: &ProviderError| e.kind == ProviderErrorKind::Unusable;
        if known.is_none() && wrapped.as_ref().is_err_and(misfit) {
            algorithm = WrapAlgorithm::A256Kw;
            begun = clock.now();
            wrapped = self
                .rest()
                .wrap(id, algorithm, &*probe, &self.operation(call));
        }
        let wrap_time = clock.now().saturating_duration_since(begun);
        let wrapped = match wrapped {
            Ok(wrapped) => wrapped,
            Err(e) => {
                report.fail(Check::Wrap, &e);
                report.skip(Check::Unwrap, "nothing was wrapped");
                return report.skip(Check::Latency, "nothing was wrapped");
            }
        };
        report.pass(
            Check::Wrap,
            format!("{}, {} bytes", algorithm.name(), wrapped.len()),
        );
        let begun = clock.now();
        let unwrapped = self
            .rest()
            .unwrap(id, algorithm, &wrapped, &self.operation(call));
        let unwrap_time = clock.now().saturating_duration_since(begun);
        let same = unwrapped.map(|bytes| bytes.expose() == &probe[..]);
        match check_round_trip(id, same) {
            Ok(()) => {
                report.pass(Check::Unwrap, "the same bytes came back");
                let times = format!(
                    "wrap {} ms, unwrap {} ms",
                    wrap_time.as_millis(),
                    unwrap_time.as_millis()
                );
                // Half the time of a call: beyond, a slower moment is an outage.
                if wrap_time.max(unwrap_time) > SLOW {
                    let detail = format!(
                        "{times}; that is slow: use a vault in this region, check proxy and network"
                    );
                    return report.row(Check::Latency, Outcome::Fail, detail);
                }
                report.pass(Check::Latency, times);
            }
            Err(e) => {
                report.fail(Check::Unwrap, &e);
                report.skip(Check::Latency, "the round trip failed");
            }
        }
    }
}

/// A call that takes longer than this makes every new DEK wait.
const SLOW: Duration = Duration::from_secs(5);
