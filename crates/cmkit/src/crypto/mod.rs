//! The seam to the crypto libraries: the only folder that names one.
//!
//! Two backends offer the same items: [`aws_lc`] (the default) and [`rustcrypto`] (pure Rust). Both may be
//! compiled in; `aws_lc` is then the one in use and the other is there for the tests, which hold them
//! against each other. AES key wrap ([`key_wrap`]), XTS ([`xts`]) and random bytes ([`random`]) are one implementation for both.
//!
//! What a backend offers:
//!
//! | item | what it is |
//! |---|---|
//! | `AeadKey` | an AES-256-GCM key schedule; seal and open, in place and from one buffer to another |
//! | `ExpandKey` | HKDF-Expand-SHA-512 (RFC 5869) under a 32-byte PRK whose HMAC midstates are kept |
//! | `hmac_sha256`, `sha256` | over a list of parts |
//! | `RsaPrivateKey`, `RsaPublicKey` | RSA-OAEP with SHA-256 and MGF1-SHA-256, empty label |

#[cfg(feature = "aws-lc-rs")]
pub(crate) mod aws_lc;
pub(crate) mod key_wrap;
#[cfg(feature = "rustcrypto")]
mod oaep;
mod random;
mod rsa_der;
#[cfg(feature = "rustcrypto")]
pub(crate) mod rustcrypto;
pub(crate) mod xts;

#[cfg(feature = "aws-lc-rs")]
pub(crate) use aws_lc as backend;
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc-rs")))]
pub(crate) use rustcrypto as backend;

#[cfg(not(any(feature = "aws-lc-rs", feature = "rustcrypto")))]
compile_error!(
    "cmkit needs a crypto backend: enable the feature `aws-lc-rs` (default) or `rustcrypto`"
);

pub(crate) use backend::{AeadKey, ExpandKey, RsaPrivateKey, RsaPublicKey, hmac_sha256, sha256};

pub(crate) use random::random;

#[cfg(test)]
pub(crate) mod tests;

/// Bytes in an AES-256-GCM tag.
pub(crate) const TAG_LEN: usize = 16;
/// Bytes in an AES-GCM nonce.
pub(crate) const NONCE_LEN: usize = 12;
/// Bytes in a DEK, a KEK of type `oct` and every key expanded from a DEK.
pub(crate) const KEY_LEN: usize = 32;

/// The longest output of HKDF-Expand-SHA-512 (RFC 5869, 2.3).
const MAX_EXPAND_LEN: usize = 255 * 64;
/// The RSA moduli that both backends take, in bits. Key Vault's keys have 2048, 3072 or 4096.
const RSA_MODULUS_BITS: core::ops::RangeInclusive<usize> = 2048..=4096;

/// A cryptographic operation failed. Deliberately says nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CryptoError;

/// Runs `work`, then overwrites `LEN` bytes of the stack below: what it used, if `LEN` is enough.
///
/// The libraries wipe a key when they drop it, but not where it was before it moved, nor what a function
/// saved of its registers. Best effort: it holds for the builds that the tests look at.
fn with_wiped_stack<const LEN: usize, T>(work: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn in_a_frame_of_its_own<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let result = in_a_frame_of_its_own(work);
    zeroize::zeroize_stack::<LEN>();
    result
}

/// For HMAC: the few contexts of a kilobyte that AWS-LC's interface moves through.
const HMAC_STACK_LEN: usize = 8192;
/// For the pure-Rust AES: its key expansion and its widest rounds, without optimisation.
const AES_STACK_LEN: usize = 16384;
