//! What a key's directory holds: its versions, in order.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::dir::{Dir, Presence};
use super::jwk::{self, Tombstone};
use super::material::Material;
use super::problem::{corrupt, unusable};
use super::{KeyType, TEMP_PREFIX, VersionState};
use crate::error::{Error, ErrorKind, Result};
use crate::key_id::{KeyId, KeyRef, is_version};

const KEY_SUFFIX: &str = ".jwk";
const DISABLED_SUFFIX: &str = ".disabled";
const DESTROYED_SUFFIX: &str = ".destroyed";

/// The files of one version.
pub(super) struct Files {
    pub(super) key: String,
    pub(super) disabled: String,
    pub(super) destroyed: String,
}

impl Files {
    pub(super) fn of(version: &str) -> Self {
        Self {
            key: format!("{version}{KEY_SUFFIX}"),
            disabled: format!("{version}{DISABLED_SUFFIX}"),
            destroyed: format!("{version}{DESTROYED_SUFFIX}"),
        }
    }
}

/// A key as its file has it.
pub(super) struct StoredKey {
    pub(super) seq: u64,
    pub(super) created: u64,
    pub(super) material: Material,
}

/// One version, whatever has become of it.
pub(super) struct Version {
    pub(super) id: KeyId,
    pub(super) state: VersionState,
    /// Absent where the file that says it is damaged or empty.
    pub(super) facts: Option<Facts>,
    /// Why a damaged version is called damaged.
    pub(super) damage: Option<Error>,
}

/// What is known of a version besides its key.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub(super) seq: u64,
    pub(super) created: u64,
    pub(super) key_type: KeyType,
    pub(super) public_only: bool,
}

/// All versions of a key, the oldest first.
pub(super) struct Versions {
    pub(super) all: Vec<Version>,
    /// Files that a killed process left half-written.
    pub(super) leftovers: Vec<String>,
}

impl Versions {
    pub(super) fn read(dir: &Dir, key: &KeyRef) -> Result<Self> {
        let names: BTreeSet<String> = dir.names()?.into_iter().collect();
        let leftovers = names
            .iter()
            .filter(|n| n.starts_with(TEMP_PREFIX))
            .cloned()
            .collect();
        let versions: BTreeSet<&str> = names
            .iter()
            .filter_map(|n| {
                n.strip_suffix(KEY_SUFFIX)
                    .or(n.strip_suffix(DESTROYED_SUFFIX))
            })
            .filter(|version| is_version(version))
            .collect();
        let mut all = Vec::with_capacity(versions.len());
        for version in versions {
            all.extend(Version::read(dir, key.with_version(version)?)?);
        }
        // The version comes last: it orders what two restored backups numbered alike.
        all.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(Self { all, leftovers })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The newest version, destroyed ones included; an error if a damaged one might be newer.
    pub(super) fn newest(&self) -> Result<Option<&Version>> {
        if let Some(damage) = self.all.iter().find_map(|v| v.damage.as_ref()) {
            return Err(damage.clone());
        }
        Ok(self.all.iter().rev().find(|v| v.facts.is_some()))
    }

    pub(super) fn next_seq(&self) -> Result<u64> {
        let last = self
            .all
            .iter()
            .filter_map(|v| v.facts)
            .map(|f| f.seq)
            .max()
            .unwrap_or(0);
        match last.checked_add(1) {
            Some(seq) if seq <= jwk::MAX_INTEGER => Ok(seq),
            _ => Err(unusable(
                "its cmkit_seq can't grow any more; use another key name".to_owned(),
            )),
        }
    }
}

impl Version {
    /// `None`: there is no such version.
    pub(super) fn read(dir: &Dir, id: KeyId) -> Result<Option<Self>> {
        let files = Files::of(id.version());
        if dir.presence(&files.destroyed)? != Presence::Absent {
            return Self::read_destroyed(dir, id, &files).map(Some);
        }
        match read_key(dir, &id) {
            Ok(Some(key)) => {
                let disabled = dir.presence(&files.disabled)? != Presence::Absent;
                let state = if disabled {
                    VersionState::Disabled
                } else {
                    VersionState::Enabled
                };
                let facts = Some(key.facts());
                Ok(Some(Self {
                    id,
                    state,
                    facts,
                    damage: None,
                }))
            }
            // It was destroyed since the directory was listed.
            Ok(None) if dir.presence(&files.destroyed)? != Presence::Absent => {
                Self::read_destroyed(dir, id, &files).map(Some)
            }
            Ok(None) => Ok(None),
            Err(error) if error.kind() == ErrorKind::KeyUnusable => {
                let damage = Some(error);
                Ok(Some(Self {
                    id,
                    state: VersionState::Damaged,
                    facts: None,
                    damage,
                }))
            }
            Err(error) => Err(error),
        }
    }

    fn read_destroyed(dir: &Dir, id: KeyId, files: &Files) -> Result<Self> {
        let state = match dir.presence(&files.key)? {
            Presence::Absent => VersionState::Destroyed,
            _ => VersionState::DestroyInterrupted,
        };
        // A tombstone stays one whatever is in it.
        let text = dir.read(&files.destroyed).ok().flatten();
        let facts = text
            .and_then(|text| Tombstone::parse(&text))
            .and_then(|t| t.facts());
        Ok(Self {
            id,
            state,
            facts,
            damage: None,
        })
    }

    fn order(&self) -> (u64, u64, &str) {
        let (seq, created) = self.facts.map_or((0, 0), |f| (f.seq, f.created));
        (seq, created, self.id.version())
    }
}

impl StoredKey {
    pub(super) fn facts(&self) -> Facts {
        Facts {
            seq: self.seq,
            created: self.created,
            key_type: self.material.key_type(),
            public_only: self.material.is_public_only(),
        }
    }
}

impl Tombstone {
    fn facts(&self) -> Option<Facts> {
        Some(Facts {
            seq: self.seq,
            created: self.created,
            key_type: self.key_type()?,
            public_only: self.public_only,
        })
    }
}

/// Reads a version's key file. `None`: it has none.
pub(super) fn read_key(dir: &Dir, id: &KeyId) -> Result<Option<StoredKey>> {
    let name = Files::of(id.version()).key;
    let path = || -> PathBuf { dir.path().join(&name) };
    let Some(text) = dir.read(&name)? else {
        return Ok(None);
    };
    let key = jwk::parse(&text).map_err(|problem| corrupt(&path(), problem))?;
    if key.kid.as_deref() != Some(id.as_str()) {
        return Err(corrupt(
            &path(),
            "its kid is not the name that the file has",
        ));
    }
    let (Some(seq), Some(created), true) = (key.seq, key.created, key.has_algorithm) else {
        return Err(corrupt(&path(), "it lacks alg, cmkit_seq or cmkit_created"));
    };
    Ok(Some(StoredKey {
        seq,
        created,
        material: key.material,
    }))
}
