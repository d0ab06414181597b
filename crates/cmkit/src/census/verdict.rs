//! Whether a key version may be disabled.

use std::time::Duration;

use super::Census;
use crate::key_id::KeyId;
use crate::provider::NewestKey;

const HOUR: Duration = Duration::from_secs(3600);

/// What has to be known, besides a census, to say that a key version may be disabled.
#[derive(Clone, Debug)]
pub struct SafeToDisable {
    newest: NewestKey,
    poll_interval: Duration,
    dek_age: Duration,
}

/// Whether a key version may be disabled without taking any data away, as far as the census went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that was counted needs it, and nobody writes under it any more.
    Yes,
    /// Better not: why, each a sentence without a full stop. At least one.
    No(Vec<String>),
}

impl Verdict {
    /// Whether it is [`Yes`](Self::Yes).
    #[must_use]
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }

    /// Why not; empty for a yes.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Yes => &[],
            Self::No(reasons) => reasons,
        }
    }
}

impl SafeToDisable {
    /// With the newest version of the same key, as [`Rotation::newest`](crate::Rotation::newest) gives it.
    #[must_use]
    pub fn new(newest: NewestKey) -> Self {
        Self {
            newest,
            poll_interval: HOUR,
            dek_age: HOUR,
        }
    }

    /// How long it takes, at most, until every writer has noticed a new version: an hour for those without maintenance, else the longest
    /// [`Freshness::poll`](crate::Freshness::poll) among them and a minute. Default: one hour.
    #[must_use]
    pub fn poll_interval(mut self, time: Duration) -> Self {
        self.poll_interval = time;
        self
    }

    /// How old a DEK gets, at most, that writers still encrypt under: the longest [`DekPolicy::max_age`](crate::DekPolicy::max_age) among them, and
    /// more where they write single messages for longer. Default: one hour.
    #[must_use]
    pub fn dek_age(mut self, age: Duration) -> Self {
        self.dek_age = age;
        self
    }

    /// From when on nobody writes under an older version, in seconds since 1970.
    fn settled(&self) -> Option<u64> {
        let wait = self.poll_interval.saturating_add(self.dek_age);
        let seconds = wait
            .as_secs()
            .saturating_add(u64::from(wait.subsec_nanos() > 0));
        Some(self.newest.created?.saturating_add(seconds))
    }
}

impl Census {
    /// Whether this key version may be disabled: nothing that was counted has a wrap by it, not even an old one that is kept for a while; nothing was
    /// unreadable; it isn't the newest version; and the census was begun later than the newest version was made plus the poll interval plus the age of
    /// a DEK, two hours unless said otherwise, because until then others may still have been writing under it.
    ///
    /// A census knows what it was shown. Data that it wasn't shown, backups for instance, may need any version.
    #[must_use]
    pub fn safe_to_disable(&self, key: &KeyId, conditions: &SafeToDisable) -> Verdict {
        let newest = &conditions.newest;
        let mut reasons = Vec::new();
        if !newest.key.same_key(key) {
            reasons.push(format!(
                "{key} was to be compared with the newest version of its own key, and {} is another key",
                newest.key
            ));
        } else if newest.key == *key {
            reasons.push(format!(
                "{key} is the newest version, which new data is encrypted under; rotate the key first"
            ));
        } else {
            reasons.extend(self.too_early(conditions));
        }
        reasons.extend(self.uses(key));
        reasons.extend(self.blind_spots());
        if reasons.is_empty() {
            Verdict::Yes
        } else {
            Verdict::No(reasons)
        }
    }

    fn too_early(&self, conditions: &SafeToDisable) -> Option<String> {
        let Some(settled) = conditions.settled() else {
            return Some(format!(
                "it isn't known when the newest version, {}, was made, so others may still be writing under an older one",
                conditions.newest.key
            ));
        };
        // Both are cut to whole seconds.
        if self.begun > settled {
            return None;
        }
        let wait = (settled - self.begun).saturating_add(1);
        Some(format!(
            "when this census was begun, others may still have been writing under an older version; begin another one in {}",
            in_words(wait)
        ))
    }

    fn uses(&self, key: &KeyId) -> Option<String> {
        let used = self.version(key)?;
        let example = match &used.example {
            Some(name) => format!(", {name} for instance"),
            None => String::new(),
        };
        Some(if used.old_kept == used.headers {
            format!(
                "{} keep an old wrap by it beside a newer one{example}; rotate once more when their time has passed",
                headers(used.headers)
            )
        } else {
            format!(
                "{} wrapped by it{example}, and {} nothing else to open {}; rotate first",
                match used.headers {
                    1 => "1 header is".to_owned(),
                    n => format!("{n} headers are"),
                },
                match used.only_key {
                    1 => "1 has".to_owned(),
                    n => format!("{n} have"),
                },
                if used.only_key == 1 { "it" } else { "them" },
            )
        })
    }

    /// What the census may have missed.
    fn blind_spots(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.unreadable_count > 0 {
            let example = match self.unreadable.first() {
                Some(first) => format!(", {} for instance ({})", first.name, first.problem),
                None => String::new(),
            };
            reasons.push(format!(
                "{} couldn't be read and may need it{example}",
                match self.unreadable_count {
                    1 => "1 thing".to_owned(),
                    n => format!("{n} things"),
                }
            ));
        }
        if self.is_partial {
            reasons.push("the census is incomplete: it was cancelled, or there were too many key versions to count".into());
        }
        if self.compact > 0 && self.rows == 0 {
            reasons.push(
                "there are compact envelopes, whose keys are in a key store, and no row of a key store was counted".into(),
            );
        }
        if self.headers == 0 {
            reasons.push(
                "the census found no envelope at all; show it the place where the data is".into(),
            );
        }
        reasons
    }
}

fn headers(n: u64) -> String {
    match n {
        1 => "1 header".into(),
        n => format!("{n} headers"),
    }
}

fn in_words(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=10_799 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}
