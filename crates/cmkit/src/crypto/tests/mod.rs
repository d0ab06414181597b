//! What every compiled-in backend must do, and what they must do alike.
//!
//! A test is a function generic over [`Backend`]; [`test_each_backend`] makes it one test per backend.

mod agreement;
mod failures;
#[cfg(target_os = "linux")]
pub(crate) mod memory;
mod vectors;
#[cfg(target_os = "linux")]
mod wiping;
mod xts;

use zeroize::Zeroizing;

use super::{CryptoError, KEY_LEN, NONCE_LEN};

/// The seam as a trait, so that a test can be written once. `aad` is there for the vectors.
trait Backend {
    type Aead: Send + Sync;
    type Expand: Send + Sync;
    type Private: Send + Sync;
    type Public: Send + Sync;

    fn aead(key: &[u8; KEY_LEN]) -> Self::Aead;
    fn seal(
        key: &Self::Aead,
        nonce: &[u8; NONCE_LEN],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError>;
    fn seal_with_aad(
        key: &Self::Aead,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError>;
    fn seal_in_place(
        key: &Self::Aead,
        nonce: &[u8; NONCE_LEN],
        in_out: &mut [u8],
    ) -> Result<(), CryptoError>;
    fn open(
        key: &Self::Aead,
        nonce: &[u8; NONCE_LEN],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError>;
    fn open_with_aad(
        key: &Self::Aead,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError>;
    fn open_in_place(
        key: &Self::Aead,
        nonce: &[u8; NONCE_LEN],
        in_out: &mut [u8],
    ) -> Result<(), CryptoError>;

    fn expand_key(prk: &[u8; KEY_LEN]) -> Self::Expand;
    fn expand_key_from_slice(prk: &[u8]) -> Self::Expand;
    fn expand(key: &Self::Expand, info: &[&[u8]], out: &mut [u8]);
    fn hkdf_sha512_extract(salt: &[u8], ikm: &[u8]) -> [u8; 64];
    fn hmac_sha256(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; 32];
    fn hmac_sha256_from_slice(key: &[u8], parts: &[&[u8]]) -> [u8; 32];
    fn sha256(parts: &[&[u8]]) -> [u8; 32];

    fn generate(bits: usize) -> Result<Self::Private, CryptoError>;
    fn private_from_pkcs8(der: &[u8]) -> Result<Self::Private, CryptoError>;
    fn to_pkcs8(key: &Self::Private) -> Result<Zeroizing<Vec<u8>>, CryptoError>;
    fn private_bits(key: &Self::Private) -> usize;
    fn unwrap_oaep(key: &Self::Private, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError>;
    fn public_from_spki(der: &[u8]) -> Result<Self::Public, CryptoError>;
    fn public_bits(key: &Self::Public) -> usize;
    fn wrap_oaep(key: &Self::Public, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError>;
}

macro_rules! backend {
    ($feature:literal, $name:ident, $module:ident) => {
        #[cfg(feature = $feature)]
        struct $name;

        #[cfg(feature = $feature)]
        impl Backend for $name {
            type Aead = super::$module::AeadKey;
            type Expand = super::$module::ExpandKey;
            type Private = super::$module::RsaPrivateKey;
            type Public = super::$module::RsaPublicKey;

            fn aead(key: &[u8; KEY_LEN]) -> Self::Aead {
                Self::Aead::new(key)
            }
            fn seal(
                key: &Self::Aead,
                nonce: &[u8; NONCE_LEN],
                plaintext: &[u8],
                out: &mut [u8],
            ) -> Result<(), CryptoError> {
                key.seal(nonce, plaintext, out)
            }
            fn seal_with_aad(
                key: &Self::Aead,
                nonce: &[u8; NONCE_LEN],
                aad: &[u8],
                plaintext: &[u8],
                out: &mut [u8],
            ) -> Result<(), CryptoError> {
                key.seal_with_aad(nonce, aad, plaintext, out)
            }
            fn seal_in_place(
                key: &Self::Aead,
                nonce: &[u8; NONCE_LEN],
                in_out: &mut [u8],
            ) -> Result<(), CryptoError> {
                key.seal_in_place(nonce, in_out)
            }
            fn open(
                key: &Self::Aead,
                nonce: &[u8; NONCE_LEN],
                sealed: &[u8],
                out: &mut [u8],
            ) -> Result<(), CryptoError> {
                key.open(nonce, sealed, out)
            }
            fn open_with_aad(
                key: &Self::Aead,
                nonce: &[u8; NONCE_LEN],
                aad: &[u8],
                sealed: &[u8],
                out: &mut [u8],
            ) -> Result<(), CryptoError> {
                key.open_with_aad(nonce, aad, sealed, out)
            }
            fn open_in_place(
                key: &Self::Aead,
                nonce: &[u8; NONCE_LEN],
                in_out: &mut [u8],
            ) -> Result<(), CryptoError> {
                key.open_in_place(nonce, in_out)
            }

            fn expand_key(prk: &[u8; KEY_LEN]) -> Self::Expand {
                Self::Expand::new(prk)
            }
            fn expand_key_from_slice(prk: &[u8]) -> Self::Expand {
                Self::Expand::from_slice(prk)
            }
            fn expand(key: &Self::Expand, info: &[&[u8]], out: &mut [u8]) {
                key.expand(info, out);
            }
            fn hkdf_sha512_extract(salt: &[u8], ikm: &[u8]) -> [u8; 64] {
                super::$module::hkdf_sha512_extract(salt, ikm)
            }
            fn hmac_sha256(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; 32] {
                super::$module::hmac_sha256(key, parts)
            }
            fn hmac_sha256_from_slice(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
                super::$module::hmac_sha256_from_slice(key, parts)
            }
            fn sha256(parts: &[&[u8]]) -> [u8; 32] {
                super::$module::sha256(parts)
            }
            fn generate(bits: usize) -> Result<Self::Private, CryptoError> {
                Self::Private::generate(bits)
            }
            fn private_from_pkcs8(der: &[u8]) -> Result<Self::Private, CryptoError> {
                Self::Private::from_pkcs8_der(der)
            }
            fn to_pkcs8(key: &Self::Private) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
                key.to_pkcs8_der()
            }
            fn private_bits(key: &Self::Private) -> usize {
                key.modulus_bits()
            }
            fn unwrap_oaep(
                key: &Self::Private,
                wrapped: &[u8],
            ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
                key.unwrap_oaep(wrapped)
            }
            fn public_from_spki(der: &[u8]) -> Result<Self::Public, CryptoError> {
                Self::Public::from_spki_der(der)
            }
            fn public_bits(key: &Self::Public) -> usize {
                key.modulus_bits()
            }
            fn wrap_oaep(key: &Self::Public, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
                key.wrap_oaep(plaintext)
            }
        }
    };
}

backend!("aws-lc-rs", AwsLc, aws_lc);
backend!("rustcrypto", RustCrypto, rustcrypto);

/// Makes each of the functions, generic over [`Backend`], a test of every backend that is compiled in.
macro_rules! test_each_backend {
    ($($test:ident),+ $(,)?) => {
        #[cfg(feature = "aws-lc-rs")]
        mod aws_lc {
            $(#[test] fn $test() { super::$test::<crate::crypto::tests::AwsLc>(); })+
        }
        #[cfg(feature = "rustcrypto")]
        mod rustcrypto {
            $(#[test] fn $test() { super::$test::<crate::crypto::tests::RustCrypto>(); })+
        }
    };
}
use test_each_backend;

/// The public half of a PKCS#8 RSA key as `SubjectPublicKeyInfo`.
fn spki_of(pkcs8: &[u8]) -> Vec<u8> {
    use pkcs1::der::{Decode as _, Encode as _};

    let info = pkcs8::PrivateKeyInfoRef::try_from(pkcs8).expect("PKCS#8");
    let private = pkcs1::RsaPrivateKeyRef::from_der(info.private_key.as_bytes()).expect("PKCS#1");
    let public = private.public_key().to_der().expect("DER");
    let spki = spki::SubjectPublicKeyInfoRef {
        algorithm: pkcs1::ALGORITHM_ID,
        subject_public_key: spki::der::asn1::BitStringRef::from_bytes(&public).expect("bytes"),
    };
    spki.to_der().expect("DER")
}
