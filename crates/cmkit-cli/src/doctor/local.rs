//! The same for a key of the key directory.

use cmkit::{
    KeyId, KeyInfo, KeyProvider, KeyRef, LocalKeyProvider, UnwrapRequest, VersionState, WrapRequest,
};
use cmkit_azure::Outcome;

use super::{Examined, Row};
use crate::failure::Result;
use crate::keys::Home;

/// What is wrapped for a trial is no secret.
const PROBE: [u8; 72] = [0x5A; 72];

pub(super) fn examine(home: &Home, key: &KeyRef) -> Result<Examined> {
    let provider = home.provider()?;
    let mut found = Examined {
        key: key.to_string(),
        by: format!("the key directory {}", provider.dir().display()),
        rows: Vec::new(),
    };
    let versions = match provider.show(key) {
        Ok(versions) => versions,
        Err(e) => {
            found.row("get", Outcome::Fail, e.to_string());
            found.skip(
                &["enabled", "key type and size", "wrap", "unwrap"],
                "not without the key",
            );
            return Ok(found);
        }
    };
    let tried = match key.version() {
        Some(_) => versions.first(),
        None => versions.iter().find(|version| version.newest),
    };
    let Some(tried) = tried else {
        let detail =
            "it has no version to wrap with; make one with `cmkit key rotate`, or enable one";
        found.row("get", Outcome::Fail, detail.to_owned());
        found.skip(
            &["enabled", "key type and size", "wrap", "unwrap"],
            "not without a version",
        );
        return Ok(found);
    };
    found.key = tried.id.to_string();
    found.row(
        "get",
        Outcome::Pass,
        format!("version {}", tried.id.version()),
    );
    found.properties(tried);
    found.try_out(&provider, &tried.id);
    Ok(found)
}

impl Examined {
    fn row(&mut self, check: &'static str, outcome: Outcome, detail: String) {
        self.rows.push(Row {
            check,
            outcome,
            detail,
        });
    }

    fn skip(&mut self, checks: &[&'static str], why: &str) {
        for check in checks {
            self.row(check, Outcome::Skipped, why.to_owned());
        }
    }

    fn properties(&mut self, version: &KeyInfo) {
        if version.state == VersionState::Enabled {
            self.row(
                "enabled",
                Outcome::Pass,
                "enabled; does not expire".to_owned(),
            );
        } else {
            let detail = format!(
                "it is {}; `cmkit key enable {}` puts a disabled one back into use",
                version.state.name(),
                version.id
            );
            self.row("enabled", Outcome::Fail, detail);
        }
        match version.key_type {
            Some(key_type) => self.row("key type and size", Outcome::Pass, key_type.to_string()),
            None => self.row(
                "key type and size",
                Outcome::Fail,
                "its file can't be read; restore it from a backup".to_owned(),
            ),
        }
    }

    fn try_out(&mut self, provider: &LocalKeyProvider, id: &KeyId) {
        let wrapped = match provider.wrap(&WrapRequest::new(id, &PROBE)) {
            Ok(wrapped) => wrapped,
            Err(mut e) => {
                e.key = None;
                self.row("wrap", Outcome::Fail, e.to_string());
                return self.skip(&["unwrap"], "nothing was wrapped");
            }
        };
        let (name, len) = (wrapped.algorithm.name(), wrapped.wrapped.len());
        self.row("wrap", Outcome::Pass, format!("{name}, {len} bytes"));
        let request = UnwrapRequest::new(&wrapped.key, wrapped.algorithm, &wrapped.wrapped);
        match provider.unwrap(&request) {
            Ok(bytes) if bytes.expose() == PROBE => {
                self.row(
                    "unwrap",
                    Outcome::Pass,
                    "the same bytes came back".to_owned(),
                );
            }
            Ok(_) => self.row("unwrap", Outcome::Fail, "other bytes came back".to_owned()),
            Err(mut e) => {
                e.key = None;
                self.row("unwrap", Outcome::Fail, e.to_string());
            }
        }
    }
}
