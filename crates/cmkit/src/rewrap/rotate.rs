//! Following the rotations of a keyring's wrapping keys.

mod file;
mod paths;
mod plan;
mod rows;

use std::time::Duration;

pub use self::file::RotatedFile;
pub(crate) use self::paths::is_envelope_file;
use self::plan::Followed;
use super::padding_like;
use crate::envelope::Header;
use crate::error::{Error, Result};
use crate::key_id::KeyRef;
use crate::keyring::Keyring;
use crate::provider::NewestKey;

/// How long an old wrap is kept beside the new one, unless said otherwise.
const KEEP_OLD: Duration = Duration::from_secs(24 * 3600);

/// How to follow the rotations of a keyring's wrapping keys; see [`Keyring::rotation`].
#[derive(Clone, Debug)]
pub struct Rotate {
    keep_old: Duration,
    dry_run: bool,
}

impl Default for Rotate {
    /// Old wraps are kept for 24 hours.
    fn default() -> Self {
        Self {
            keep_old: KEEP_OLD,
            dry_run: false,
        }
    }
}

impl Rotate {
    /// Keep a wrap by an older version for this long, in whole seconds, after the one by the newest version was added. Default: 24 hours, since a
    /// service may take its time to have the newest version in all its regions. Zero: replace it at once.
    #[must_use]
    pub fn keep_old(mut self, time: Duration) -> Self {
        self.keep_old = time;
        self
    }

    /// Only tell what would be done: wrap no DEK, write nothing, complete no interrupted rewrap.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }
}

/// What following a rotation came to, or would come to.
///
/// Where an envelope has recipients of several wrapping keys, the last one of this list that is true of any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RotateOutcome {
    /// None of its recipients is a wrapping key of the keyring's. So it is for the compact form, which has none: its key store is what to rotate.
    NotOurs,
    /// Wrapped by the newest version alone.
    UpToDate,
    /// Wrapped by the newest version, and it isn't time yet to drop the old wrap: nothing was changed.
    Waiting,
    /// Old wraps were dropped: the newest version's had been there for long enough.
    Finished,
    /// The newest version's wrap took the place of the old one.
    Replaced,
    /// The newest version's wrap was added, and the old one kept. The same call made later drops it.
    Added,
}

/// What became of an envelope in memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rotated {
    /// What was done, or would be done.
    pub outcome: RotateOutcome,
    /// Until when an old wrap is kept, in seconds since 1970, where one is.
    pub old_kept_until: Option<u64>,
    /// The envelope, or header, to store in the old one's place; `None` when nothing changed, and in a dry run.
    pub envelope: Option<Vec<u8>>,
}

/// The newest versions of a keyring's wrapping keys as of now, to bring any number of envelopes to.
///
/// For each wrapping key that has an older version among an envelope's recipients and its newest not: the DEK is unwrapped, with every check up to the
/// header's MAC, wrapped by the newest version, that wrap is unwrapped and compared, and becomes a recipient beside the older ones. Where the newest
/// version's wrap has been there for as long as [`Rotate::keep_old`] says, it is unwrapped and compared once more and those of the older versions go.
/// Other recipients stay, byte for byte. So the same call may be made again at any time, after an interruption too; it does what is due.
///
/// What there is to do is decided on the header without a key; it is authenticated before anything is changed. One call changes nothing of what others
/// see: a wrap revokes nothing, and what is written under older versions meanwhile takes another run.
///
/// ```
/// # use std::sync::Arc;
/// # use cmkit::{EncryptionContext, KeyRef, KeyType, Keyring, LocalKeyProvider, Rotate, RotateOutcome};
/// # let dir = tempfile::tempdir()?;
/// let keys = Arc::new(LocalKeyProvider::open_or_create(dir.path().join("keys"))?);
/// keys.create_key("team", KeyType::Oct256)?;
/// let keyring = Keyring::builder()
///     .provider(Arc::clone(&keys) as _)
///     .wrap_with(KeyRef::local("team")?)
///     .build()?;
/// let envelope = keyring.encrypt(b"attack at dawn", &EncryptionContext::empty())?;
///
/// let newest = keys.rotate("team")?;
/// let rotation = keyring.rotation(&Rotate::default())?;
/// assert_eq!(rotation.newest()[0].key, newest);
/// let rotated = rotation.rotate(&envelope)?;
/// assert_eq!(rotated.outcome, RotateOutcome::Added);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rotation {
    keyring: Keyring,
    options: Rotate,
    followed: Vec<Followed>,
    newest: Vec<NewestKey>,
    /// Wrapping keys in one given version.
    held: Vec<KeyRef>,
}

impl Keyring {
    /// Asks, once for each wrapping key, for its newest version, which data is to be brought to.
    ///
    /// A wrapping key that is given with a version stays at that one: its recipients are left as they are. A provider that can't tell its newest version
    /// is asked to wrap 72 random bytes, and says with which version it did.
    ///
    /// # Errors
    /// * [`Error::Policy`]: no wrapping key, or none without a version; or a key provider that calls the keyring.
    /// * [`Error::Provider`]: a key's newest version can't be found out, or may not be used to wrap. Nothing is rotated then, of any key.
    pub fn rotation(&self, options: &Rotate) -> Result<Rotation> {
        let (held, free): (Vec<KeyRef>, Vec<KeyRef>) = self
            .wrapping_keys()
            .iter()
            .cloned()
            .partition(|key| key.version().is_some());
        if free.is_empty() {
            let problem = if held.is_empty() {
                "this keyring has no wrapping key whose rotation could be followed; give it one when building it"
            } else {
                "this keyring's wrapping keys are all given with a version, so that there is no rotation to follow; give them without"
            };
            return Err(Error::Policy {
                problem: problem.into(),
            });
        }
        let mut followed = Vec::with_capacity(free.len());
        for key in free {
            let (newest, provider) = self.newest_of(&key)?;
            followed.push(Followed {
                key,
                newest: newest.clone(),
                provider: provider.to_owned(),
            });
        }
        Ok(Rotation {
            keyring: self.clone(),
            options: options.clone(),
            newest: followed.iter().map(|f| f.newest.clone()).collect(),
            followed,
            held,
        })
    }
}

impl Rotation {
    /// The newest version of each wrapping key that is followed.
    #[must_use]
    pub fn newest(&self) -> &[NewestKey] {
        &self.newest
    }

    /// Follows the rotations in an envelope, or the header of one; its CORE and body stay as they are.
    ///
    /// As for [`rewrap`](Keyring::rewrap), the body isn't read, a padded header keeps its length where the recipients fit, and the workspace is the
    /// envelope's own.
    ///
    /// # Errors
    /// * [`Error::Format`], [`Error::Truncated`]: not an envelope with a whole header.
    /// * Where there is something to change, those of [`rewrap`](Keyring::rewrap), and [`Error::Policy`] for an envelope with 16 recipients, which has
    ///   no room for another one.
    pub fn rotate(&self, envelope: &[u8]) -> Result<Rotated> {
        let header = Header::parse(envelope)?;
        let plan = self.plan(&header)?;
        let mut new = None;
        if plan.changes() && !self.options.dry_run {
            let mut out = self.carry_out(&header, &plan, padding_like(&header))?;
            out.extend_from_slice(&envelope[header.bytes.len()..]);
            new = Some(out);
        }
        Ok(Rotated {
            outcome: plan.outcome,
            old_kept_until: plan.old_kept_until,
            envelope: new,
        })
    }
}

#[cfg(test)]
mod tests;
