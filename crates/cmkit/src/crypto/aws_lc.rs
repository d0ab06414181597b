//! The backend over AWS-LC, through `aws-lc-rs`.

use aws_lc_rs::aead::{self, Aad, Nonce};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::{digest, hmac, rand};
use zeroize::{Zeroize as _, Zeroizing};

use super::{CryptoError, KEY_LEN, MAX_EXPAND_LEN, NONCE_LEN, RSA_MODULUS_BITS, TAG_LEN, rsa_der};

/// An AES-256-GCM key. The library keeps the schedule on its heap and wipes it when it is freed.
pub(crate) struct AeadKey(aead::LessSafeKey);

impl AeadKey {
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        let key =
            aead::UnboundKey::new(&aead::AES_256_GCM, key).expect("the key has AES-256's length");
        Self(aead::LessSafeKey::new(key))
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
            Some((ciphertext, tag)) => self
                .0
                .seal_out_of_place_scatter(
                    Nonce::from(nonce),
                    Aad::from(aad),
                    plaintext,
                    ciphertext,
                    &[],
                    tag,
                )
                .is_ok(),
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
            Some((text, tag)) => self
                .0
                .seal_in_place_scatter(Nonce::from(nonce), Aad::empty(), text, &[], tag)
                .is_ok(),
            None => false,
        };
        zero_unless(sealed, in_out)
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
            Some((ciphertext, tag)) => self
                .0
                .open_separate_gather(Nonce::from(nonce), Aad::from(aad), ciphertext, tag, out)
                .is_ok(),
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
            Some((text, tag)) => self
                .0
                .open_in_place_separate_tag(Nonce::from(nonce), Aad::empty(), &*tag, text)
                .is_ok(),
            None => false,
        };
        zero_unless(opened, in_out)
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
/// Up to here the parts of a message are copied together on the stack and hashed by one call: shorter than
/// an update per part, and the library's key context is not moved about in memory.
const GATHER_LEN: usize = 512;

/// The HMAC-SHA-512 midstates of an HKDF PRK.
pub(crate) struct ExpandKey(hmac::Key);

impl ExpandKey {
    pub(crate) fn new(prk: &[u8; KEY_LEN]) -> Self {
        Self::from_slice(prk)
    }

    pub(super) fn from_slice(prk: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA512, prk))
    }

    /// HKDF-Expand (RFC 5869, 2.3) with the concatenation of `info` into all of `out`.
    ///
    /// Panics if `out` is longer than [`MAX_EXPAND_LEN`]: every caller's length is a constant.
    pub(crate) fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        assert!(
            out.len() <= MAX_EXPAND_LEN,
            "HKDF-SHA-512 gives at most {MAX_EXPAND_LEN} bytes"
        );

        // T(i) = HMAC(PRK, T(i-1) || info || i), laid out as `message`; T(0) is empty.
        let mut message = [0; BLOCK_LEN + GATHER_LEN + 1];
        let info_end =
            gather(info, &mut message[BLOCK_LEN..BLOCK_LEN + GATHER_LEN]).map(|n| BLOCK_LEN + n);
        let mut last_block = [0; BLOCK_LEN];

        let mut start = BLOCK_LEN;
        for (i, chunk) in (1..=u8::MAX).zip(out.chunks_mut(BLOCK_LEN)) {
            let partial = chunk.len() < BLOCK_LEN;
            let block = if partial {
                &mut last_block[..]
            } else {
                &mut chunk[..]
            };
            if let Some(end) = info_end {
                message[end] = i;
                sign(&self.0, &message[start..=end], block);
            } else {
                let mut context = hmac::Context::with_key(&self.0);
                context.update(&message[start..BLOCK_LEN]);
                for part in info {
                    context.update(part);
                }
                context.update(&[i]);
                block.copy_from_slice(context.sign().as_ref());
            }
            if partial {
                chunk.copy_from_slice(&last_block[..chunk.len()]);
            } else {
                message[..BLOCK_LEN].copy_from_slice(chunk);
            }
            start = 0;
        }
        message[..BLOCK_LEN].zeroize();
        last_block.zeroize();
    }
}

/// Copies `parts` together at the start of `to` and says how long they are, or `None` if they don't fit.
fn gather(parts: &[&[u8]], to: &mut [u8]) -> Option<usize> {
    let mut end = 0_usize;
    for part in parts {
        let start = end;
        end = start.checked_add(part.len())?;
        to.get_mut(start..end)?.copy_from_slice(part);
    }
    Some(end)
}

fn sign(key: &hmac::Key, message: &[u8], out: &mut [u8]) {
    // Into a buffer rather than as a `Tag`: the library finishes its context where it made it.
    hmac::sign_to_buffer(key, message, out).expect("the output has the hash's length");
}

pub(crate) fn hmac_sha256(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; 32] {
    hmac_sha256_from_slice(key, parts)
}

pub(super) fn hmac_sha256_from_slice(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut out = [0; 32];
    let mut message = [0; GATHER_LEN];
    if let Some(end) = gather(parts, &mut message) {
        sign(&key, &message[..end], &mut out);
    } else {
        let mut context = hmac::Context::with_key(&key);
        for part in parts {
            context.update(part);
        }
        out.copy_from_slice(context.sign().as_ref());
    }
    out
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut message = [0; GATHER_LEN];
    let hash = if let Some(end) = gather(parts, &mut message) {
        digest::digest(&digest::SHA256, &message[..end])
    } else {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        context.finish()
    };
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_ref());
    out
}

/// Fills `out` from AWS-LC's generator, which reseeds itself in a forked process.
pub(crate) fn random(out: &mut [u8]) -> Result<(), CryptoError> {
    rand::fill(out).map_err(|_| CryptoError)
}

#[cfg(test)]
pub(super) fn hkdf_sha512_extract(salt: &[u8], ikm: &[u8]) -> [u8; BLOCK_LEN] {
    let mut prk = [0; BLOCK_LEN];
    sign(&hmac::Key::new(hmac::HMAC_SHA512, salt), ikm, &mut prk);
    prk
}

/// An RSA private key for RSA-OAEP-256.
pub(crate) struct RsaPrivateKey {
    key: PrivateDecryptingKey,
    oaep: OaepPrivateDecryptingKey,
}

impl RsaPrivateKey {
    /// A new key of 3072 or 4096 bits with the public exponent 65537.
    pub(crate) fn generate(bits: usize) -> Result<Self, CryptoError> {
        let size = match bits {
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return Err(CryptoError),
        };
        Self::new(PrivateDecryptingKey::generate(size).map_err(|_| CryptoError)?)
    }

    /// Reads PKCS#8 DER (RFC 5958, `rsaEncryption`) and checks that the numbers belong together.
    pub(crate) fn from_pkcs8_der(der: &[u8]) -> Result<Self, CryptoError> {
        rsa_der::check_pkcs8(der)?;
        Self::new(PrivateDecryptingKey::from_pkcs8(der).map_err(|_| CryptoError)?)
    }

    fn new(key: PrivateDecryptingKey) -> Result<Self, CryptoError> {
        if !RSA_MODULUS_BITS.contains(&key.key_size_bits()) {
            return Err(CryptoError);
        }
        // The clone shares the library's key: it is counted, not copied.
        let oaep = OaepPrivateDecryptingKey::new(key.clone()).map_err(|_| CryptoError)?;
        Ok(Self { key, oaep })
    }

    pub(crate) fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let der = self.key.as_der().map_err(|_| CryptoError)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    pub(crate) fn modulus_bits(&self) -> usize {
        self.key.key_size_bits()
    }

    /// RSAES-OAEP decryption (RFC 8017, 7.1.2), SHA-256 for the hash and for MGF1, empty label.
    pub(crate) fn unwrap_oaep(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let mut plaintext = Zeroizing::new(vec![0; self.oaep.min_output_size()]);
        let len = self
            .oaep
            .decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut plaintext, None)
            .map_err(|_| CryptoError)?
            .len();
        plaintext.truncate(len);
        Ok(plaintext)
    }
}

/// An RSA public key for RSA-OAEP-256.
pub(crate) struct RsaPublicKey(OaepPublicEncryptingKey);

impl RsaPublicKey {
    /// Reads `SubjectPublicKeyInfo` DER (RFC 5280, `rsaEncryption`).
    pub(crate) fn from_spki_der(der: &[u8]) -> Result<Self, CryptoError> {
        rsa_der::check_spki(der)?;
        let key = PublicEncryptingKey::from_der(der).map_err(|_| CryptoError)?;
        if !RSA_MODULUS_BITS.contains(&key.key_size_bits()) {
            return Err(CryptoError);
        }
        Ok(Self(
            OaepPublicEncryptingKey::new(key).map_err(|_| CryptoError)?,
        ))
    }

    pub(crate) fn modulus_bits(&self) -> usize {
        self.0.key_size_bits()
    }

    /// RSAES-OAEP encryption (RFC 8017, 7.1.1), SHA-256 for the hash and for MGF1, empty label.
    pub(crate) fn wrap_oaep(&self, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut wrapped = vec![0; self.0.ciphertext_size()];
        let len = self
            .0
            .encrypt(&OAEP_SHA256_MGF1SHA256, plaintext, &mut wrapped, None)
            .map_err(|_| CryptoError)?
            .len();
        wrapped.truncate(len);
        Ok(wrapped)
    }
}
