//! Which key versions still protect something.

mod add;
mod verdict;

use std::collections::BTreeMap;

pub use self::verdict::{SafeToDisable, Verdict};
use crate::envelope::{Header, Purpose};
use crate::key_id::KeyId;
use crate::keyring::Keyring;

/// Names of what couldn't be read that are kept.
const MAX_UNREADABLE: usize = 20;
/// Key versions that are counted. A service has some hundred of a key's; a forger's headers must not fill the memory.
const MAX_VERSIONS: usize = 100_000;

/// A count of the key versions that headers are wrapped by: envelopes, files, key stores, whole directories.
///
/// Takes no key and no network: headers are read as [`inspect`](crate::inspect) does, and nothing of them is authenticated. Whoever can write them can make
/// a version look used, or hide a use by damaging an envelope that he could as well have deleted. Begin it, add everything that there is, then
/// ask [`safe_to_disable`](Self::safe_to_disable).
///
/// ```
/// # use std::sync::Arc;
/// # use cmkit::{EncryptionContext, KeyRef, KeyType, Keyring, LocalKeyProvider};
/// # let dir = tempfile::tempdir()?;
/// # let keys = LocalKeyProvider::open_or_create(dir.path().join("keys"))?;
/// let version = keys.create_key("team", KeyType::Oct256)?;
/// # let keyring = Keyring::builder()
/// #     .provider(Arc::new(keys))
/// #     .wrap_with(KeyRef::local("team")?)
/// #     .build()?;
/// let envelope = keyring.encrypt(b"attack at dawn", &EncryptionContext::empty())?;
///
/// let mut census = keyring.census();
/// census.add_envelope(&envelope);
/// assert_eq!(census.version(&version).map(|v| v.only_key), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Census {
    begun: u64,
    versions: BTreeMap<String, VersionUse>,
    headers: u64,
    rows: u64,
    compact: u64,
    skipped: u64,
    links: u64,
    unreadable_count: u64,
    unreadable: Vec<Unreadable>,
    is_partial: bool,
    is_discreet: bool,
}

/// How much one key version is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionUse {
    /// The key version.
    pub key: KeyId,
    /// Headers that have a wrap by it.
    pub headers: u64,
    /// Those of them that nothing else opens.
    pub only_key: u64,
    /// Those of them that have a wrap by a newer version of the same key beside it: an old wrap that is kept for a while.
    pub old_kept: u64,
    /// When the oldest wrap by it was made, in seconds since 1970.
    pub oldest_wrap: u64,
    /// When the newest one was.
    pub newest_wrap: u64,
    /// One of the files or rows that have it, where the census was told of names.
    pub example: Option<String>,
}

/// Something that a census couldn't read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The file, directory or row.
    pub name: String,
    /// Why, as a sentence without a full stop.
    pub problem: String,
}

impl Keyring {
    /// Begins a census as of now. Of the keyring only its clock plays a part, and whether it is for
    /// [high business impact](crate::KeyringBuilder::high_business_impact): then the census keeps no names.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            begun: self.shared().now_unix(),
            versions: BTreeMap::new(),
            headers: 0,
            rows: 0,
            compact: 0,
            skipped: 0,
            links: 0,
            unreadable_count: 0,
            unreadable: Vec::new(),
            is_partial: false,
            is_discreet: self.is_high_business_impact(),
        }
    }
}

impl Census {
    /// When it was begun, in seconds since 1970.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Every key version that was found, by id. More than 100 000 make the census count as incomplete.
    pub fn versions(&self) -> impl ExactSizeIterator<Item = &VersionUse> {
        self.versions.values()
    }

    /// One key version; `None` when nothing is wrapped by it.
    #[must_use]
    pub fn version(&self, key: &KeyId) -> Option<&VersionUse> {
        self.versions.get(key.as_str())
    }

    /// Headers that were counted: of envelopes and of rows, and both of a file between whose headers a rewrap was interrupted.
    #[must_use]
    pub fn headers(&self) -> u64 {
        self.headers
    }

    /// Those of them that are rows of key stores.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Compact envelopes, whose DEKs are in key stores.
    #[must_use]
    pub fn compact(&self) -> u64 {
        self.compact
    }

    /// Files and bytes that aren't envelopes.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Symbolic links in directories, which weren't followed.
    #[must_use]
    pub fn links(&self) -> u64 {
        self.links
    }

    /// How many things couldn't be read, each of which may need any key.
    #[must_use]
    pub fn unreadable_count(&self) -> u64 {
        self.unreadable_count
    }

    /// The first 20 of them.
    #[must_use]
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Counts a header.
    fn count(&mut self, header: &Header<'_>, name: Option<&str>) {
        self.headers += 1;
        if header.is_compact() {
            self.compact += 1;
        } else if header.core.purpose == Purpose::KeyStore {
            self.rows += 1;
        }
        for (place, recipient) in header.recipients.iter().enumerate() {
            let id = recipient.key_id.as_str();
            if self.versions.len() >= MAX_VERSIONS && !self.versions.contains_key(id) {
                self.is_partial = true;
                continue;
            }
            // A wrap is added behind the one that it follows, so the later one is newer where both are of the same second.
            let age = (recipient.wrapped_at, place);
            let is_old = header
                .recipients
                .iter()
                .enumerate()
                .any(|(p, r)| r.key_id.same_key(&recipient.key_id) && (r.wrapped_at, p) > age);
            let version = self
                .versions
                .entry(id.to_owned())
                .or_insert_with(|| VersionUse::new(recipient.key_id.clone()));
            version.headers += 1;
            version.only_key += u64::from(header.recipients.len() == 1);
            version.old_kept += u64::from(is_old);
            version.oldest_wrap = version.oldest_wrap.min(recipient.wrapped_at);
            version.newest_wrap = version.newest_wrap.max(recipient.wrapped_at);
            if version.example.is_none() && !self.is_discreet {
                version.example = name.map(str::to_owned);
            }
        }
    }
}

impl VersionUse {
    fn new(key: KeyId) -> Self {
        Self {
            key,
            headers: 0,
            only_key: 0,
            old_kept: 0,
            oldest_wrap: u64::MAX,
            newest_wrap: 0,
            example: None,
        }
    }
}

#[cfg(test)]
mod tests;
