//! Making, rotating, disabling and destroying keys. Each change is whole or didn't happen, and is on disk
//! when it is reported.

use std::time::{SystemTime, UNIX_EPOCH};

use super::dir::{Dir, Presence};
use super::jwk::{self, Tombstone};
use super::material::Material;
use super::problem::unusable;
use super::scan::{Files, Version, Versions};
use super::{KEYS_DIR, KeyInfo, KeyType, LocalKeyProvider, VersionState, random_hex};
use crate::error::{Error, ProviderError, ProviderErrorKind, Result};
use crate::key_id::{KeyId, KeyRef, is_name};

impl LocalKeyProvider {
    /// Makes the first version of a key, and the directory if it is missing.
    ///
    /// The key is on disk when this returns. An RSA key takes up to some seconds to make.
    ///
    /// # Errors
    /// * [`Error::AlreadyExists`]: there is a version of it, be it a disabled or destroyed one.
    /// * [`Error::InvalidArgument`]: the name isn't 1 to 127 letters, digits or hyphens.
    /// * [`Error::Provider`] of kind [`Denied`](ProviderErrorKind::Denied): the directory isn't private.
    /// * [`Error::Io`]: it can't be written.
    pub fn create_key(&self, name: &str, key_type: KeyType) -> Result<KeyId> {
        match self.create_key_if_absent(name, key_type)? {
            Some(id) => Ok(id),
            None => Err(Error::AlreadyExists {
                what: format!(
                    "key local:{name} (for a new version of it run `cmkit key rotate {name}`)"
                ),
            }),
        }
    }

    /// Makes the first version of a key unless there is one, be it a disabled or destroyed one; then `None`.
    ///
    /// Of several processes that do so at once, exactly one gets an id.
    ///
    /// # Errors
    /// As [`create_key`](Self::create_key), without `AlreadyExists`.
    pub fn create_key_if_absent(&self, name: &str, key_type: KeyType) -> Result<Option<KeyId>> {
        let key = local_key(name)?;
        // A look before the work; the look that counts is under the lock.
        if let Some(dir) = self.key_dir(&key)?
            && !Versions::read(&dir, &key)?.is_empty()
        {
            return Ok(None);
        }
        let material = generate(key_type)?;
        let dir = Dir::create_all(self.dir())?
            .create_child(KEYS_DIR)?
            .create_child(name)?;
        let _lock = dir.lock()?;
        let versions = tidy(&dir, &key)?;
        if !versions.is_empty() {
            return Ok(None);
        }
        self.add(&dir, &key, &versions, &material).map(Some)
    }

    /// Makes a new version of a key, of the type that its newest one has. Wrapping uses it from now on.
    ///
    /// # Errors
    /// * [`Error::Provider`] of kind [`NotFound`](ProviderErrorKind::NotFound): there is no such key;
    ///   [`Unusable`](ProviderErrorKind::Unusable): only its public half is here, or a version is damaged;
    ///   [`Denied`](ProviderErrorKind::Denied): the directory isn't private.
    /// * [`Error::Io`]: it can't be written.
    pub fn rotate(&self, name: &str) -> Result<KeyId> {
        let key = local_key(name)?;
        let dir = self.existing_key_dir(&key)?;
        let mut key_type = type_for_rotation(&key, &Versions::read(&dir, &key)?)?;
        let mut material = generate(key_type)?;
        let _lock = dir.lock()?;
        let versions = tidy(&dir, &key)?;
        let type_now = type_for_rotation(&key, &versions)?;
        if type_now != key_type {
            key_type = type_now;
            material = generate(key_type)?;
        }
        self.add(&dir, &key, &versions, &material)
    }

    /// Takes a key version out of use until it is enabled again: it neither wraps nor unwraps.
    ///
    /// Cached DEKs of it stop serving at once in this process and within a second in others. To disable a
    /// disabled version does nothing.
    ///
    /// # Errors
    /// * [`Error::Provider`] of kind [`NotFound`](ProviderErrorKind::NotFound): there is no such version,
    ///   or it is destroyed; [`Denied`](ProviderErrorKind::Denied): the directory isn't private.
    /// * [`Error::Io`]: it can't be written.
    pub fn disable(&self, id: &KeyId) -> Result<()> {
        self.change(id, |dir, files| dir.publish(&files.disabled, b"").map(drop))
    }

    /// Puts a disabled key version back into use. To enable an enabled one does nothing.
    ///
    /// # Errors
    /// As [`disable`](Self::disable).
    pub fn enable(&self, id: &KeyId) -> Result<()> {
        self.change(id, |dir, files| {
            dir.remove(&files.disabled)?;
            dir.sync()
        })
    }

    fn change(&self, id: &KeyId, apply: impl FnOnce(&Dir, &Files) -> Result<()>) -> Result<()> {
        let dir = self.existing_key_dir(id)?;
        let _lock = dir.lock()?;
        tidy(&dir, &id.without_version())?;
        let files = Files::of(id.version());
        if dir.presence(&files.destroyed)? != Presence::Absent {
            return Err(destroyed(id).into());
        }
        if dir.presence(&files.key)? == Presence::Absent {
            return Err(no_version(id).into());
        }
        let applied = apply(&dir, &files);
        self.states.forget();
        applied
    }

    /// Removes a key version for ever. Whatever is encrypted under it alone is lost, unless there is a backup
    /// of the key.
    ///
    /// The version is remembered as destroyed and never used again. What the file system and the disk keep
    /// of a removed file is out of this library's reach. To destroy a destroyed version does nothing.
    ///
    /// # Errors
    /// * [`Error::Provider`] of kind [`NotFound`](ProviderErrorKind::NotFound): there is no such version;
    ///   [`Denied`](ProviderErrorKind::Denied): the directory isn't private.
    /// * [`Error::Io`]: it can't be written.
    pub fn destroy(&self, id: &KeyId) -> Result<()> {
        let dir = self.existing_key_dir(id)?;
        let _lock = dir.lock()?;
        tidy(&dir, &id.without_version())?;
        let Some(version) = Version::read(&dir, id.clone())? else {
            return Err(no_version(id).into());
        };
        let files = Files::of(id.version());
        // The tombstone first: a crash in between leaves a version that is refused, not one that was
        // never heard of.
        let tombstone = match version.facts {
            Some(f) => Tombstone::write(id, f.seq, f.created, f.key_type, f.public_only),
            None => Default::default(),
        };
        let removed = dir
            .publish(&files.destroyed, &tombstone)
            .and_then(|_| dir.remove(&files.key))
            .and_then(|_| dir.remove(&files.disabled))
            .and_then(|_| dir.sync());
        self.states.forget();
        removed
    }

    /// All versions of all keys, by name and then by age, the oldest first; destroyed ones included.
    ///
    /// An empty list if there is no key directory yet. A damaged version is listed as such.
    ///
    /// # Errors
    /// * [`Error::Provider`] of kind [`Denied`](ProviderErrorKind::Denied): something isn't private.
    /// * [`Error::Io`]: it can't be read.
    pub fn list(&self) -> Result<Vec<KeyInfo>> {
        let Some(keys) = self.keys_dir()? else {
            return Ok(Vec::new());
        };
        let mut names = keys.names()?;
        names.retain(|name| is_name(name));
        names.sort_unstable();
        let mut infos = Vec::new();
        for name in names {
            if let Some(dir) = keys.child(&name)? {
                infos.extend(infos_of(&Versions::read(&dir, &local_key(&name)?)?));
            }
        }
        Ok(infos)
    }

    /// The versions of a key, the oldest first; or one of them, if `key` has a version.
    ///
    /// # Errors
    /// * [`Error::Provider`] of kind [`NotFound`](ProviderErrorKind::NotFound): there is no such key;
    ///   [`Denied`](ProviderErrorKind::Denied): something isn't private.
    /// * [`Error::Io`]: it can't be read.
    pub fn show(&self, key: &KeyRef) -> Result<Vec<KeyInfo>> {
        let dir = self.existing_key_dir(key)?;
        let mut infos = infos_of(&Versions::read(&dir, &key.without_version())?);
        infos.retain(|info| {
            key.version()
                .is_none_or(|version| info.id.version() == version)
        });
        if infos.is_empty() {
            return Err(no_key(key, self.dir()).into());
        }
        Ok(infos)
    }

    /// Puts a new version on disk. The caller holds the lock.
    pub(super) fn add(
        &self,
        dir: &Dir,
        key: &KeyRef,
        versions: &Versions,
        material: &Material,
    ) -> Result<KeyId> {
        let seq = versions.next_seq()?;
        loop {
            let id = key.with_version(&random_hex()?)?;
            // Never seen to happen with 128 random bits, and cheap to rule out.
            if versions.all.iter().any(|v| v.id == id) {
                continue;
            }
            self.publish_key(dir, &id, seq, unix_now(), material)?;
            return Ok(id);
        }
    }

    /// Puts a key file on disk, and everything that leads to it.
    pub(super) fn publish_key(
        &self,
        dir: &Dir,
        id: &KeyId,
        seq: u64,
        created: u64,
        material: &Material,
    ) -> Result<()> {
        let text = jwk::write(id, seq, created, material);
        if !dir.publish(&Files::of(id.version()).key, &text)? {
            return Err(Error::AlreadyExists {
                what: format!("key {id}"),
            });
        }
        dir.sync_ancestors()?;
        self.states.forget();
        Ok(())
    }
}

/// The key of this name, if it is a name.
pub(super) fn local_key(name: &str) -> Result<KeyRef> {
    if !is_name(name) {
        return Err(Error::invalid(format!(
            "key name {:?}: it must be 1 to 127 letters, digits or hyphens",
            name.chars().take(130).collect::<String>()
        )));
    }
    KeyRef::local(name)
}

/// Reads the versions and removes what killed processes left. The caller holds the lock.
pub(super) fn tidy(dir: &Dir, key: &KeyRef) -> Result<Versions> {
    let versions = Versions::read(dir, key)?;
    for leftover in &versions.leftovers {
        // One that can't be removed is in nobody's way.
        let _ = dir.remove(leftover);
    }
    Ok(versions)
}

fn generate(key_type: KeyType) -> Result<Material> {
    Material::generate(key_type).map_err(|_| Error::Internal {
        problem: "the key can't be generated",
    })
}

fn type_for_rotation(key: &KeyRef, versions: &Versions) -> Result<KeyType> {
    let Some(newest) = versions.newest()? else {
        return Err(ProviderError::new(
            ProviderErrorKind::NotFound,
            format!(
                "it has no version to take the type from; run `cmkit key create {}`",
                key.name()
            ),
        )
        .on_key(key)
        .into());
    };
    match newest.facts {
        Some(facts) if facts.public_only => Err(unusable(format!(
            "key {key}: only its public half is here; rotate it where its private half is and import \
             the new public key"
        ))),
        Some(facts) => Ok(facts.key_type),
        None => Err(no_version(&newest.id).into()),
    }
}

fn infos_of(versions: &Versions) -> Vec<KeyInfo> {
    let newest = versions.newest().ok().flatten().map(|v| &v.id);
    versions
        .all
        .iter()
        .map(|version| KeyInfo {
            newest: newest == Some(&version.id),
            key_type: version.facts.map(|f| f.key_type),
            created: version.facts.map(|f| f.created),
            public_only: version.facts.is_some_and(|f| f.public_only),
            state: version.state,
            id: version.id.clone(),
        })
        .collect()
}

pub(super) fn no_key(key: &KeyRef, dir: &std::path::Path) -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::NotFound,
        format!(
            "there is no such key in {}; `cmkit key list` shows those that are there, `cmkit key create \
             {}` makes it",
            dir.display(),
            key.name()
        ),
    )
    .on_key(key)
}

pub(super) fn no_version(id: &KeyId) -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::NotFound,
        format!(
            "there is no such version; `cmkit key show local:{}` shows those that are there, a backup \
             may have it",
            id.name()
        ),
    )
    .on_key(id)
}

pub(super) fn destroyed(id: &KeyId) -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::NotFound,
        "this version was destroyed; what is encrypted under it alone can't be read any more",
    )
    .on_key(id)
}

pub(super) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}

impl VersionState {
    /// Why a version in this state doesn't wrap or unwrap; `None` if it does.
    pub(super) fn refusal(self, id: &KeyId) -> Option<ProviderError> {
        match self {
            Self::Enabled | Self::Damaged => None,
            Self::Disabled => Some(
                ProviderError::new(
                    ProviderErrorKind::Disabled,
                    format!("this version is disabled; run `cmkit key enable {id}` to use it again"),
                )
                .on_key(id),
            ),
            Self::Destroyed => Some(destroyed(id)),
            Self::DestroyInterrupted => Some(
                ProviderError::new(
                    ProviderErrorKind::Disabled,
                    format!(
                        "this version was being destroyed and its key file is still there; run `cmkit \
                         key delete --yes-destroy {id}` to finish, or remove its .destroyed file to \
                         keep the key"
                    ),
                )
                .on_key(id),
            ),
        }
    }
}
