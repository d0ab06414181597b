//! Secret values: zeroized on drop, without `Debug`, `Clone` or `PartialEq`.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::crypto::KEY_LEN;

/// A 256-bit data-encryption key. Boxed, so that moving it leaves no copies behind.
pub(crate) struct Dek(Box<Zeroizing<[u8; KEY_LEN]>>);

impl Dek {
    /// A DEK written in place by `fill`, so that its bytes never stand on the stack.
    pub(crate) fn try_fill<E>(
        fill: impl FnOnce(&mut [u8; KEY_LEN]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut bytes = Box::new(Zeroizing::new([0; KEY_LEN]));
        fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

/// Secret bytes of any length, for what passes between a keyring and its key providers: an unwrapped capsule.
///
/// Zeroized on drop. Has no `Debug`, no `Clone` and no comparison, so it can't reach a log by accident.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes the bytes over. `bytes` is not copied; copies that were made before are the caller's to wipe.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(std::mem::take(&mut *bytes))
    }
}
