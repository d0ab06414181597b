//! Keys on their way in and out: import, export, restore from a backup.

use pkcs8::der::pem;
use zeroize::Zeroizing;

use super::dir::Presence;
use super::jwk::{self, Jwk};
use super::manage::{destroyed, local_key, no_version, tidy, unix_now};
use super::material::{Material, Problem};
use super::scan::{self, Files, StoredKey, Version};
use super::{Dir, KEYS_DIR, LocalKeyProvider, MAX_FILE_LEN, VersionState, random_hex};
use crate::error::{Error, Result};
use crate::key_id::{KeyId, KeyRef};
use crate::secret::SecretBytes;

/// A key that is to be imported, and what came with it.
struct Import {
    material: Material,
    kid: Option<String>,
    seq: Option<u64>,
    created: Option<u64>,
}

impl LocalKeyProvider {
    /// Takes a key in from elsewhere, as a version of `key`, and makes the directory if it is missing.
    ///
    /// `text` is one of, and at most 64 KiB long:
    ///
    /// * a JSON Web Key (RFC 7517): `oct` with 256 bits, or `RSA` with 3072 or 4096, private or public;
    /// * PEM of an RSA private key in PKCS#8 (`BEGIN PRIVATE KEY`, without a password);
    /// * PEM of an RSA public key (`BEGIN PUBLIC KEY`), which then can wrap and not unwrap.
    ///
    /// Which version it becomes: the one in `key`, if there is one; else the one in the `kid` of a JWK, if that is
    /// of this key, so that what [`export`](Self::export) wrote is restored under its old id and opens its
    /// envelopes again; else a new one. A new version is the newest one from now on. A restored one takes its old
    /// place in the order.
    ///
    /// A key that stands under this version already is left as it is. If that is the very same key, that
    /// is a success. Only a file that is damaged is replaced, and then kept beside under another name.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: it is no such key, or belongs to another name; the message says why.
    /// * [`Error::AlreadyExists`]: the version is taken by another key, or by the other half of this one.
    /// * [`Error::Policy`]: the version was destroyed here; the message says how to bring it back all the same.
    /// * [`Error::Provider`] of kind [`Denied`](crate::ProviderErrorKind::Denied): the directory isn't private.
    /// * [`Error::Io`]: it can't be written.
    pub fn import(&self, key: &KeyRef, text: &[u8]) -> Result<KeyId> {
        self.check_scheme(key)?;
        let import = read_import(text).map_err(|problem| {
            Error::invalid(format!("the key to import is not usable: {problem}"))
        })?;
        let id = import.version_for(key)?;
        import.material.self_test().map_err(|_| {
            Error::invalid("the key to import is not usable: its numbers don't belong together")
        })?;
        let key = local_key(key.name())?;
        let dir = Dir::create_all(self.dir())?
            .create_child(KEYS_DIR)?
            .create_child(key.name())?;
        let _lock = dir.lock()?;
        let versions = tidy(&dir, &key)?;
        let Some(id) = id else {
            return self.add(&dir, &key, &versions, &import.material);
        };
        if self.make_way(&dir, &id, &import)? {
            let seq = match import.seq {
                Some(seq) => seq,
                None => versions.next_seq()?,
            };
            let created = import.created.unwrap_or_else(unix_now);
            self.publish_key(&dir, &id, seq, created, &import.material)?;
        }
        Ok(id)
    }

    /// Whether a file for this version is to be written: not if the same key is there.
    fn make_way(&self, dir: &Dir, id: &KeyId, import: &Import) -> Result<bool> {
        let Some(version) = Version::read(dir, id.clone())? else {
            return Ok(true);
        };
        let files = Files::of(id.version());
        match version.state {
            VersionState::Destroyed | VersionState::DestroyInterrupted => Err(Error::Policy {
                problem: format!(
                    "key {id} was destroyed here on purpose; to bring it back all the same, first remove {}",
                    dir.path().join(&files.destroyed).display()
                ),
            }),
            VersionState::Damaged => {
                let aside = format!("{}.damaged-{}", files.key, random_hex()?);
                dir.rename_new(&files.key, &aside)
                    .map_err(|e| Error::io_at("rename", &dir.path().join(&files.key), e))?;
                Ok(true)
            }
            VersionState::Enabled | VersionState::Disabled => {
                let stored = scan::read_key(dir, id)?.ok_or_else(|| no_version(id))?;
                if import.is_same(&stored) {
                    // The process that wrote it may have died before it was on disk.
                    self.make_durable(dir, id)?;
                    return Ok(false);
                }
                Err(Error::AlreadyExists {
                    what: format!("key {id}, with other content,"),
                })
            }
        }
    }

    /// The whole key, secret, as the JSON Web Key that its file holds: for a backup.
    /// [`import`](Self::import) restores it. Disabled versions are exported too.
    ///
    /// # Errors
    /// * [`Error::Provider`] of kind [`NotFound`](crate::ProviderErrorKind::NotFound): there is no such version,
    ///   or it is destroyed; [`Unusable`](crate::ProviderErrorKind::Unusable): its file is damaged;
    ///   [`Denied`](crate::ProviderErrorKind::Denied): something isn't private.
    /// * [`Error::Io`]: it can't be read.
    pub fn export(&self, id: &KeyId) -> Result<SecretBytes> {
        let key = self.stored_key(id)?;
        Ok(jwk::write(id, key.seq, key.created, &key.material).into())
    }

    /// The public half of an RSA key, as PEM (`BEGIN PUBLIC KEY`, `SubjectPublicKeyInfo`): for other programs.
    ///
    /// It doesn't say which version it is; [`export_public_jwk`](Self::export_public_jwk) does.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: the key is symmetric, and has no public half.
    /// * As [`export`](Self::export).
    pub fn export_public(&self, id: &KeyId) -> Result<String> {
        let spki = self.public_half(id)?.1;
        pem::encode_string("PUBLIC KEY", pem::LineEnding::LF, &spki).map_err(|_| Error::Internal {
            problem: "the public key can't be encoded",
        })
    }

    /// The public half of an RSA key, as a JSON Web Key with its `kid`.
    ///
    /// Where [`import`](Self::import) takes it in, it stands under the same version, and so what is wrapped there
    /// opens here, where the private half is.
    ///
    /// # Errors
    /// As [`export_public`](Self::export_public).
    pub fn export_public_jwk(&self, id: &KeyId) -> Result<String> {
        let (key, spki) = self.public_half(id)?;
        let encoded = || -> Result<String, Problem> {
            let text = jwk::write(id, key.seq, key.created, &Material::from_spki_der(&spki)?);
            String::from_utf8(text.to_vec()).map_err(|_| "it is not text")
        };
        encoded().map_err(|_| Error::Internal {
            problem: "the public key can't be encoded",
        })
    }

    fn public_half(&self, id: &KeyId) -> Result<(StoredKey, Vec<u8>)> {
        let key = self.stored_key(id)?;
        match key.material.spki_der() {
            Some(spki) => Ok((key, spki)),
            None => Err(Error::invalid(format!(
                "key {id} is symmetric and has no public half; a key of type rsa-3072 has one"
            ))),
        }
    }

    /// The key of a version, enabled or disabled.
    fn stored_key(&self, id: &KeyId) -> Result<StoredKey> {
        let dir = self.existing_key_dir(id)?;
        if dir.presence(&Files::of(id.version()).destroyed)? != Presence::Absent {
            return Err(destroyed(id).into());
        }
        scan::read_key(&dir, id)?.ok_or_else(|| no_version(id).into())
    }
}

impl Import {
    /// The version that this key has to get; `None` for any new one.
    fn version_for(&self, key: &KeyRef) -> Result<Option<KeyId>> {
        let wanted = key
            .version()
            .map(|version| key.with_version(version))
            .transpose()?;
        let Some(kid) = self.kid.as_deref().filter(|kid| kid.starts_with("local:")) else {
            return Ok(wanted);
        };
        let Ok(kid) = KeyId::parse(kid) else {
            return Err(Error::invalid(
                "the key to import is not usable: its kid begins with local: and is no key id",
            ));
        };
        if !kid.same_key(key) {
            return Err(Error::invalid(format!(
                "the file has the key {kid}; import it as {}",
                kid.without_version()
            )));
        }
        match wanted {
            Some(wanted) if wanted != kid => Err(Error::invalid(format!(
                "the file has the key {kid}, not {wanted}"
            ))),
            _ => Ok(Some(kid)),
        }
    }

    fn is_same(&self, stored: &StoredKey) -> bool {
        self.material.is_same(&stored.material)
            && self.seq.is_none_or(|seq| seq == stored.seq)
            && self.created.is_none_or(|created| created == stored.created)
    }
}

fn read_import(text: &[u8]) -> Result<Import, Problem> {
    let text = text.trim_ascii();
    if text.len() > MAX_FILE_LEN {
        return Err("it is longer than 64 KiB");
    }
    if text.starts_with(b"{") {
        let Jwk {
            material,
            kid,
            seq,
            created,
            ..
        } = jwk::parse(text)?;
        return Ok(Import {
            material,
            kid,
            seq,
            created,
        });
    }
    let material = read_pem(text)?;
    Ok(Import {
        material,
        kid: None,
        seq: None,
        created: None,
    })
}

fn read_pem(text: &[u8]) -> Result<Material, Problem> {
    let malformed = "its PEM is malformed, or there is something before or after it";
    match pem_label(text) {
        Some("PRIVATE KEY" | "PUBLIC KEY") => {}
        Some("ENCRYPTED PRIVATE KEY") => {
            return Err("it has a password; take it off by `openssl pkcs8 -in FILE -out NEW`");
        }
        Some("RSA PRIVATE KEY") => {
            return Err("it is PKCS#1; run `openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW`");
        }
        Some("RSA PUBLIC KEY") => {
            return Err(
                "it is PKCS#1; run `openssl rsa -RSAPublicKey_in -in FILE -pubout -out NEW`",
            );
        }
        Some("CERTIFICATE") => {
            return Err("it is a certificate; run `openssl x509 -in FILE -noout -pubkey -out NEW`");
        }
        _ => {
            return Err(
                "it is neither a JSON Web Key nor PEM with `BEGIN PRIVATE KEY` or `BEGIN PUBLIC KEY`",
            );
        }
    }
    // Sized beforehand: a buffer that grows would leave pieces of the key behind.
    let mut buffer = Zeroizing::new(vec![0; text.len()]);
    let mut decoder = pem::Decoder::new_detect_wrap(text).map_err(|_| malformed)?;
    let len = decoder.remaining_len();
    let der = buffer.get_mut(..len).ok_or(malformed)?;
    decoder.decode(der).map_err(|_| malformed)?;
    match decoder.type_label() {
        "PRIVATE KEY" => Material::from_pkcs8_der(der),
        _ => Material::from_spki_der(der),
    }
}

/// What the first line says the PEM is.
fn pem_label(text: &[u8]) -> Option<&str> {
    let line = text.split(|&b| b == b'\n').next()?.trim_ascii_end();
    std::str::from_utf8(line)
        .ok()?
        .strip_prefix("-----BEGIN ")?
        .strip_suffix("-----")
}
