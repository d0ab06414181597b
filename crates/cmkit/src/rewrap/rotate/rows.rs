//! Following rotations in key stores.

use std::ops::ControlFlow;

use super::super::replace_row;
use super::{Rotated, Rotation};
use crate::envelope::DekId;
use crate::error::{Error, Result};
use crate::key_store::KeyStore;

impl Rotation {
    /// Follows the rotations in every row of the keyring's key store. `on_row` learns what became of each row, and goes on with the next one or not;
    /// what was done stays done.
    ///
    /// A row that changes meanwhile is read again, so that no concurrent rewrap is undone; one that is removed meanwhile is passed over.
    ///
    /// # Errors
    /// * [`Error::Policy`]: the keyring has no key store.
    /// * [`Error::Cancelled`]: `on_row` said to stop.
    /// * Those of [`KeyStore::list`].
    pub fn rotate_key_store(
        &self,
        mut on_row: impl FnMut(&DekId, Result<Rotated>) -> ControlFlow<()>,
    ) -> Result<()> {
        let store = self.keyring.own_key_store()?;
        for id in store.list()? {
            if let Some(result) = self.rotate_row(&store, &id).transpose()
                && on_row(&id, result).is_break()
            {
                return Err(Error::Cancelled);
            }
        }
        Ok(())
    }

    /// `None`: there is no such row any more.
    pub(super) fn rotate_row(&self, store: &dyn KeyStore, id: &DekId) -> Result<Option<Rotated>> {
        replace_row(store, id, |row| {
            let rotated = self.rotate(row)?;
            let new = rotated.envelope.clone();
            Ok((rotated, new))
        })
    }
}
