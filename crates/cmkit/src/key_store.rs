//! Key stores: wrapped DEKs kept apart from the data, for the compact form.

mod directory;

pub use self::directory::DirectoryKeyStore;
pub(crate) use self::directory::row_id;
use crate::envelope::DekId;
use crate::error::Result;

/// Keeps wrapped DEKs by their ids: a directory, a table, a blob container.
///
/// A row is a whole header (docs/format.md, section 9): at most 65 536 bytes, not secret, authenticated by its own DEK. Called from any thread,
/// without a lock of the keyring's held. An implementation must not call the keyring that is calling it: that is refused with an error.
pub trait KeyStore: Send + Sync {
    /// The row of a DEK; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::KeyStore`](crate::Error::KeyStore) or [`Error::Io`](crate::Error::Io): the store can't answer.
    fn get(&self, id: &DekId) -> Result<Option<StoredKey>>;

    /// Stores a row unless there is one; whether it did. A stored row must be durable before this returns: data is
    /// encrypted under its DEK right after.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    fn put_if_absent(&self, id: &DekId, bytes: &[u8]) -> Result<bool>;

    /// Replaces a row unless it changed since a [`get`](Self::get) gave this tag; whether it did.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    fn replace_if_unchanged(&self, id: &DekId, bytes: &[u8], tag: &[u8]) -> Result<bool>;

    /// The ids of all rows, in any order.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    fn list(&self) -> Result<Vec<DekId>>;
}

/// A row of a key store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The row.
    pub bytes: Vec<u8>,
    /// Says which state of the row this is: an ETag, a row version, or the row itself. Opaque to the keyring.
    pub tag: Vec<u8>,
}
