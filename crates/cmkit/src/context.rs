//! The encryption context: what the caller says about a message, bound to it and never stored.

use std::collections::BTreeMap;

use crate::cbor;
use crate::error::{Error, Result};

/// Bytes in the longest canonical encoding.
pub(crate) const MAX_CONTEXT_LEN: usize = 8192;

/// A map of text to text that must be the same at decryption as at encryption.
///
/// It is authenticated with the message and not stored in the envelope: whoever decrypts has to know it. Use it to tie a
/// message to its place, `{"table": "jobs", "row": "42"}`, so that one message can't be passed off as another.
/// It isn't secret, and it isn't a password.
///
/// The encoding (deterministic CBOR, RFC 8949 section 4.2.1) is at most 8192 bytes. Text is compared byte for byte, without
/// Unicode normalisation. The empty map equals no context.
///
/// ```
/// use cmkit::EncryptionContext;
///
/// let context = EncryptionContext::new([("doc", "42")])?;
/// assert!(EncryptionContext::new([("doc", "42"), ("doc", "43")]).is_err());
/// # Ok::<(), cmkit::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionContext {
    canonical: Vec<u8>,
    len: usize,
}

impl EncryptionContext {
    /// A context of these pairs, in any order.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: a key is given twice, or the encoding is longer than 8192 bytes.
    pub fn new<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self> {
        // Bytewise order of the encoded keys (RFC 8949 section 4.2.1), which is not the order of the text.
        let mut entries = BTreeMap::new();
        let mut total = 0usize;
        for (key, value) in pairs {
            let (key, value) = (key.as_ref(), value.as_ref());
            // Checked while adding, so that a huge map costs no more than the limit.
            total = total
                .saturating_add(key.len())
                .saturating_add(value.len())
                .saturating_add(2);
            if total > MAX_CONTEXT_LEN {
                return Err(Error::invalid(
                    "the encryption context is longer than 8192 bytes encoded",
                ));
            }
            let mut encoded = Vec::with_capacity(key.len() + 3);
            cbor::write_text(&mut encoded, key);
            let mut encoded_value = Vec::with_capacity(value.len() + 3);
            cbor::write_text(&mut encoded_value, value);
            if entries.insert(encoded, encoded_value).is_some() {
                return Err(Error::invalid(format!(
                    "the encryption context has the key {key:?} twice"
                )));
            }
        }
        let mut canonical = Vec::with_capacity(total + 3);
        cbor::write_map_len(&mut canonical, entries.len());
        for (key, value) in &entries {
            canonical.extend_from_slice(key);
            canonical.extend_from_slice(value);
        }
        if canonical.len() > MAX_CONTEXT_LEN {
            return Err(Error::invalid(
                "the encryption context is longer than 8192 bytes encoded",
            ));
        }
        Ok(Self {
            canonical,
            len: entries.len(),
        })
    }

    /// No context.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            canonical: vec![0xA0],
            len: 0,
        }
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The canonical encoding, 1 to 8192 bytes.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }
}

impl Default for EncryptionContext {
    fn default() -> Self {
        Self::empty()
    }
}

/// Shows how many pairs there are; the values may be personal data.
impl std::fmt::Debug for EncryptionContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EncryptionContext({} pairs)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn encoded_order_is_by_length_then_bytes() {
        let context = EncryptionContext::new([("bb", "1"), ("a", "2"), ("é", "3")]).unwrap();
        assert_eq!(
            context.canonical(),
            b"\xA3\x61a\x612\x62bb\x611\x62\xC3\xA9\x613"
        );
        assert_eq!(
            EncryptionContext::new::<&str, &str>([]).unwrap(),
            EncryptionContext::empty()
        );
    }

    #[test]
    fn the_limit_is_8192_bytes_encoded() {
        // Map head 1, key 2, value head 3: 8186 bytes of value fill it.
        assert_eq!(
            EncryptionContext::new([("k", "v".repeat(8186))])
                .unwrap()
                .canonical()
                .len(),
            8192
        );
        assert!(EncryptionContext::new([("k", "v".repeat(8187))]).is_err());
        assert!(EncryptionContext::new([("k", "v"), ("k", "v")]).is_err());
    }

    proptest! {
        #[test]
        fn order_of_pairs_does_not_matter(map in proptest::collection::hash_map(".{0,30}", ".{0,30}", 0..40)) {
            let forward: Vec<_> = map.iter().collect();
            let mut backward = forward.clone();
            backward.reverse();
            let [forward, backward] = [forward, backward].map(|pairs| EncryptionContext::new(pairs).unwrap());
            prop_assert_eq!(forward.canonical(), backward.canonical());
        }
    }
}
