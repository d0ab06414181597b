//! A volume's key from its DEK.

use zeroize::Zeroizing;

use crate::crypto::{ExpandKey, KEY_LEN};
use crate::envelope::SUITE;
use crate::error::Result;
use crate::seams::Random;

pub(super) const SALT_LEN: usize = 32;

const LABEL: &[u8] = b"cmkit/v1/volume\0";

/// How a volume's blocks are encrypted.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Ephemeral = 1,
    Xts = 2,
}

/// What a volume's key is expanded with besides the DEK, so that no two volumes, nor a volume before and after a reset, have one key.
pub(super) struct Derivation {
    mode: Mode,
    block_size: u32,
    salt: [u8; SALT_LEN],
}

impl Derivation {
    /// A new one. The salt isn't secret.
    pub(super) fn draw(mode: Mode, block_size: u32, random: &Random) -> Result<Self> {
        let mut salt = [0; SALT_LEN];
        random.fill(&mut salt)?;
        Ok(Self::new(mode, block_size, salt))
    }

    pub(super) fn new(mode: Mode, block_size: u32, salt: [u8; SALT_LEN]) -> Self {
        Self {
            mode,
            block_size,
            salt,
        }
    }

    pub(super) fn salt(&self) -> &[u8; SALT_LEN] {
        &self.salt
    }

    /// `LEN` bytes of key, on the heap: moved, they leave no copies behind.
    pub(super) fn expand<const LEN: usize>(
        &self,
        dek: &[u8; KEY_LEN],
    ) -> Box<Zeroizing<[u8; LEN]>> {
        let mut key = Box::new(Zeroizing::new([0; LEN]));
        let info: [&[u8]; 5] = [
            LABEL,
            &SUITE.to_be_bytes(),
            &[self.mode as u8],
            &self.block_size.to_be_bytes(),
            &self.salt,
        ];
        ExpandKey::new(dek).expand(&info, &mut **key);
        key
    }
}
