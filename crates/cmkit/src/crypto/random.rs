//! Random bytes, for both backends.

use super::CryptoError;

/// Fills `out` from the operating system's generator; nothing is buffered.
///
/// AWS-LC has one of its own, which takes a lock to notice forks: a child that is forked while another thread draws
/// from it waits for that lock for ever. The system's takes about as long for a salt.
pub(crate) fn random(out: &mut [u8]) -> Result<(), CryptoError> {
    getrandom::fill(out).map_err(|_| CryptoError)
}
