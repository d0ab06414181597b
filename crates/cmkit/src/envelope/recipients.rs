//! RECIPIENTS: the wraps of the DEK, and the padding.

use std::ops::RangeInclusive;

use crate::cbor;
use crate::error::{Error, Result};
use crate::key_id::{KeyId, MAX_ID_LEN};
use crate::provider::{WrapAlgorithm, WrappedKey};

pub(crate) const MAX_RECIPIENTS: usize = 16;
const MAX_WRAPPED_LEN: usize = 1024;
/// Bytes in the longest name of a provider.
pub(crate) const MAX_PROVIDER_LEN: usize = 64;

const PROVIDER: u64 = 1;
const KEY_ID: u64 = 2;
const ALGORITHM: u64 = 3;
const WRAPPED: u64 = 4;
const WRAPPED_AT: u64 = 5;

/// One wrap of the DEK, as received.
pub(crate) struct Recipient<'a> {
    /// All of it, so that a rewrap can keep it byte for byte.
    pub(crate) encoded: &'a [u8],
    pub(crate) provider: &'a str,
    pub(crate) key_id: KeyId,
    pub(crate) algorithm: WrapAlgorithm,
    pub(crate) wrapped: &'a [u8],
    /// Seconds since 1970.
    pub(crate) wrapped_at: u64,
}

impl AsRef<[u8]> for Recipient<'_> {
    fn as_ref(&self) -> &[u8] {
        self.encoded
    }
}

/// The bytes of a recipient. What a provider returned is checked, so that no header is written that nobody reads.
pub(crate) fn encode_recipient(
    provider: &str,
    wrapped: &WrappedKey,
    wrapped_at: u64,
) -> Result<Vec<u8>> {
    if !(1..=MAX_PROVIDER_LEN).contains(&provider.len()) {
        return Err(Error::Policy {
            problem: format!("key provider {provider:?}: its name must have 1 to 64 bytes"),
        });
    }
    if !(1..=MAX_WRAPPED_LEN).contains(&wrapped.wrapped.len()) {
        return Err(Error::Policy {
            problem: format!(
                "key provider {provider}: it returned {} wrapped bytes; an envelope takes 1 to 1024",
                wrapped.wrapped.len()
            ),
        });
    }
    let mut out = Vec::with_capacity(128 + wrapped.wrapped.len());
    cbor::write_map_len(&mut out, 5);
    cbor::write_unsigned(&mut out, PROVIDER);
    cbor::write_text(&mut out, provider);
    cbor::write_unsigned(&mut out, KEY_ID);
    cbor::write_text(&mut out, wrapped.key.as_str());
    cbor::write_unsigned(&mut out, ALGORITHM);
    cbor::write_negative(&mut out, wrapped.algorithm.cose_argument());
    cbor::write_unsigned(&mut out, WRAPPED);
    cbor::write_bytes(&mut out, &wrapped.wrapped);
    cbor::write_unsigned(&mut out, WRAPPED_AT);
    cbor::write_unsigned(&mut out, wrapped_at);
    Ok(out)
}

/// The recipients and the length of the padding.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Vec<Recipient<'_>>, Option<usize>)> {
    let mut reader = cbor::Reader::new(bytes);
    let count = reader.array_len()?;
    if count > MAX_RECIPIENTS {
        return Err(Error::format("it has more than 16 recipients"));
    }
    let mut recipients: Vec<Recipient<'_>> = Vec::with_capacity(count);
    for _ in 0..count {
        let recipient = decode_one(&mut reader, bytes)?;
        if recipients.iter().any(|r| r.key_id == recipient.key_id) {
            return Err(Error::format("it names the same key twice"));
        }
        recipients.push(recipient);
    }
    let mut padding = None;
    if !reader.is_at_end() {
        let zeros = reader.bytes()?;
        if zeros.iter().any(|&b| b != 0) {
            return Err(Error::format("its padding is not zero"));
        }
        padding = Some(zeros.len());
    }
    if !reader.is_at_end() {
        return Err(Error::format("its header has bytes after its end"));
    }
    Ok((recipients, padding))
}

/// One recipient and nothing else.
pub(crate) fn decode_recipient(bytes: &[u8]) -> Result<Recipient<'_>> {
    decode_one(&mut cbor::Reader::new(bytes), bytes)
}

fn decode_one<'a>(reader: &mut cbor::Reader<'a>, all: &'a [u8]) -> Result<Recipient<'a>> {
    let start = all.len() - reader.remaining();
    if reader.map_len()? != 5 {
        return Err(cbor::UNKNOWN_FIELD);
    }
    reader.key(PROVIDER)?;
    let provider = in_range(
        reader.text()?,
        1..=MAX_PROVIDER_LEN,
        "a recipient's provider is not 1 to 64 bytes",
    )?;
    reader.key(KEY_ID)?;
    let key_id = in_range(
        reader.text()?,
        1..=MAX_ID_LEN,
        "a key id is not 1 to 512 bytes",
    )?;
    let key_id =
        KeyId::parse(key_id).map_err(|_| Error::format("a key id doesn't follow the grammar"))?;
    reader.key(ALGORITHM)?;
    let algorithm = WrapAlgorithm::from_cose_argument(reader.negative()?).ok_or(Error::format(
        "a wrap algorithm is not A256KW or RSA-OAEP-256",
    ))?;
    reader.key(WRAPPED)?;
    let wrapped = in_range(
        reader.bytes()?,
        1..=MAX_WRAPPED_LEN,
        "a wrapped key is not 1 to 1024 bytes",
    )?;
    reader.key(WRAPPED_AT)?;
    let wrapped_at = reader.unsigned()?;
    let encoded = &all[start..all.len() - reader.remaining()];
    Ok(Recipient {
        encoded,
        provider,
        key_id,
        algorithm,
        wrapped,
        wrapped_at,
    })
}

fn in_range<'a, T: AsRef<[u8]> + ?Sized>(
    value: &'a T,
    range: RangeInclusive<usize>,
    problem: &'static str,
) -> Result<&'a T> {
    if range.contains(&value.as_ref().len()) {
        Ok(value)
    } else {
        Err(Error::format(problem))
    }
}
