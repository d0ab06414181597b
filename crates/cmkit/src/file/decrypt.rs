//! Decrypting a file, and opening one for random access.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

use super::atomic::AtomicFile;
use super::encrypt::write_all_at;
use super::options::FileOptions;
use super::source::Source;
use super::stripes::{Reporter, STRIPE_LEN, for_each_stripe};
use crate::chunked::{CHUNK_LEN, PlainBuffer, RUN_CHUNKS, SLOT_LEN};
use crate::context::EncryptionContext;
use crate::crypto::TAG_LEN;
use crate::error::{Error, Result};
use crate::keyring::Keyring;
use crate::stream::{Reader, StreamOptions};

impl Keyring {
    /// Decrypts a file into another one and says how many bytes of plaintext it has.
    ///
    /// The destination appears whole and synced, or not at all: a damaged or cut envelope leaves nothing. Modes, threads and limits are as with
    /// [`encrypt_file`](Self::encrypt_file), where there is an example. A header left half-written by an interrupted
    /// [`rewrap_file`](Self::rewrap_file) is completed from the file beside it.
    ///
    /// # Errors
    /// * Those of [`decrypt`](Self::decrypt), naming the file.
    /// * Those of [`encrypt_file`](Self::encrypt_file) that are about files.
    pub fn decrypt_file(
        &self,
        source: &Path,
        destination: &Path,
        context: &EncryptionContext,
        options: &FileOptions,
    ) -> Result<u64> {
        let decrypt = || {
            let source = Source::open(source, destination, options)?;
            if source.metadata.is_file() {
                self.decrypt_striped(source, destination, context, options)
            } else {
                self.decrypt_streamed(source, destination, context, options)
            }
        };
        decrypt().map_err(|e| self.discreet(e))
    }

    /// Random access to the plaintext of a file; as [`reader`](Self::reader), and errors name the file. A header left half-written by an interrupted
    /// [`rewrap_file`](Self::rewrap_file) is completed from the file beside it; nothing is written.
    ///
    /// # Errors
    /// * Those of [`reader`](Self::reader).
    /// * [`Error::InvalidArgument`]: it is a directory.
    pub fn open_file(&self, path: &Path, context: &EncryptionContext) -> Result<Reader<File>> {
        let open = || {
            let file = File::open(path).map_err(|e| Error::io_at("open", path, e))?;
            let metadata = file.metadata().map_err(|e| Error::io_at("read", path, e))?;
            if metadata.is_dir() {
                return Err(Error::invalid("it is a directory").in_file(path));
            }
            self.open_opened(path, file, context)
        };
        open().map_err(|e| self.discreet(e))
    }

    fn open_opened(
        &self,
        path: &Path,
        mut file: File,
        context: &EncryptionContext,
    ) -> Result<Reader<File>> {
        let key = self.open_file_header(path, &mut file);
        key.and_then(|key| Reader::new(file, &key, context))
            .map_err(|e| e.in_file(path))
    }

    fn decrypt_striped(
        &self,
        source: Source<'_>,
        destination: &Path,
        context: &EncryptionContext,
        options: &FileOptions,
    ) -> Result<u64> {
        let Source {
            path,
            file,
            metadata,
        } = source;
        let reader = self.open_opened(path, file, context)?;
        let total = reader.len();
        let out = AtomicFile::create(destination, options.overwrite)?;

        let buffers = || (vec![0; RUN_CHUNKS * SLOT_LEN], PlainBuffer::new(STRIPE_LEN));
        for_each_stripe(total, options, buffers, |(slots, text), stripe| {
            let chunks = stripe.len / CHUNK_LEN + usize::from(stripe.is_last);
            let slots = &mut slots[..stripe.len + TAG_LEN * chunks];
            let text = &mut text[..stripe.len];
            reader
                .read_chunks(stripe.number, slots, text)
                .map_err(|e| e.in_file(path))?;
            write_all_at(out.file(), text, stripe.offset)
                .map_err(|e| Error::io_at("write", destination, e))
        })?;
        let source = Source {
            path,
            file: reader.into_inner(),
            metadata,
        };
        source.check_len()?;
        out.commit(Some(source.metadata.permissions()))?;
        Ok(total)
    }

    fn decrypt_streamed(
        &self,
        source: Source<'_>,
        destination: &Path,
        context: &EncryptionContext,
        options: &FileOptions,
    ) -> Result<u64> {
        let report = Reporter::new(options, None);
        report.now(0)?;
        let mut last = Instant::now();
        let stream = StreamOptions::default().threads(options.thread_count());
        let Source { path, file, .. } = source;
        let mut plaintext = self
            .decryptor_with(file, context, stream)
            .map_err(|e| e.in_file(path))?;
        let mut out = AtomicFile::create(destination, options.overwrite)?;
        let mut buffer = PlainBuffer::new(STRIPE_LEN);
        let mut total = 0;
        loop {
            let have = match plaintext.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io_at("read", path, e)),
            };
            out.write_all(&buffer[..have])
                .map_err(|e| Error::io_at("write", destination, e))?;
            total += have as u64;
            report.now_and_then(&mut last, total)?;
        }
        report.now(total)?;
        out.commit(None)?;
        Ok(total)
    }
}
