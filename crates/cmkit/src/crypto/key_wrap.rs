//! AES key wrap with a 256-bit KEK: `A256KW`, RFC 3394. One implementation for both backends.
//!
//! AWS-LC has a key wrap too, but leaves the KEK's schedule on the stack. `aes-kw` wipes what it drops, and
//! the stack below it can be wiped from here.

use aes_kw::{KeyInit as _, KwAes256};
use zeroize::Zeroizing;

use super::{AES_STACK_LEN, CryptoError, KEY_LEN, with_wiped_stack};

/// Bytes in a semiblock (NIST SP 800-38F, 4.1), and so what wrapping adds.
const SEMIBLOCK_LEN: usize = aes_kw::IV_LEN;
/// RFC 3394 wraps two semiblocks or more; the library would take fewer.
const MIN_LEN: usize = 2 * SEMIBLOCK_LEN;

/// Wraps `plaintext`: 16 bytes or more, a multiple of 8. The result is 8 bytes longer.
pub(crate) fn wrap(kek: &[u8; KEY_LEN], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
    if plaintext.len() < MIN_LEN {
        return Err(CryptoError);
    }
    let mut wrapped = vec![
        0;
        plaintext
            .len()
            .checked_add(SEMIBLOCK_LEN)
            .ok_or(CryptoError)?
    ];
    with_wiped_stack::<AES_STACK_LEN, _>(|| {
        KwAes256::new(kek.into())
            .wrap_key(plaintext, &mut wrapped)
            .is_ok()
    })
    .then_some(wrapped)
    .ok_or(CryptoError)
}

/// Unwraps what [`wrap`] made under the same KEK.
pub(crate) fn unwrap(
    kek: &[u8; KEY_LEN],
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let len = wrapped
        .len()
        .checked_sub(SEMIBLOCK_LEN)
        .filter(|&n| n >= MIN_LEN)
        .ok_or(CryptoError)?;
    let mut plaintext = Zeroizing::new(vec![0; len]);
    with_wiped_stack::<AES_STACK_LEN, _>(|| {
        KwAes256::new(kek.into())
            .unwrap_key(wrapped, &mut plaintext)
            .is_ok()
    })
    .then_some(plaintext)
    .ok_or(CryptoError)
}
