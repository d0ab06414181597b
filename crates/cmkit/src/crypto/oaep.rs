//! RSAES-OAEP decoding (RFC 8017, 7.1.2 step 3) with SHA-256 for the hash and for MGF1, and the empty label.
//!
//! For the pure-Rust backend: the `rsa` crate (0.10.0) doesn't look at the first byte of the encoded message
//! and opens what step 3g says to refuse.

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::CryptoError;

const HASH_LEN: usize = 32;

/// Takes the message out of `em`, which is as long as the modulus. In constant time but for the answer
/// itself and the message's length, and the same answer whatever was wrong.
pub(super) fn decode(mut em: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    if em.len() < 2 * HASH_LEN + 2 {
        return Err(CryptoError);
    }
    let (y, masked) = em.split_first_mut().ok_or(CryptoError)?;
    let (seed, db) = masked.split_at_mut(HASH_LEN);
    mgf1_xor(seed, db);
    mgf1_xor(db, seed);

    // DB = lHash || PS || 0x01 || M, where PS is zeros.
    let (label_hash, rest) = db.split_at(HASH_LEN);
    let mut valid = y.ct_eq(&0) & label_hash.ct_eq(&Sha256::digest([]));
    let mut in_padding = Choice::from(1);
    let mut start = 0_u64;
    for (i, byte) in (1_u64..).zip(rest) {
        let is_one = byte.ct_eq(&1);
        start.conditional_assign(&i, in_padding & is_one);
        in_padding &= !is_one;
        valid &= !in_padding | byte.ct_eq(&0);
    }
    valid &= !in_padding;

    if bool::from(valid) {
        let start = usize::try_from(start).map_err(|_| CryptoError)?;
        Ok(Zeroizing::new(rest[start..].to_vec()))
    } else {
        Err(CryptoError)
    }
}

/// XORs MGF1 (RFC 8017, B.2.1) of `seed` onto `target`.
fn mgf1_xor(target: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0_u32..).zip(target.chunks_mut(HASH_LEN)) {
        let mut mask = Sha256::new_with_prefix(seed)
            .chain_update(counter.to_be_bytes())
            .finalize();
        for (byte, mask) in chunk.iter_mut().zip(&mask) {
            *byte ^= mask;
        }
        mask.as_mut_slice().zeroize();
    }
}
