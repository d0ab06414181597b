//! What can be said about an envelope without a key.

use crate::envelope::{DekId, Header, Purpose, SUITE, SUITE_NAME, VERSION};
use crate::error::Result;
use crate::key_id::KeyId;
use crate::provider::WrapAlgorithm;

/// What an envelope's header says. Nothing of it is authenticated: that takes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The format's version.
    pub version: u8,
    /// The suite's number.
    pub suite: u16,
    /// The suite's algorithms.
    pub suite_name: &'static str,
    /// Which DEK encrypted it.
    pub dek_id: DekId,
    /// What the DEK may be used for.
    pub purpose: Purpose,
    /// The workspace that it belongs to.
    pub workspace: Option<String>,
    /// When the DEK was made, in seconds since 1970.
    pub created: u64,
    /// The keys that can open it; none in the compact form.
    pub recipients: Vec<RecipientInfo>,
    /// Whether the wrapped DEK is in a key store and not in the envelope.
    pub is_compact: bool,
    /// Zero bytes that make room for a rewrap.
    pub padding_len: usize,
    /// Bytes of the whole header. The body follows.
    pub header_len: usize,
}

/// One key that can open an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecipientInfo {
    /// The key provider's name.
    pub provider: String,
    /// The exact key version.
    pub key_id: KeyId,
    /// How it wrapped the DEK.
    pub algorithm: WrapAlgorithm,
    /// Bytes of the wrapped DEK.
    pub wrapped_len: usize,
    /// When, in seconds since 1970.
    pub wrapped_at: u64,
}

/// Reads the header that `bytes` begins with: an envelope, or its first 64 KiB.
///
/// # Errors
/// * [`Error::Format`](crate::Error::Format): not an envelope, or not one that this version reads.
/// * [`Error::Truncated`](crate::Error::Truncated): the header isn't all there.
pub fn inspect(bytes: &[u8]) -> Result<Inspection> {
    let header = Header::parse(bytes)?;
    let recipients = header.recipients.iter().map(|r| RecipientInfo {
        provider: r.provider.to_owned(),
        key_id: r.key_id.clone(),
        algorithm: r.algorithm,
        wrapped_len: r.wrapped.len(),
        wrapped_at: r.wrapped_at,
    });
    Ok(Inspection {
        version: VERSION,
        suite: SUITE,
        suite_name: SUITE_NAME,
        dek_id: header.core.dek_id,
        purpose: header.core.purpose,
        recipients: recipients.collect(),
        is_compact: header.is_compact(),
        padding_len: header.padding.unwrap_or(0),
        header_len: header.bytes.len(),
        workspace: header.core.workspace,
        created: header.core.created,
    })
}
