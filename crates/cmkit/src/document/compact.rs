//! Documents whose wrapped DEK is in the keyring's key store (docs/format.md, section 9).

use super::seal::{envelope_len, seal_into, seal_to_vec};
use crate::context::EncryptionContext;
use crate::error::Result;
use crate::keyring::{Form, Keyring};

impl Keyring {
    /// Encrypts a document in the compact form, whose wrapped DEK is kept once in the keyring's [key store](crate::KeyStore): for many small
    /// documents, the rows of a database for instance.
    ///
    /// The header has some 80 bytes; else as [`encrypt`](Self::encrypt). Any decrypting call opens it, given the key store.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let provider = cmkit::LocalKeyProvider::open_or_create(dir.path().join("keys"))?;
    /// # provider.create_key("team", cmkit::KeyType::Oct256)?;
    /// # let path = dir.path().join("store");
    /// let keyring = cmkit::Keyring::builder()
    ///     .provider(std::sync::Arc::new(provider))
    ///     .wrap_with(cmkit::KeyRef::parse("local:team")?)
    ///     .key_store(std::sync::Arc::new(cmkit::DirectoryKeyStore::open_or_create(&path)?))
    ///     .build()?;
    /// let context = cmkit::EncryptionContext::new([("table", "jobs"), ("row", "42")])?;
    /// let row = keyring.encrypt_compact(b"{}", &context)?;
    /// assert!(row.len() < keyring.encrypt(b"{}", &context)?.len());
    /// assert_eq!(keyring.decrypt(&row, &context)?, b"{}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// * [`Error::Policy`](crate::Error::Policy): the keyring has no key store.
    /// * [`Error::KeyStore`](crate::Error::KeyStore): it didn't take the new DEK.
    /// * Those of [`encrypt`](Self::encrypt).
    pub fn encrypt_compact(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
    ) -> Result<Vec<u8>> {
        seal_to_vec(&self.sealing_key(Form::Compact)?, plaintext, context)
    }

    /// [`encrypt_compact`](Self::encrypt_compact) into `out`; as [`encrypt_into`](Self::encrypt_into). On failure all of `out` is zero.
    ///
    /// # Errors
    /// * [`Error::BufferTooSmall`](crate::Error::BufferTooSmall): `out` is shorter than [`compact_len`](Self::compact_len).
    /// * Those of [`encrypt_compact`](Self::encrypt_compact).
    pub fn encrypt_compact_into(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
        out: &mut [u8],
    ) -> Result<usize> {
        let key = self.sealing_key(Form::Compact);
        key.and_then(|key| seal_into(&key, plaintext, context, out))
            .inspect_err(|_| out.fill(0))
    }

    /// Bytes in the compact envelope of a document with `plaintext_len` bytes, exactly, for the DEK in use; may ask for a first one.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`](crate::Error::InvalidArgument): `plaintext_len` is more than 2^52 - 1.
    /// * Those of [`encrypt_compact`](Self::encrypt_compact).
    pub fn compact_len(&self, plaintext_len: u64) -> Result<u64> {
        envelope_len(self.header_len(Form::Compact)?, plaintext_len)
    }

    /// [`encrypt_compact_into`](Self::encrypt_compact_into) for callers that hold a lock; as
    /// [`encrypt_cached_into`](Self::encrypt_cached_into).
    pub fn encrypt_compact_cached_into(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
        out: &mut [u8],
    ) -> Option<Result<usize>> {
        let key = self.sealing_key_cached(Form::Compact)?;
        Some(seal_into(&key, plaintext, context, out).inspect_err(|_| out.fill(0)))
    }

    /// [`compact_len`](Self::compact_len) for callers that hold a lock. `None` means that a provider has to be asked.
    pub fn compact_len_cached(&self, plaintext_len: u64) -> Option<Result<u64>> {
        Some(envelope_len(
            self.header_len_cached(Form::Compact)?,
            plaintext_len,
        ))
    }
}
