//! CORE: what never changes during an envelope's life.

use std::fmt;
use std::str::FromStr;

use crate::cbor;
use crate::error::{Error, Result};
use crate::key_id::MAX_ID_LEN;

/// The 16 random bytes that name a DEK. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DekId(pub [u8; 16]);

impl fmt::Display for DekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for DekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DekId({self})")
    }
}

impl FromStr for DekId {
    type Err = Error;

    /// Reads 32 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self> {
        if !crate::key_id::is_version(text) {
            return Err(Error::invalid("a DEK id is 32 lower-case hex digits"));
        }
        let number = u128::from_str_radix(text, 16)
            .map_err(|_| Error::invalid("a DEK id is 32 hex digits"))?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// What a DEK may be used for. Part of what its KEK wraps, so it can't be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// Documents and streams.
    Data,
    /// Block encryption of a volume.
    Volume,
    /// Documents in the compact form, whose wrapped DEK is in a key store.
    KeyStore,
}

impl Purpose {
    /// The name that `cmkit inspect` prints: `data`, `volume`, `key store`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Volume => "volume",
            Self::KeyStore => "key store",
        }
    }

    fn number(self) -> u64 {
        match self {
            Self::Data => 1,
            Self::Volume => 2,
            Self::KeyStore => 3,
        }
    }

    fn from_number(number: u64) -> Result<Self> {
        [Self::Data, Self::Volume, Self::KeyStore]
            .into_iter()
            .find(|p| p.number() == number)
            .ok_or(Error::format(
                "its purpose is not one that this cmkit knows",
            ))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Core {
    pub(crate) dek_id: DekId,
    pub(crate) purpose: Purpose,
    pub(crate) workspace: Option<String>,
    /// Seconds since 1970.
    pub(crate) created: u64,
}

const DEK_ID: u64 = 1;
const PURPOSE: u64 = 2;
const WORKSPACE: u64 = 3;
const CREATED: u64 = 4;

impl Core {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        cbor::write_map_len(&mut out, 3 + usize::from(self.workspace.is_some()));
        self.write_identity(&mut out);
        cbor::write_unsigned(&mut out, CREATED);
        cbor::write_unsigned(&mut out, self.created);
        out
    }

    /// The binding map of a capsule (docs/format.md section 5): CORE without the time.
    pub(crate) fn encode_binding(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        cbor::write_map_len(&mut out, 2 + usize::from(self.workspace.is_some()));
        self.write_identity(&mut out);
        out
    }

    fn write_identity(&self, out: &mut Vec<u8>) {
        cbor::write_unsigned(out, DEK_ID);
        cbor::write_bytes(out, &self.dek_id.0);
        cbor::write_unsigned(out, PURPOSE);
        cbor::write_unsigned(out, self.purpose.number());
        if let Some(workspace) = &self.workspace {
            cbor::write_unsigned(out, WORKSPACE);
            cbor::write_text(out, workspace);
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = cbor::Reader::new(bytes);
        let with_workspace = match reader.map_len()? {
            3 => false,
            4 => true,
            _ => return Err(cbor::UNKNOWN_FIELD),
        };
        reader.key(DEK_ID)?;
        let dek_id = DekId(
            reader
                .bytes()?
                .try_into()
                .map_err(|_| Error::format("its DEK id is not 16 bytes"))?,
        );
        reader.key(PURPOSE)?;
        let purpose = Purpose::from_number(reader.unsigned()?)?;
        let mut workspace = None;
        if with_workspace {
            reader.key(WORKSPACE)?;
            let name = reader.text()?;
            if !(1..=MAX_ID_LEN).contains(&name.len()) {
                return Err(Error::format("its workspace is not 1 to 512 bytes"));
            }
            workspace = Some(name.to_owned());
        }
        reader.key(CREATED)?;
        let created = reader.unsigned()?;
        if !reader.is_at_end() {
            return Err(Error::format("its header has bytes after its end"));
        }
        Ok(Self {
            dek_id,
            purpose,
            workspace,
            created,
        })
    }
}
