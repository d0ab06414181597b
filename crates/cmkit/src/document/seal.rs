//! Sealing a document.

use crate::chunked::{
    self, CHUNK_LEN, Message, PREAMBLE_LEN, SLOT_LEN, default_threads, threads_for,
};
use crate::context::EncryptionContext;
use crate::error::{Error, Result};
use crate::keyring::{Form, Keyring, SealingKey};

impl Keyring {
    /// Encrypts a document: 0 bytes to as many as memory holds.
    ///
    /// The envelope is [`encrypted_len`](Self::encrypted_len) bytes long: a header (with one recipient some 220 bytes for an AES
    /// key, 530 for an RSA key of 3072 bits), then `plaintext.len()` and 72 bytes, and 16 more for every whole 16 KiB. Large
    /// documents are encrypted by several threads, which end before the call does. Thread-safe.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let provider = cmkit::LocalKeyProvider::open_or_create(dir.path().join("keys"))?;
    /// # provider.create_key("team", cmkit::KeyType::Oct256)?;
    /// # let keyring = cmkit::Keyring::builder().provider(std::sync::Arc::new(provider))
    /// #     .wrap_with(cmkit::KeyRef::parse("local:team")?).build()?;
    /// let context = cmkit::EncryptionContext::new([("doc", "42")])?;
    /// let envelope = keyring.encrypt(b"attack at dawn", &context)?;
    /// assert_eq!(keyring.decrypt(&envelope, &context)?, b"attack at dawn");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// * [`Error::Provider`]: a new DEK is needed and can't be wrapped.
    /// * [`Error::Policy`]: the keyring has no wrapping key.
    pub fn encrypt(&self, plaintext: &[u8], context: &EncryptionContext) -> Result<Vec<u8>> {
        seal_to_vec(&self.sealing_key(Form::Full)?, plaintext, context)
    }

    /// Encrypts a document into `out` and gives the envelope's length. What is behind it in `out` stays as it was. The buffers can't overlap; see
    /// [`encrypt_in_place`](Self::encrypt_in_place).
    ///
    /// On failure all of `out` is zero.
    ///
    /// # Errors
    /// * [`Error::BufferTooSmall`]: `out` is shorter than [`encrypted_len`](Self::encrypted_len).
    /// * Those of [`encrypt`](Self::encrypt).
    pub fn encrypt_into(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
        out: &mut [u8],
    ) -> Result<usize> {
        let key = self.sealing_key(Form::Full);
        key.and_then(|key| seal_into(&key, plaintext, context, out))
            .inspect_err(|_| out.fill(0))
    }

    /// Encrypts the first `plaintext_len` bytes of `buffer` where they are and gives the envelope's length; it begins where the
    /// plaintext began. What is behind it in `buffer` stays as it was.
    ///
    /// On failure all of `buffer` is zero and the plaintext is lost, so that a caller who misses the error can't take it for an envelope.
    ///
    /// # Errors
    /// * [`Error::BufferTooSmall`]: `buffer` is shorter than [`encrypted_len`](Self::encrypted_len).
    /// * [`Error::InvalidArgument`]: `plaintext_len` is more than `buffer` has.
    /// * Those of [`encrypt`](Self::encrypt).
    pub fn encrypt_in_place(
        &self,
        buffer: &mut [u8],
        plaintext_len: usize,
        context: &EncryptionContext,
    ) -> Result<usize> {
        let key = self.sealing_key(Form::Full);
        key.and_then(|key| seal_in_place(&key, buffer, plaintext_len, context))
            .inspect_err(|_| buffer.fill(0))
    }

    /// Bytes in the envelope of a document with `plaintext_len` bytes, exactly, for the DEK in use.
    ///
    /// May ask the provider for a first DEK. A DEK that is replaced between this call and the next gives headers of the same length as
    /// long as the keys' versions have ids of the same length, as those of the local provider and Key Vault do.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`]: `plaintext_len` is more than 2^52 - 1.
    /// * Those of [`encrypt`](Self::encrypt).
    pub fn encrypted_len(&self, plaintext_len: u64) -> Result<u64> {
        envelope_len(self.header_len(Form::Full)?, plaintext_len)
    }

    /// [`encrypt_into`](Self::encrypt_into) for callers that hold a lock: never calls a provider or a key store and never waits for one.
    ///
    /// `None` means that a provider has to be asked; nothing was done. Then release the lock and call `encrypt_into`.
    pub fn encrypt_cached_into(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
        out: &mut [u8],
    ) -> Option<Result<usize>> {
        let key = self.sealing_key_cached(Form::Full)?;
        Some(seal_into(&key, plaintext, context, out).inspect_err(|_| out.fill(0)))
    }

    /// [`encrypted_len`](Self::encrypted_len) for callers that hold a lock. `None` means that a provider has to be asked.
    pub fn encrypted_len_cached(&self, plaintext_len: u64) -> Option<Result<u64>> {
        Some(envelope_len(
            self.header_len_cached(Form::Full)?,
            plaintext_len,
        ))
    }
}

pub(super) fn envelope_len(header_len: usize, plaintext_len: u64) -> Result<u64> {
    Ok(header_len as u64 + chunked::body_len(plaintext_len)?)
}

/// The same for something that is to be in memory.
fn len_in_memory(key: &SealingKey, plaintext_len: usize) -> Result<usize> {
    let len = envelope_len(key.header().len(), plaintext_len as u64)?;
    usize::try_from(len)
        .map_err(|_| Error::invalid("the envelope is larger than this machine's memory"))
}

fn begin(key: &SealingKey, context: &EncryptionContext) -> Result<(Message, [u8; PREAMBLE_LEN])> {
    Ok(Message::seal(
        key.body_key(),
        &key.draw_salt()?,
        &key.body_context(context),
    ))
}

pub(crate) fn seal_to_vec(
    key: &SealingKey,
    plaintext: &[u8],
    context: &EncryptionContext,
) -> Result<Vec<u8>> {
    let len = len_in_memory(key, plaintext.len())?;
    if threads_for(plaintext.len(), default_threads()) > 1 {
        // Fresh pages from the system are zero already.
        let mut out = vec![0; len];
        seal_into(key, plaintext, context, &mut out)?;
        return Ok(out);
    }
    let (message, preamble) = begin(key, context)?;
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(key.header());
    out.extend_from_slice(&preamble);
    let start = out.len();
    // Zeroed a chunk at a time, while it is on its way into the cache anyhow.
    for slot in (start..len).step_by(SLOT_LEN) {
        let number = (slot - start) / SLOT_LEN;
        let chunk = &plaintext[number * CHUNK_LEN..plaintext.len().min((number + 1) * CHUNK_LEN)];
        out.resize(len.min(slot + SLOT_LEN), 0);
        message.seal_chunks(number as u64, chunk, &mut out[slot..], 1)?;
    }
    key.charge(plaintext.len() as u64);
    Ok(out)
}

pub(super) fn seal_into(
    key: &SealingKey,
    plaintext: &[u8],
    context: &EncryptionContext,
    out: &mut [u8],
) -> Result<usize> {
    let len = len_in_memory(key, plaintext.len())?;
    let given = out.len();
    let Some(out) = out.get_mut(..len) else {
        return Err(Error::BufferTooSmall {
            needed: len as u64,
            given: given as u64,
        });
    };
    let (message, preamble) = begin(key, context)?;
    let (header_out, body) = out.split_at_mut(key.header().len());
    let (preamble_out, slots) = body.split_at_mut(PREAMBLE_LEN);
    message.seal_chunks(0, plaintext, slots, default_threads())?;
    header_out.copy_from_slice(key.header());
    preamble_out.copy_from_slice(&preamble);
    key.charge(plaintext.len() as u64);
    Ok(len)
}

pub(super) fn seal_in_place(
    key: &SealingKey,
    buffer: &mut [u8],
    plaintext_len: usize,
    context: &EncryptionContext,
) -> Result<usize> {
    let given = buffer.len();
    if plaintext_len > given {
        return Err(Error::invalid("plaintext_len is more than the buffer has"));
    }
    let len = len_in_memory(key, plaintext_len)?;
    let Some(out) = buffer.get_mut(..len) else {
        return Err(Error::BufferTooSmall {
            needed: len as u64,
            given: given as u64,
        });
    };
    let (message, preamble) = begin(key, context)?;
    let header_len = key.header().len();
    let start = header_len + PREAMBLE_LEN;
    message.seal_in_place(out, plaintext_len, start, default_threads())?;
    out[..header_len].copy_from_slice(key.header());
    out[header_len..start].copy_from_slice(&preamble);
    key.charge(plaintext_len as u64);
    Ok(len)
}
