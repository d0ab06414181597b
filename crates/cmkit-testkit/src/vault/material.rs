//! What a key version is made of, and the two operations on it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesKek, KeyWrap as _};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};

use crate::random;

/// Keys made ahead, of each size that was asked for.
const AHEAD: usize = 2;

/// What a key version is made of.
pub(crate) enum Material {
    Rsa(Rsa),
    Oct(Vec<u8>),
}

pub(crate) struct Rsa {
    private: OaepPrivateDecryptingKey,
    public: OaepPublicEncryptingKey,
    /// Big-endian, without leading zeros.
    pub(crate) n: Vec<u8>,
    pub(crate) e: Vec<u8>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa(_) => "RSA",
            Self::Oct(_) => "oct",
        })
    }
}

/// Why an operation was refused: the algorithm isn't for this key, or the value is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Algorithm,
    Value,
}

impl Material {
    fn rsa(bits: usize) -> Option<Self> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return None,
        };
        let private = PrivateDecryptingKey::generate(size).ok()?;
        let public = private.public_key();
        let (n, e) = numbers(&public)?;
        Some(Self::Rsa(Rsa {
            private: OaepPrivateDecryptingKey::new(private).ok()?,
            public: OaepPublicEncryptingKey::new(public).ok()?,
            n,
            e,
        }))
    }

    pub(crate) fn oct(bits: usize) -> Option<Self> {
        matches!(bits, 128 | 192 | 256).then(|| Self::Oct(random::bytes(bits / 8)))
    }

    pub(crate) fn wrap(&self, algorithm: &str, value: &[u8]) -> Result<Vec<u8>, Refused> {
        match self {
            Self::Rsa(key) => {
                let oaep = oaep(algorithm)?;
                let mut out = vec![0; key.public.ciphertext_size()];
                let done = key.public.encrypt(oaep, value, &mut out, None);
                Ok(done.map_err(|_| Refused::Value)?.to_vec())
            }
            Self::Oct(key) => {
                let kek = kek(algorithm, key)?;
                let mut out = vec![0; value.len() + 8];
                Ok(kek
                    .wrap(value, &mut out)
                    .map_err(|_| Refused::Value)?
                    .to_vec())
            }
        }
    }

    pub(crate) fn unwrap(&self, algorithm: &str, value: &[u8]) -> Result<Vec<u8>, Refused> {
        match self {
            Self::Rsa(key) => {
                let oaep = oaep(algorithm)?;
                let mut out = vec![0; key.private.min_output_size()];
                let done = key.private.decrypt(oaep, value, &mut out, None);
                Ok(done.map_err(|_| Refused::Value)?.to_vec())
            }
            Self::Oct(key) => {
                let kek = kek(algorithm, key)?;
                let mut out = vec![0; value.len()];
                Ok(kek
                    .unwrap(value, &mut out)
                    .map_err(|_| Refused::Value)?
                    .to_vec())
            }
        }
    }
}

/// The service has RSA1_5 too. Nothing that cmkit is tested with may use it.
fn oaep(algorithm: &str) -> Result<&'static OaepAlgorithm, Refused> {
    match algorithm {
        "RSA-OAEP-256" => Ok(&OAEP_SHA256_MGF1SHA256),
        "RSA-OAEP" => Ok(&OAEP_SHA1_MGF1SHA1),
        _ => Err(Refused::Algorithm),
    }
}

fn kek(algorithm: &str, key: &[u8]) -> Result<AesKek, Refused> {
    let cipher = match (algorithm, key.len()) {
        ("A256KW", 32) => &AES_256,
        ("A128KW", 16) => &AES_128,
        _ => return Err(Refused::Algorithm),
    };
    AesKek::new(cipher, key).map_err(|_| Refused::Algorithm)
}

fn numbers(public: &PublicEncryptingKey) -> Option<(Vec<u8>, Vec<u8>)> {
    let der: PublicKeyX509Der<'_> = public.as_der().ok()?;
    let info = spki::SubjectPublicKeyInfoRef::try_from(der.as_ref()).ok()?;
    let key = pkcs1::RsaPublicKeyRef::try_from(info.subject_public_key.as_bytes()?).ok()?;
    Some((
        key.modulus.as_bytes().to_vec(),
        key.public_exponent.as_bytes().to_vec(),
    ))
}

/// RSA keys made ahead, for all fake vaults of this process: a large one takes a second.
#[derive(Default)]
struct Pool {
    ready: HashMap<usize, Vec<Material>>,
    filling: HashSet<usize>,
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

/// An RSA key nobody has had before; `None` for a size that the service doesn't have.
pub(crate) fn rsa(bits: usize) -> Option<Material> {
    let ready = pool().ready.get_mut(&bits).and_then(Vec::pop);
    let material = ready.or_else(|| Material::rsa(bits))?;
    if pool().filling.insert(bits) {
        thread::spawn(move || fill(bits));
    }
    Some(material)
}

fn fill(bits: usize) {
    while pool().ready.entry(bits).or_default().len() < AHEAD {
        if let Some(material) = Material::rsa(bits) {
            pool().ready.entry(bits).or_default().push(material);
        }
    }
    pool().filling.remove(&bits);
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_give_back_what_they_wrapped() {
        let rsa = Material::rsa(2048).unwrap();
        let wrapped = rsa.wrap("RSA-OAEP-256", &[7; 72]).unwrap();
        assert_eq!(wrapped.len(), 256);
        assert_eq!(rsa.unwrap("RSA-OAEP-256", &wrapped).unwrap(), [7; 72]);
        let oct = Material::oct(256).unwrap();
        let wrapped = oct.wrap("A256KW", &[7; 72]).unwrap();
        assert_eq!(wrapped.len(), 80);
        assert_eq!(oct.unwrap("A256KW", &wrapped).unwrap(), [7; 72]);
    }

    #[test]
    fn algorithms_are_for_their_own_keys() {
        let rsa = Material::rsa(2048).unwrap();
        for algorithm in ["RSA1_5", "A256KW", "rsa-oaep-256", ""] {
            assert_eq!(rsa.wrap(algorithm, &[7; 32]), Err(Refused::Algorithm));
        }
        let short = Material::oct(128).unwrap();
        assert_eq!(short.wrap("A256KW", &[7; 32]), Err(Refused::Algorithm));
    }

    #[test]
    fn what_was_changed_is_refused() {
        let rsa = Material::rsa(2048).unwrap();
        let mut wrapped = rsa.wrap("RSA-OAEP-256", &[7; 72]).unwrap();
        wrapped[0] ^= 1;
        assert_eq!(rsa.unwrap("RSA-OAEP-256", &wrapped), Err(Refused::Value));
        assert_eq!(rsa.unwrap("RSA-OAEP-256", &[]), Err(Refused::Value));
        assert_eq!(rsa.wrap("RSA-OAEP-256", &[7; 191]), Err(Refused::Value));
        let oct = Material::oct(256).unwrap();
        for value in [&[][..], &[1; 8], &[1; 23], &[1; 80]] {
            assert_eq!(oct.unwrap("A256KW", value), Err(Refused::Value));
        }
        assert_eq!(oct.wrap("A256KW", &[7; 71]), Err(Refused::Value));
    }

    #[test]
    fn sizes_the_service_lacks_are_refused() {
        assert!(Material::rsa(1024).is_none());
        assert!(Material::oct(512).is_none());
    }
}
