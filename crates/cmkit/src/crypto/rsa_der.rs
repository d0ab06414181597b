//! What both backends ask of an RSA key's DER before their library parses it.
//!
//! The libraries differ in what they let pass: bytes after the structure, the algorithm RSASSA-PSS. A key
//! file that one build of cmkit takes must be good for the other.

use pkcs8::PrivateKeyInfoRef;
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::CryptoError;

/// PKCS#8 (RFC 5958) with `rsaEncryption`, and nothing after it.
pub(super) fn check_pkcs8(der: &[u8]) -> Result<(), CryptoError> {
    let info = PrivateKeyInfoRef::try_from(der).map_err(|_| CryptoError)?;
    check_algorithm(info.algorithm)
}

/// `SubjectPublicKeyInfo` (RFC 5280) with `rsaEncryption`, and nothing after it.
pub(super) fn check_spki(der: &[u8]) -> Result<(), CryptoError> {
    let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| CryptoError)?;
    check_algorithm(info.algorithm)
}

fn check_algorithm(algorithm: AlgorithmIdentifierRef<'_>) -> Result<(), CryptoError> {
    if algorithm == pkcs1::ALGORITHM_ID {
        Ok(())
    } else {
        Err(CryptoError)
    }
}
