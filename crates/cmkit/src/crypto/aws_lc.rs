//! The backend over AWS-LC, through `aws-lc-rs`.

use aws_lc_rs::aead::{self, Aad, Nonce};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::{digest, hmac};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    CryptoError, HMAC_STACK_LEN, KEY_LEN, MAX_EXPAND_LEN, NONCE_LEN, RSA_MODULUS_BITS, TAG_LEN,
    rsa_der, with_wiped_stack,
};

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

    /// Seals `text` in place, with its tag apart. On failure both are zero.
    pub(crate) fn seal_apart(
        &self,
        nonce: &[u8; NONCE_LEN],
        text: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) -> Result<(), CryptoError> {
        let sealed = self.0.seal_in_place_scatter(
            Nonce::from(nonce),
            Aad::empty(),
            text,
            &[],
            tag.as_mut_slice(),
        );
        let sealed = sealed.is_ok();
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
        let sealed = self.0.seal_out_of_place_scatter(
            Nonce::from(nonce),
            Aad::empty(),
            plaintext,
            out,
            &[],
            tag.as_mut_slice(),
        );
        let sealed = sealed.is_ok();
        zero_unless(sealed, out).and(zero_unless(sealed, tag))
    }

    /// Opens `text` in place, with its tag apart. On failure `text` is zero.
    pub(crate) fn open_apart(
        &self,
        nonce: &[u8; NONCE_LEN],
        tag: &[u8; TAG_LEN],
        text: &mut [u8],
    ) -> Result<(), CryptoError> {
        let opened = self
            .0
            .open_in_place_separate_tag(Nonce::from(nonce), Aad::empty(), tag, text);
        zero_unless(opened.is_ok(), text)
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
/// Up to here the parts of a message are put together on the stack, beyond on the heap. Either is faster than
/// an update per part, and the library's contexts for that are moved about on the stack, leaving copies.
const GATHER_LEN: usize = 512;

/// The HMAC-SHA-512 midstates of an HKDF PRK, wiped on drop.
///
/// Boxed because the library keeps them inline: moving them would leave copies that no drop wipes.
pub(crate) struct ExpandKey(Box<hmac::Key>);

impl ExpandKey {
    pub(crate) fn new(prk: &[u8; KEY_LEN]) -> Self {
        Self::from_slice(prk)
    }

    pub(super) fn from_slice(prk: &[u8]) -> Self {
        with_wiped_stack::<HMAC_STACK_LEN, _>(|| {
            Self(Box::new(hmac::Key::new(hmac::HMAC_SHA512, prk)))
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

        with_wiped_stack::<HMAC_STACK_LEN, _>(|| self.expand_blocks(info, out));
    }

    fn expand_blocks(&self, info: &[&[u8]], out: &mut [u8]) {
        // T(i) = HMAC(PRK, T(i-1) || info || i), laid out as `message`; T(0) is empty.
        let len = BLOCK_LEN + total_len(info) + 1;
        let (mut short, mut long) = ([0; BLOCK_LEN + GATHER_LEN + 1], Vec::new());
        let message = short_or_long(&mut short, &mut long, len);
        gather(info, &mut message[BLOCK_LEN..len - 1]);
        let mut last_block = [0; BLOCK_LEN];

        let mut start = BLOCK_LEN;
        for (i, chunk) in (1..=u8::MAX).zip(out.chunks_mut(BLOCK_LEN)) {
            message[len - 1] = i;
            if chunk.len() < BLOCK_LEN {
                sign(&self.0, &message[start..], &mut last_block);
                chunk.copy_from_slice(&last_block[..chunk.len()]);
            } else {
                sign(&self.0, &message[start..], chunk);
                message[..BLOCK_LEN].copy_from_slice(chunk);
            }
            start = 0;
        }
        message[..BLOCK_LEN].zeroize();
        last_block.zeroize();
    }
}

fn total_len(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// The first `len` bytes of `short`, or else of `long`, made that long.
fn short_or_long<'a>(short: &'a mut [u8], long: &'a mut Vec<u8>, len: usize) -> &'a mut [u8] {
    if len <= short.len() {
        &mut short[..len]
    } else {
        long.resize(len, 0);
        long
    }
}

/// Copies `parts` together to `to`, which has their length.
fn gather(parts: &[&[u8]], mut to: &mut [u8]) {
    for part in parts {
        let (head, tail) = to.split_at_mut(part.len());
        head.copy_from_slice(part);
        to = tail;
    }
}

fn sign(key: &hmac::Key, message: &[u8], out: &mut [u8]) {
    hmac::sign_to_buffer(key, message, out).expect("the output has the hash's length");
}

pub(crate) fn hmac_sha256(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; 32] {
    hmac_sha256_from_slice(key, parts)
}

pub(super) fn hmac_sha256_from_slice(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let (mut short, mut long) = ([0; GATHER_LEN], Vec::new());
    let message = short_or_long(&mut short, &mut long, total_len(parts));
    gather(parts, message);
    let mut out = [0; 32];
    with_wiped_stack::<HMAC_STACK_LEN, _>(|| {
        sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message, &mut out);
    });
    out
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let (mut short, mut long) = ([0; GATHER_LEN], Vec::new());
    let message = short_or_long(&mut short, &mut long, total_len(parts));
    gather(parts, message);
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, message).as_ref());
    out
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

    #[cfg(test)]
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

    #[cfg(test)]
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
