//! The backend over pure-Rust crates.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};
use getrandom::SysRng;
use hmac::{Hmac, Mac as _};
use rsa::BoxedUint;
use rsa::hazmat::rsa_decrypt_and_check;
use rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _};
use rsa::traits::PublicKeyParts as _;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    AES_STACK_LEN, CryptoError, HMAC_STACK_LEN, KEY_LEN, MAX_EXPAND_LEN, NONCE_LEN,
    RSA_MODULUS_BITS, TAG_LEN, oaep, rsa_der, with_wiped_stack,
};

/// An AES-256-GCM key schedule, wiped on drop.
///
/// Boxed because it is a kilobyte: moving it would leave copies that no drop wipes.
pub(crate) struct AeadKey(Box<Aes256Gcm>);

impl AeadKey {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        with_wiped_stack::<AES_STACK_LEN, _>(|| Self(Box::new(Aes256Gcm::new(key.into()))))
    }

    /// Seals `plaintext` into `out`, which is `TAG_LEN` longer. On failure all of `out` is zero.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.seal_with_aad(nonce, &[], plaintext, out)
    }

    pub(super) fn seal_with_aad(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError> {
        let sealed = match out.split_last_chunk_mut::<TAG_LEN>() {
            Some((ciphertext, tag)) => InOutBuf::new(plaintext, ciphertext)
                .is_ok_and(|buffers| self.seal_detached(nonce, aad, buffers, tag)),
            None => false,
        };
        zero_unless(sealed, out)
    }

    /// Seals what is before the last `TAG_LEN` bytes of `in_out`; these receive the tag. On failure all
    /// of `in_out` is zero.
    pub(crate) fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        in_out: &mut [u8],
    ) -> Result<(), CryptoError> {
        let sealed = match in_out.split_last_chunk_mut::<TAG_LEN>() {
            Some((text, tag)) => self.seal_detached(nonce, &[], text.into(), tag),
            None => false,
        };
        zero_unless(sealed, in_out)
    }

    fn seal_detached(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffers: InOutBuf<'_, '_, u8>,
        tag: &mut [u8; TAG_LEN],
    ) -> bool {
        with_wiped_stack::<AES_STACK_LEN, _>(|| {
            let sealed = self.0.encrypt_inout_detached(nonce.into(), aad, buffers);
            sealed.map(|t| *tag = t.into()).is_ok()
        })
    }

    fn open_detached(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffers: InOutBuf<'_, '_, u8>,
        tag: &[u8; TAG_LEN],
    ) -> bool {
        with_wiped_stack::<AES_STACK_LEN, _>(|| {
            let opened = self
                .0
                .decrypt_inout_detached(nonce.into(), aad, buffers, tag.into());
            opened.is_ok()
        })
    }

    /// Opens `sealed` into `out`, which is `TAG_LEN` shorter. On failure all of `out` is zero.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.open_with_aad(nonce, &[], sealed, out)
    }

    pub(super) fn open_with_aad(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), CryptoError> {
        let opened = match sealed.split_last_chunk::<TAG_LEN>() {
            Some((ciphertext, tag)) => InOutBuf::new(ciphertext, out)
                .is_ok_and(|buffers| self.open_detached(nonce, aad, buffers, tag)),
            None => false,
        };
        zero_unless(opened, out)
    }

    /// Opens `in_out`; the plaintext is before its last `TAG_LEN` bytes, whose content is unspecified. On
    /// failure all of `in_out` is zero.
    pub(crate) fn open_in_place(
        &self,
        nonce: &[u8; NONCE_LEN],
        in_out: &mut [u8],
    ) -> Result<(), CryptoError> {
        let opened = match in_out.split_last_chunk_mut::<TAG_LEN>() {
            Some((text, tag)) => self.open_detached(nonce, &[], text.into(), tag),
            None => false,
        };
        zero_unless(opened, in_out)
    }

    /// Seals `text` in place, with its tag apart. On failure both are zero.
    pub(crate) fn seal_apart(
        &self,
        nonce: &[u8; NONCE_LEN],
        text: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        let sealed = self.seal_detached(nonce, &[], text.into(), tag);
        zero_unless(sealed, text).and(zero_unless(sealed, tag))
    }

    /// Seals `plaintext` into `out`, which is as long, with its tag apart. On failure both are zero.
    pub(crate) fn seal_apart_into(
        &self,
        nonce: &[u8; NONCE_LEN],
        plaintext: &[u8],
        out: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        let sealed = InOutBuf::new(plaintext, &mut *out)
            .is_ok_and(|buffers| self.seal_detached(nonce, &[], buffers, tag));
        zero_unless(sealed, out).and(zero_unless(sealed, tag))
    }

    /// Opens `text` in place, with its tag apart. On failure `text` is zero.
    pub(crate) fn open_apart(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        text: &mut [u8],
    ) -> Result<(), CryptoError> {
        let opened = self.open_detached(nonce, &[], text.into(), tag);
        zero_unless(opened, text)
    }
}

/// What the library leaves in a buffer after a failure is its own affair: here it is always zeros.
fn zero_unless(done: bool, out: &mut [u8]) -> Result<(), CryptoError> {
    if done {
        return Ok(());
    }
    out.zeroize();
    Err(CryptoError)
}

/// Bytes in a SHA-512 hash, and so in a block of HKDF's output.
const BLOCK_LEN: usize = 64;

/// The HMAC-SHA-512 midstates of an HKDF PRK, wiped on drop. Boxed for the same reason as [`AeadKey`].
pub(crate) struct ExpandKey(Box<Hmac<Sha512>>);

impl ExpandKey {
    pub(crate) fn new(prk: &[u8; KEY_LEN]) -> Self {
        Self::from_slice(prk)
    }

    pub(super) fn from_slice(prk: &[u8]) -> Self {
        with_wiped_stack::<HMAC_STACK_LEN, _>(|| {
            Self(Box::new(
                Hmac::new_from_slice(prk).expect("HMAC takes keys of any length"),
            ))
        })
    }

    /// HKDF-Expand (RFC 5869, 2.3) with the concatenation of `info` into all of `out`.
    ///
    /// Panics if `out` is longer than [`MAX_EXPAND_LEN`]: every caller's length is a constant.
    pub(crate) fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        assert!(
            out.len() <= MAX_EXPAND_LEN,
            "HKDF-SHA-512 gives at most {MAX_EXPAND_LEN} bytes"
        );

        with_wiped_stack::<HMAC_STACK_LEN, _>(|| {
            let mut previous = Zeroizing::new([0; BLOCK_LEN]);
            for (i, chunk) in (1..=u8::MAX).zip(out.chunks_mut(BLOCK_LEN)) {
                // What is in the box, not another box.
                let mut mac = Hmac::clone(&self.0);
                if i > 1 {
                    mac.update(previous.as_slice());
                }
                for part in info {
                    mac.update(part);
                }
                mac.update(&[i]);
                let block = mac.finalize();
                chunk.copy_from_slice(&block.as_bytes()[..chunk.len()]);
                previous.copy_from_slice(block.as_bytes());
            }
        });
    }
}

pub(crate) fn hmac_sha256(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; 32] {
    hmac_sha256_from_slice(key, parts)
}

pub(super) fn hmac_sha256_from_slice(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    with_wiped_stack::<HMAC_STACK_LEN, _>(|| {
        let mut mac: Hmac<Sha256> =
            Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        (*mac.finalize().as_bytes()).into()
    })
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
pub(super) fn hkdf_sha512_extract(salt: &[u8], ikm: &[u8]) -> [u8; BLOCK_LEN] {
    let mut mac: Hmac<Sha512> = Hmac::new_from_slice(salt).expect("HMAC takes keys of any length");
    mac.update(ikm);
    (*mac.finalize().as_bytes()).into()
}

/// An RSA private key for RSA-OAEP-256, wiped on drop.
pub(crate) struct RsaPrivateKey(rsa::PrivateKey);

impl RsaPrivateKey {
    /// A new key of 3072 or 4096 bits with the public exponent 65537.
    pub(crate) fn generate(bits: usize) -> Result<Self, CryptoError> {
        if !matches!(bits, 3072 | 4096) {
            return Err(CryptoError);
        }
        Self::new(rsa::PrivateKey::new(&mut SysRng, bits).map_err(|_| CryptoError)?)
    }

    /// Reads PKCS#8 DER (RFC 5958, `rsaEncryption`) and checks that the numbers belong together.
    pub(crate) fn from_pkcs8_der(der: &[u8]) -> Result<Self, CryptoError> {
        rsa_der::check_pkcs8(der)?;
        Self::new(rsa::PrivateKey::from_pkcs8_der(der).map_err(|_| CryptoError)?)
    }

    fn new(key: rsa::PrivateKey) -> Result<Self, CryptoError> {
        if !RSA_MODULUS_BITS.contains(&modulus_bits(&key)) {
            return Err(CryptoError);
        }
        Ok(Self(key))
    }

    pub(crate) fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let der = self.0.to_pkcs8_der().map_err(|_| CryptoError)?;
        Ok(der.to_bytes())
    }

    #[cfg(test)]
    pub(crate) fn modulus_bits(&self) -> usize {
        modulus_bits(&self.0)
    }

    /// RSAES-OAEP decryption (RFC 8017, 7.1.2), SHA-256 for the hash and for MGF1, empty label. Blinded.
    pub(crate) fn unwrap_oaep(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let key = &self.0;
        if wrapped.len() != key.size() {
            return Err(CryptoError);
        }
        let c =
            BoxedUint::from_be_slice(wrapped, key.n_bits_precision()).map_err(|_| CryptoError)?;
        let m = Zeroizing::new(
            rsa_decrypt_and_check(key, Some(&mut SysRng), &c).map_err(|_| CryptoError)?,
        );
        // As long as the modulus' limbs, so never shorter than the modulus.
        let m = Zeroizing::new(m.to_be_bytes());
        let em = m.get(m.len() - key.size()..).ok_or(CryptoError)?;
        oaep::decode(Zeroizing::new(em.to_vec()))
    }
}

/// An RSA public key for RSA-OAEP-256.
pub(crate) struct RsaPublicKey(rsa::PublicKey);

impl RsaPublicKey {
    /// Reads `SubjectPublicKeyInfo` DER (RFC 5280, `rsaEncryption`).
    pub(crate) fn from_spki_der(der: &[u8]) -> Result<Self, CryptoError> {
        rsa_der::check_spki(der)?;
        let key = rsa::PublicKey::from_public_key_der(der).map_err(|_| CryptoError)?;
        if !RSA_MODULUS_BITS.contains(&modulus_bits(&key)) {
            return Err(CryptoError);
        }
        Ok(Self(key))
    }

    #[cfg(test)]
    pub(crate) fn modulus_bits(&self) -> usize {
        modulus_bits(&self.0)
    }

    /// RSAES-OAEP encryption (RFC 8017, 7.1.1), SHA-256 for the hash and for MGF1, empty label.
    pub(crate) fn wrap_oaep(&self, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.0
            .oaep_encrypt::<Sha256>(plaintext)
            .map_err(|_| CryptoError)
    }
}

fn modulus_bits(key: &impl rsa::traits::PublicKeyParts) -> usize {
    key.n().bit_width_vartime() as usize
}
