//! The key itself: what it can do, and how its numbers go from one encoding to another.

use pkcs8::der::asn1::{BitStringRef, OctetStringRef, UintRef};
use pkcs8::der::{Decode as _, Encode as _};
use pkcs8::{PrivateKeyInfoRef, SubjectPublicKeyInfoRef};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::KeyType;
use crate::crypto::{self, CryptoError, KEY_LEN};
use crate::provider::WrapAlgorithm;

/// The public exponent of every key here, big-endian.
pub(super) const EXPONENT: [u8; 3] = [0x01, 0x00, 0x01];

/// A KEK, wiped from memory on drop. RSA keys stand in the DER that the crypto library takes.
pub(super) enum Material {
    Oct(Box<Zeroizing<[u8; KEY_LEN]>>),
    RsaPrivate {
        pkcs8: Zeroizing<Vec<u8>>,
        key_type: KeyType,
    },
    RsaPublic {
        spki: Vec<u8>,
        key_type: KeyType,
    },
}

/// The numbers of an RSA private key, big-endian, by their names in RFC 7518.
pub(super) struct RsaPrivateParts<'a> {
    pub(super) n: &'a [u8],
    pub(super) e: &'a [u8],
    pub(super) d: &'a [u8],
    pub(super) p: &'a [u8],
    pub(super) q: &'a [u8],
    pub(super) dp: &'a [u8],
    pub(super) dq: &'a [u8],
    pub(super) qi: &'a [u8],
}

/// Why bytes are no key that can be kept here; never says anything about their content.
pub(super) type Problem = &'static str;

impl Material {
    pub(super) fn generate(key_type: KeyType) -> Result<Self, CryptoError> {
        let bits = match key_type {
            KeyType::Oct256 => {
                let mut key = Box::new(Zeroizing::new([0; KEY_LEN]));
                crypto::random(&mut key[..])?;
                return Ok(Self::Oct(key));
            }
            KeyType::Rsa3072 => 3072,
            KeyType::Rsa4096 => 4096,
        };
        let der = crypto::RsaPrivateKey::generate(bits)?.to_pkcs8_der()?;
        Self::from_pkcs8_der(&der).map_err(|_| CryptoError)
    }

    /// Reads PKCS#8 DER. Whether the numbers belong together is checked by [`self_test`](Self::self_test).
    pub(super) fn from_pkcs8_der(der: &[u8]) -> Result<Self, Problem> {
        let info =
            PrivateKeyInfoRef::from_der(der).map_err(|_| "it is not a PKCS#8 private key")?;
        if info.algorithm != pkcs1::ALGORITHM_ID {
            return Err("it is not an RSA key (rsaEncryption)");
        }
        let key = pkcs1::RsaPrivateKeyRef::from_der(info.private_key.as_bytes())
            .map_err(|_| "its RSA private key is malformed")?;
        if key.other_prime_infos.is_some() {
            return Err("it has more than two primes");
        }
        Self::from_private_parts(&RsaPrivateParts::of(&key))
    }

    pub(super) fn from_private_parts(parts: &RsaPrivateParts<'_>) -> Result<Self, Problem> {
        let key_type = rsa_type(parts.n, parts.e)?;
        let encode = || {
            let key = pkcs1::RsaPrivateKeyRef {
                modulus: UintRef::new(parts.n)?,
                public_exponent: UintRef::new(parts.e)?,
                private_exponent: UintRef::new(parts.d)?,
                prime1: UintRef::new(parts.p)?,
                prime2: UintRef::new(parts.q)?,
                exponent1: UintRef::new(parts.dp)?,
                exponent2: UintRef::new(parts.dq)?,
                coefficient: UintRef::new(parts.qi)?,
                other_prime_infos: None,
            };
            let key = Zeroizing::new(key.to_der()?);
            PrivateKeyInfoRef::new(pkcs1::ALGORITHM_ID, OctetStringRef::new(&key)?).to_der()
        };
        let pkcs8 = Zeroizing::new(encode().map_err(|_| "its RSA numbers are out of range")?);
        Ok(Self::RsaPrivate { pkcs8, key_type })
    }

    /// Reads `SubjectPublicKeyInfo` DER.
    pub(super) fn from_spki_der(der: &[u8]) -> Result<Self, Problem> {
        let info = SubjectPublicKeyInfoRef::from_der(der)
            .map_err(|_| "it is not a SubjectPublicKeyInfo public key")?;
        if info.algorithm != pkcs1::ALGORITHM_ID {
            return Err("it is not an RSA key (rsaEncryption)");
        }
        let malformed = "its RSA public key is malformed";
        let key = info.subject_public_key.as_bytes().ok_or(malformed)?;
        let key = pkcs1::RsaPublicKeyRef::from_der(key).map_err(|_| malformed)?;
        Self::from_public_parts(key.modulus.as_bytes(), key.public_exponent.as_bytes())
    }

    pub(super) fn from_public_parts(n: &[u8], e: &[u8]) -> Result<Self, Problem> {
        let key_type = rsa_type(n, e)?;
        let spki = encode_spki(n, e).map_err(|_| "its RSA numbers are out of range")?;
        Ok(Self::RsaPublic { spki, key_type })
    }

    pub(super) fn key_type(&self) -> KeyType {
        match self {
            Self::Oct(_) => KeyType::Oct256,
            Self::RsaPrivate { key_type, .. } | Self::RsaPublic { key_type, .. } => *key_type,
        }
    }

    pub(super) fn is_public_only(&self) -> bool {
        matches!(self, Self::RsaPublic { .. })
    }

    pub(super) fn algorithm(&self) -> WrapAlgorithm {
        self.key_type().algorithm()
    }

    /// The public half as `SubjectPublicKeyInfo` DER; `None` for a symmetric key.
    pub(super) fn spki_der(&self) -> Option<Vec<u8>> {
        match self {
            Self::Oct(_) => None,
            Self::RsaPublic { spki, .. } => Some(spki.clone()),
            Self::RsaPrivate { .. } => self
                .with_rsa_parts(|n, e, _| encode_spki(n, e).ok())
                .flatten(),
        }
    }

    /// Calls `with` with n, e and, where it is here, the private half.
    pub(super) fn with_rsa_parts<T>(
        &self,
        with: impl FnOnce(&[u8], &[u8], Option<&RsaPrivateParts<'_>>) -> T,
    ) -> Option<T> {
        match self {
            Self::Oct(_) => None,
            Self::RsaPrivate { pkcs8, .. } => {
                let info = PrivateKeyInfoRef::from_der(pkcs8).ok()?;
                let key = pkcs1::RsaPrivateKeyRef::from_der(info.private_key.as_bytes()).ok()?;
                let parts = RsaPrivateParts::of(&key);
                Some(with(parts.n, parts.e, Some(&parts)))
            }
            Self::RsaPublic { spki, .. } => {
                let info = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
                let key =
                    pkcs1::RsaPublicKeyRef::from_der(info.subject_public_key.as_bytes()?).ok()?;
                Some(with(
                    key.modulus.as_bytes(),
                    key.public_exponent.as_bytes(),
                    None,
                ))
            }
        }
    }

    pub(super) fn wrap(&self, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match self {
            Self::Oct(key) => crypto::key_wrap::wrap(key, plaintext),
            Self::RsaPrivate { .. } | Self::RsaPublic { .. } => {
                let spki = self.spki_der().ok_or(CryptoError)?;
                crypto::RsaPublicKey::from_spki_der(&spki)?.wrap_oaep(plaintext)
            }
        }
    }

    /// Fails on a public half.
    pub(super) fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        match self {
            Self::Oct(key) => crypto::key_wrap::unwrap(key, wrapped),
            Self::RsaPrivate { pkcs8, .. } => {
                crypto::RsaPrivateKey::from_pkcs8_der(pkcs8)?.unwrap_oaep(wrapped)
            }
            Self::RsaPublic { .. } => Err(CryptoError),
        }
    }

    /// Whether the key can be used: what it wraps it also unwraps, or its public half wraps at all.
    ///
    /// An imported key whose numbers don't belong together must not get as far as wrapping a DEK.
    pub(super) fn self_test(&self) -> Result<(), CryptoError> {
        let mut sample = Zeroizing::new([0; KEY_LEN]);
        crypto::random(&mut sample[..])?;
        let wrapped = self.wrap(&sample[..])?;
        if !self.is_public_only() && self.unwrap(&wrapped)?[..] != sample[..] {
            return Err(CryptoError);
        }
        if let Self::RsaPrivate { pkcs8, .. } = self {
            // One backend computes the numbers for the Chinese remainder theorem anew and so doesn't miss the
            // file's; the other uses them. A file must be good for both.
            let computed = crypto::RsaPrivateKey::from_pkcs8_der(pkcs8)?.to_pkcs8_der()?;
            let computed = Self::from_pkcs8_der(&computed).map_err(|_| CryptoError)?;
            if !self.is_same(&computed) {
                return Err(CryptoError);
            }
        }
        Ok(())
    }

    /// Whether both are the same key, halves included.
    pub(super) fn is_same(&self, other: &Material) -> bool {
        match (self, other) {
            (Self::Oct(a), Self::Oct(b)) => bool::from(a[..].ct_eq(&b[..])),
            (Self::RsaPrivate { pkcs8: a, .. }, Self::RsaPrivate { pkcs8: b, .. }) => {
                bool::from(a[..].ct_eq(&b[..]))
            }
            (Self::RsaPublic { spki: a, .. }, Self::RsaPublic { spki: b, .. }) => a == b,
            _ => false,
        }
    }
}

impl<'a> RsaPrivateParts<'a> {
    fn of(key: &pkcs1::RsaPrivateKeyRef<'a>) -> Self {
        Self {
            n: key.modulus.as_bytes(),
            e: key.public_exponent.as_bytes(),
            d: key.private_exponent.as_bytes(),
            p: key.prime1.as_bytes(),
            q: key.prime2.as_bytes(),
            dp: key.exponent1.as_bytes(),
            dq: key.exponent2.as_bytes(),
            qi: key.coefficient.as_bytes(),
        }
    }
}

fn encode_spki(n: &[u8], e: &[u8]) -> pkcs8::der::Result<Vec<u8>> {
    let key = pkcs1::RsaPublicKeyRef {
        modulus: UintRef::new(n)?,
        public_exponent: UintRef::new(e)?,
    }
    .to_der()?;
    SubjectPublicKeyInfoRef {
        algorithm: pkcs1::ALGORITHM_ID,
        subject_public_key: BitStringRef::from_bytes(&key)?,
    }
    .to_der()
}

fn rsa_type(n: &[u8], e: &[u8]) -> Result<KeyType, Problem> {
    let n = without_leading_zeros(n);
    if without_leading_zeros(e) != EXPONENT {
        return Err("its RSA public exponent is not 65537");
    }
    if n.last().is_none_or(|low| low % 2 == 0) {
        return Err("its RSA modulus is even");
    }
    match (n.len(), n[0] >> 7) {
        (384, 1) => Ok(KeyType::Rsa3072),
        (512, 1) => Ok(KeyType::Rsa4096),
        _ => Err("its RSA modulus has neither 3072 nor 4096 bits"),
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&b| b == 0).count();
    &number[zeros..]
}
