//! DEKs of volumes: made and opened like any other, and neither cached nor taken from a cache.

use std::sync::Arc;

use super::entry::{DecryptEntry, EncryptEntry, Holder};
use super::health::Condition;
use super::standing::Standing;
use super::{Form, Keyring, OpeningKey, SealingKey, Shared, revoked};
use crate::context::EncryptionContext;
use crate::document;
use crate::envelope::{DekId, Header, Padding, Purpose};
use crate::error::Result;
use crate::key_id::KeyId;
use crate::seams::Random;
use crate::secret::Dek;

/// What a volume keeps of its DEK: who wraps it, and whether they still allow its use.
pub(crate) struct VolumeHold {
    shared: Arc<Shared>,
    entry: Entry,
}

enum Entry {
    Made(Arc<EncryptEntry>),
    Opened(Arc<DecryptEntry>),
}

impl Keyring {
    /// A new DEK, wrapped by each of the keyring's keys.
    pub(crate) fn new_volume_dek(&self) -> Result<(Dek, VolumeHold)> {
        self.refuse_reentry()?;
        let shared = self.shared();
        let new = shared.new_dek(Purpose::Volume)?;
        let plain = new.header(&new.recipients, Padding::None)?;
        let padded = new.header(&new.recipients, Padding::FileBlock)?;
        let (dek, entry) = new.into_entry(plain, padded);
        let entry = Entry::Made(Arc::new(entry));
        Ok((dek, VolumeHold::new(shared, entry)))
    }

    /// The DEK of a volume file, and what the file says.
    pub(crate) fn open_volume_file(&self, file: &[u8]) -> Result<(Dek, VolumeHold, Vec<u8>)> {
        self.refuse_reentry()?;
        let shared = self.shared();
        let (dek, entry) = shared.open_volume_header(file)?;
        let entry = Arc::new(entry);
        let key = OpeningKey {
            shared: Arc::clone(shared),
            entry: Arc::clone(&entry),
        };
        let description = document::open_to_vec(&key, file, &EncryptionContext::default())?;
        let hold = VolumeHold::new(shared, Entry::Opened(entry));
        Ok((dek, hold, description))
    }

    pub(crate) fn random(&self) -> &Random {
        &self.shared().random
    }
}

impl VolumeHold {
    fn new(shared: &Arc<Shared>, entry: Entry) -> Self {
        Self {
            shared: Arc::clone(shared),
            entry,
        }
    }

    /// That the keys still allow the DEK's use. Asks them where it was too long ago, and now and then one that was taken away: nobody else may ask
    /// for it while a volume is all that a process has.
    pub(crate) fn check(&self) -> Result<()> {
        let at = self.shared.at_once();
        let standing = match &self.entry {
            Entry::Made(entry) => self.shared.sealing_standing(entry, &at),
            Entry::Opened(entry) => self.shared.opening_standing(entry, &at),
        };
        if matches!(standing, Standing::Good) {
            return Ok(());
        }
        self.shared.refuse_reentry()?;
        drop(self.unwrap_again()?);
        // Another key opened it; but one that wrapped it here and is known no more was deleted.
        let at = self.shared.at_once();
        let is_deleted =
            |holder: &&Holder| self.shared.condition(holder, &at) == Condition::Unknown;
        match &self.entry {
            Entry::Made(entry) => match entry.recipients.iter().find(is_deleted) {
                Some(holder) => Err(revoked(&holder.key).into()),
                None => Ok(()),
            },
            Entry::Opened(_) => Ok(()),
        }
    }

    /// The DEK once more, by an unwrap.
    pub(crate) fn unwrap_again(&self) -> Result<Dek> {
        Ok(self.shared.open_volume_header(self.header())?.0)
    }

    pub(crate) fn key_ids(&self) -> Vec<KeyId> {
        let holders = match &self.entry {
            Entry::Made(entry) => &entry.recipients,
            Entry::Opened(entry) => &entry.holders,
        };
        holders.iter().map(|holder| holder.key.clone()).collect()
    }

    pub(crate) fn dek_id(&self) -> DekId {
        // Made or parsed by this very library.
        Header::parse(self.header()).map_or(DekId([0; 16]), |header| header.core.dek_id)
    }

    fn header(&self) -> &[u8] {
        match &self.entry {
            Entry::Made(entry) => &entry.plain_header,
            Entry::Opened(entry) => &entry.header,
        }
    }

    /// The volume file: a message of the DEK that says how its volume lies.
    pub(crate) fn seal_file(&self, description: &[u8]) -> Result<Vec<u8>> {
        let Entry::Made(entry) = &self.entry else {
            return Err(crate::error::Error::Internal {
                problem: "a volume file is written when the volume is made",
            });
        };
        let key = SealingKey {
            shared: Arc::clone(&self.shared),
            entry: Arc::clone(entry),
            form: Form::Padded,
            process: std::process::id(),
        };
        document::seal_to_vec(&key, description, &EncryptionContext::default())
    }
}
