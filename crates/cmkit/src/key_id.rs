//! Key ids: `local:NAME/VERSION`, `https://HOST/keys/NAME/VERSION`, `SCHEME:NAME/VERSION`.
//!
//! They parse strictly (docs/format.md, section 10), so that two ids name the same key exactly when their
//! text is equal, and so that a URL built from the parts can't go anywhere else.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Bytes in the longest key id.
pub(crate) const MAX_ID_LEN: usize = 512;

/// A key, with or without a version: `local:default` or `local:default/0123...`.
///
/// Without a version it means "the newest one", which only wrapping understands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRef {
    text: String,
    /// Bytes of `text` before the name, with ":" or "/keys/".
    name_start: usize,
    /// Bytes of `text` before the "/" of the version; all of them without one.
    name_end: usize,
}

/// A key id with its version: exactly one KEK.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(KeyRef);

impl KeyRef {
    /// Reads a key id, with or without a version.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: it doesn't follow the grammar; the message names the part.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |problem: &str| {
            Err(Error::invalid(format!(
                "key id {:?}: {problem}",
                Shortened(text)
            )))
        };
        if text.len() > MAX_ID_LEN {
            return fail("it is longer than 512 bytes");
        }
        let name_start = if let Some(rest) = text.strip_prefix("https://") {
            let Some(host_len) = rest.find('/') else {
                return fail("an https id looks like https://HOST/keys/NAME/VERSION");
            };
            if !is_authority(&rest[..host_len]) {
                return fail("its host is not a lower-case host name (no user, query or fragment)");
            }
            if !rest[host_len..].starts_with("/keys/") {
                return fail("an https id looks like https://HOST/keys/NAME/VERSION");
            }
            "https://".len() + host_len + "/keys/".len()
        } else {
            let Some(scheme_len) = text.find(':') else {
                return fail("it has no scheme; a local key is written local:NAME");
            };
            if !is_scheme(&text[..scheme_len]) {
                return fail("its scheme is not one of ours; a local key is written local:NAME");
            }
            scheme_len + 1
        };
        let path = &text[name_start..];
        let name_len = path.find('/').unwrap_or(path.len());
        if !is_name(&path[..name_len]) {
            return fail("its name must be 1 to 127 letters, digits or hyphens");
        }
        if name_len < path.len() && !is_version(&path[name_len + 1..]) {
            return fail("its version must be 32 lower-case hex digits");
        }
        Ok(Self {
            text: text.to_owned(),
            name_start,
            name_end: name_start + name_len,
        })
    }

    /// A key of the local provider, by its name.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: the name isn't 1 to 127 letters, digits or hyphens.
    pub fn local(name: &str) -> Result<Self> {
        Self::parse(&format!("local:{name}"))
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme: `local`, `https`, or a custom provider's.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.text.split(':').next().unwrap_or_default()
    }

    /// The host, with its port if it has one, of an https id.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let rest = self.text[..self.name_start].strip_prefix("https://")?;
        rest.strip_suffix("/keys/")
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[self.name_start..self.name_end]
    }

    /// The version, where it is given.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.text.get(self.name_end + 1..)
    }

    /// The same key without a version: what allow-lists compare.
    #[must_use]
    pub fn without_version(&self) -> KeyRef {
        Self {
            text: self.text[..self.name_end].to_owned(),
            ..*self
        }
    }

    /// Whether both name the same key, whatever the versions.
    #[must_use]
    pub fn same_key(&self, other: &KeyRef) -> bool {
        self.text[..self.name_end] == other.text[..other.name_end]
    }

    /// This key in this version.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: the version isn't 32 lower-case hex digits.
    pub fn with_version(&self, version: &str) -> Result<KeyId> {
        KeyId::parse(&format!("{}/{version}", &self.text[..self.name_end]))
    }
}

impl KeyId {
    /// Reads a key id that must have a version.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: it doesn't follow the grammar, or has no version.
    pub fn parse(text: &str) -> Result<Self> {
        let key = KeyRef::parse(text)?;
        if key.version().is_none() {
            return Err(Error::invalid(format!(
                "key id {text:?}: it needs a version, 32 hex digits after a slash"
            )));
        }
        Ok(Self(key))
    }

    /// The version: 32 lower-case hex digits.
    #[must_use]
    pub fn version(&self) -> &str {
        self.0.version().unwrap_or_default()
    }
}

impl std::ops::Deref for KeyId {
    type Target = KeyRef;
    fn deref(&self) -> &KeyRef {
        &self.0
    }
}

impl From<KeyId> for KeyRef {
    fn from(id: KeyId) -> KeyRef {
        id.0
    }
}

impl FromStr for KeyRef {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl FromStr for KeyId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

/// What the caller typed, cut to a length that a message can bear.
struct Shortened<'a>(&'a str);

impl fmt::Debug for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(120) {
            Some((end, _)) => write!(f, "{:?}...", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

fn is_scheme(s: &str) -> bool {
    s.len() <= 32
        && s.starts_with(|c: char| c.is_ascii_lowercase())
        && s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && s != "http"
        && s != "https"
}

/// Whether this is a NAME of the grammar: 1 to 127 ASCII letters, digits or hyphens.
pub(crate) fn is_name(s: &str) -> bool {
    (1..=127).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether this is a VERSION of the grammar: 32 lower-case hex digits.
pub(crate) fn is_version(s: &str) -> bool {
    s.len() == 32
        && s.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether this is a host of the grammar, with its port if it has one.
pub(crate) fn is_authority(s: &str) -> bool {
    let (host, port) = match s.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (s, None),
    };
    let port_ok = port.is_none_or(|p| {
        (1..=5).contains(&p.len())
            && p.bytes().all(|b| b.is_ascii_digit())
            && !p.starts_with('0')
            && p.parse::<u16>().is_ok()
    });
    port_ok && host.len() <= 253 && host.split('.').all(is_label)
}

fn is_label(s: &str) -> bool {
    (1..=63).contains(&s.len())
        && s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !s.starts_with('-')
        && !s.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn parts_of_each_form() {
        let id = KeyId::parse(&format!("local:default/{V}")).unwrap();
        assert_eq!(
            (id.scheme(), id.name(), id.version(), id.host()),
            ("local", "default", V, None)
        );
        let id = KeyRef::parse("https://v.vault.azure.net:8443/keys/Team-1").unwrap();
        assert_eq!(
            (id.scheme(), id.name(), id.version(), id.host()),
            ("https", "Team-1", None, Some("v.vault.azure.net:8443"))
        );
        assert_eq!(id.with_version(V).unwrap().without_version(), id);
    }

    #[test]
    fn what_the_grammar_refuses() {
        for text in [
            "",
            "default",
            "local:",
            "local:../x",
            "local:a/b",
            "local:a/",
            "local:a_b",
            "LOCAL:a",
            "local:a ",
            "http://h/keys/a",
            "https://h/keys/",
            "https://h/secrets/a",
            "https://H/keys/a",
            "https://u@h/keys/a",
            "https://h/keys/a?x",
            "https://h/keys/a#x",
            "https://h:0/keys/a",
            "https://h:65536/keys/a",
            "https://h:/keys/a",
            "https://-h/keys/a",
            "https://h./keys/a",
            "https:///keys/a",
            "https://h/keys/a/",
            "https://h/keys/%61",
            "local:a\0",
            "1x:a",
        ] {
            assert!(KeyRef::parse(text).is_err(), "{text:?}");
        }
        assert!(KeyRef::parse(&format!("local:{}", "a".repeat(127))).is_ok());
        assert!(KeyRef::parse(&format!("local:{}", "a".repeat(128))).is_err());
        assert!(KeyRef::parse(&format!("local:a/{}", V.to_uppercase())).is_err());
        assert!(KeyId::parse("local:a").is_err());
    }
}
