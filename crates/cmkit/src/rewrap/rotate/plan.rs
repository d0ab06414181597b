//! What is to be done to one header, and doing it.

use super::super::build_anew;
use super::{RotateOutcome, Rotation};
use crate::envelope::{Header, MAX_RECIPIENTS, Padding, Recipient};
use crate::error::{Error, Result};
use crate::key_id::KeyRef;
use crate::provider::NewestKey;

/// A wrapping key whose rotations are followed.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) key: KeyRef,
    pub(super) newest: NewestKey,
    /// The name of the provider that holds it.
    pub(super) provider: String,
}

/// What is to be done to a header.
pub(super) struct Plan<'a> {
    pub(super) outcome: RotateOutcome,
    pub(super) old_kept_until: Option<u64>,
    /// By a recipient's place: whether it goes, and which key's newest version comes behind it.
    steps: Vec<(bool, Option<&'a Followed>)>,
    /// Places of the newest versions' recipients that others go for.
    relied_on: Vec<usize>,
}

impl Plan<'_> {
    pub(super) fn changes(&self) -> bool {
        self.steps
            .iter()
            .any(|(goes, comes)| *goes || comes.is_some())
    }

    fn recipients_after(&self) -> usize {
        let each =
            |(goes, comes): &(bool, Option<_>)| usize::from(!goes) + usize::from(comes.is_some());
        self.steps.iter().map(each).sum()
    }
}

impl Rotation {
    /// Looks at the header alone. Fails if it has no room for what should be added.
    pub(super) fn plan(&self, header: &Header<'_>) -> Result<Plan<'_>> {
        let now = self.keyring.shared().now_unix();
        let keep_old = self.options.keep_old.as_secs();
        let at_once = self.options.keep_old.is_zero();
        let mut plan = Plan {
            outcome: RotateOutcome::NotOurs,
            old_kept_until: None,
            steps: vec![(false, None); header.recipients.len()],
            relied_on: Vec::new(),
        };
        for followed in &self.followed {
            let is_newest = |r: &Recipient<'_>| r.key_id == followed.newest.key;
            let places = header.recipients.iter().enumerate();
            let (newest, old): (Vec<_>, Vec<_>) = places
                .filter(|(_, r)| self.is_of(r, followed))
                .partition(|(_, r)| is_newest(r));
            let mut until = None;
            let outcome = match (newest.first(), old.last()) {
                (None, None) => RotateOutcome::NotOurs,
                (Some(_), None) => RotateOutcome::UpToDate,
                (None, Some((place, _))) => {
                    // Behind the old one: while that is kept, it is the one that works everywhere.
                    plan.steps[*place].1 = Some(followed);
                    if at_once {
                        RotateOutcome::Replaced
                    } else {
                        until = Some(now.saturating_add(keep_old));
                        RotateOutcome::Added
                    }
                }
                (Some((place, recipient)), Some(_)) => {
                    // A region that lags behind may name an old version: what was wrapped later doesn't go before its own time.
                    let wraps = old.iter().map(|(_, r)| r.wrapped_at);
                    let last = wraps.fold(recipient.wrapped_at, u64::max);
                    let due = last.saturating_add(keep_old);
                    if at_once || due <= now {
                        plan.relied_on.push(*place);
                        RotateOutcome::Finished
                    } else {
                        until = Some(due);
                        RotateOutcome::Waiting
                    }
                }
            };
            if matches!(outcome, RotateOutcome::Replaced | RotateOutcome::Finished) {
                for (place, _) in old {
                    plan.steps[place].0 = true;
                }
            }
            plan.outcome = plan.outcome.max(outcome);
            plan.old_kept_until = plan.old_kept_until.max(until);
        }
        if plan.recipients_after() > MAX_RECIPIENTS {
            return Err(Error::Policy {
                problem: "it has 16 recipients, the most there can be, so the old wrap can't be kept beside the new one; rotate with \
                          keep_old 0, which replaces it at once, or rewrap it for fewer keys"
                    .into(),
            });
        }
        Ok(plan)
    }

    /// Whether this is a wrap by some version of that key, other than one that the keyring wraps with on purpose.
    fn is_of(&self, recipient: &Recipient<'_>, followed: &Followed) -> bool {
        followed.key.same_key(&recipient.key_id)
            && followed.provider == recipient.provider
            && !self.held.iter().any(|held| *held == *recipient.key_id)
    }

    /// The header after that.
    pub(super) fn carry_out(
        &self,
        header: &Header<'_>,
        plan: &Plan<'_>,
        padding: Padding,
    ) -> Result<Vec<u8>> {
        let unwrapped = self.keyring.unwrap_header(header, None)?;
        for place in &plan.relied_on {
            // It was looked at when it was added; once the old ones are gone there is no other way.
            if *place != unwrapped.recipient {
                let recipient = &header.recipients[*place];
                self.keyring
                    .check_wrap(&unwrapped.dek, &header.core, recipient)?;
            }
        }
        let mut recipients = Vec::with_capacity(plan.recipients_after());
        for (old, (goes, comes)) in header.recipients.iter().zip(&plan.steps) {
            if !goes {
                recipients.push(old.encoded.to_vec());
            }
            if let Some(followed) = comes {
                let key = &followed.newest.key;
                recipients.push(
                    self.keyring
                        .wrap_checked(&unwrapped.dek, &header.core, key)?,
                );
            }
        }
        build_anew(header, &recipients, padding, &unwrapped.dek)
    }
}
