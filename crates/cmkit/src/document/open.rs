//! Opening a document.

use zeroize::Zeroize as _;

use crate::chunked::{
    self, CHUNK_LEN, Message, PREAMBLE_LEN, SLOT_LEN, default_threads, threads_for,
};
use crate::context::EncryptionContext;
use crate::envelope::header_len;
use crate::error::{Error, Result};
use crate::keyring::{Keyring, OpeningKey};

impl Keyring {
    /// Decrypts an envelope of any form: a document, or what a stream wrote. Thread-safe; large ones are decrypted by several threads.
    ///
    /// # Errors
    /// * [`Error::AuthenticationFailed`]: damaged or forged, or another key or context. Nothing says which.
    /// * [`Error::Truncated`]: the end is missing, as far as that can be seen from the length.
    /// * [`Error::Format`]: not an envelope, or one of a newer version.
    /// * [`Error::WorkspaceMismatch`], [`Error::KeyNotAllowed`]: this keyring may not open it.
    /// * [`Error::Provider`], [`Error::KeyStore`]: the DEK could not be had.
    pub fn decrypt(&self, envelope: &[u8], context: &EncryptionContext) -> Result<Vec<u8>> {
        open_to_vec(&self.opening_key(envelope)?, envelope, context)
    }

    /// Decrypts an envelope into `out` and gives the plaintext's length. What is behind it in `out` stays as it was.
    ///
    /// On failure all of `out` is zero.
    ///
    /// # Errors
    /// * [`Error::BufferTooSmall`]: `out` is shorter than [`decrypted_len`].
    /// * Those of [`decrypt`](Self::decrypt).
    pub fn decrypt_into(
        &self,
        envelope: &[u8],
        context: &EncryptionContext,
        out: &mut [u8],
    ) -> Result<usize> {
        let key = self.opening_key(envelope);
        key.and_then(|key| open_into(&key, envelope, context, out))
            .inspect_err(|_| out.fill(0))
    }

    /// Decrypts the envelope that fills `buffer` and gives the plaintext's length. The plaintext moves to the front, the rest becomes zero.
    ///
    /// On failure all of `buffer` is zero: the envelope is lost too.
    ///
    /// # Errors
    /// * Those of [`decrypt`](Self::decrypt).
    pub fn decrypt_in_place(
        &self,
        buffer: &mut [u8],
        context: &EncryptionContext,
    ) -> Result<usize> {
        let key = self.opening_key(buffer);
        key.and_then(|key| open_in_place(&key, buffer, context))
            .inspect_err(|_| buffer.fill(0))
    }

    /// [`decrypt_into`](Self::decrypt_into) for callers that hold a lock: never calls a provider or a key store and never waits for one.
    ///
    /// `None` means that a provider has to be asked; nothing was done. Then release the lock and call `decrypt_into`.
    pub fn decrypt_cached_into(
        &self,
        envelope: &[u8],
        context: &EncryptionContext,
        out: &mut [u8],
    ) -> Option<Result<usize>> {
        let key = self.opening_key_cached(envelope)?;
        Some(
            key.and_then(|key| open_into(&key, envelope, context, out))
                .inspect_err(|_| out.fill(0)),
        )
    }
}

/// Bytes of plaintext in an envelope, exactly, by arithmetic: takes no key and proves nothing.
///
/// `envelope` is a whole one; only its first 16 bytes and its length are looked at.
///
/// # Errors
/// * [`Error::Format`]: not an envelope, or not one that this version reads.
/// * [`Error::Truncated`]: no whole envelope has this length.
pub fn decrypted_len(envelope: &[u8]) -> Result<u64> {
    decrypted_len_of(envelope, envelope.len() as u64)
}

/// The same for an envelope of `envelope_len` bytes that isn't in memory, from its first 16 bytes.
///
/// # Errors
/// As for [`decrypted_len`].
pub fn decrypted_len_of(start: &[u8], envelope_len: u64) -> Result<u64> {
    let body = envelope_len.checked_sub(header_len(start)? as u64);
    chunked::plaintext_len(body.ok_or(Error::Truncated)?)
}

/// A message whose commitment was right.
struct Opened<'a> {
    message: Message,
    slots: &'a [u8],
    len: usize,
}

impl<'a> Opened<'a> {
    fn new(key: &OpeningKey, envelope: &'a [u8], context: &EncryptionContext) -> Result<Self> {
        let body = envelope.get(key.header_len()..).ok_or(Error::Truncated)?;
        chunked::plaintext_len(body.len() as u64)?;
        let (preamble, slots) = body
            .split_first_chunk::<PREAMBLE_LEN>()
            .ok_or(Error::Truncated)?;
        let message = Message::open(key.body_key(), preamble, &key.body_context(context))?;
        Ok(Self {
            message,
            slots,
            len: chunked::text_len(slots.len()),
        })
    }

    fn to_vec(&self) -> Result<Vec<u8>> {
        if threads_for(self.len, default_threads()) > 1 {
            // Fresh pages from the system are zero already.
            let mut out = vec![0; self.len];
            let opened = self
                .message
                .open_chunks(0, self.slots, &mut out, default_threads());
            return match opened {
                Ok(()) => Ok(out),
                Err(error) => {
                    out[..].zeroize();
                    Err(error)
                }
            };
        }
        let mut out = Vec::with_capacity(self.len);
        for (number, slot) in self.slots.chunks(SLOT_LEN).enumerate() {
            out.resize(self.len.min((number + 1) * CHUNK_LEN), 0);
            if let Err(error) =
                self.message
                    .open_chunks(number as u64, slot, &mut out[number * CHUNK_LEN..], 1)
            {
                out[..].zeroize();
                return Err(error);
            }
        }
        Ok(out)
    }
}

pub(crate) fn open_to_vec(
    key: &OpeningKey,
    envelope: &[u8],
    context: &EncryptionContext,
) -> Result<Vec<u8>> {
    let opened = Opened::new(key, envelope, context)?;
    let plaintext = opened.to_vec()?;
    key.charge(plaintext.len() as u64);
    Ok(plaintext)
}

fn open_into(
    key: &OpeningKey,
    envelope: &[u8],
    context: &EncryptionContext,
    out: &mut [u8],
) -> Result<usize> {
    let opened = Opened::new(key, envelope, context)?;
    let given = out.len();
    let Some(out) = out.get_mut(..opened.len) else {
        return Err(Error::BufferTooSmall {
            needed: opened.len as u64,
            given: given as u64,
        });
    };
    opened
        .message
        .open_chunks(0, opened.slots, out, default_threads())?;
    key.charge(opened.len as u64);
    Ok(opened.len)
}

fn open_in_place(
    key: &OpeningKey,
    buffer: &mut [u8],
    context: &EncryptionContext,
) -> Result<usize> {
    let Opened {
        message,
        slots,
        len,
    } = Opened::new(key, buffer, context)?;
    let start = buffer.len() - slots.len();
    message.open_in_place(buffer, start, default_threads())?;
    key.charge(len as u64);
    Ok(len)
}
