//! Encrypting a file.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

use super::atomic::AtomicFile;
use super::options::FileOptions;
use super::source::Source;
use super::stripes::{Reporter, STRIPE_LEN, for_each_stripe};
use crate::chunked::{Message, PlainBuffer, RUN_CHUNKS, SLOT_LEN, slots_len};
use crate::context::EncryptionContext;
use crate::crypto::TAG_LEN;
use crate::error::{Error, Result};
use crate::keyring::{Form, Keyring};
use crate::stream::{HeaderPadding, StreamOptions, read_full_at};

/// Shorter files are read once from front to end: what threads would gain is not worth them, and the files that the kernel makes up while
/// they are read (`/proc`) don't tell their length.
const MIN_STRIPED: u64 = 4 * STRIPE_LEN as u64;

impl Keyring {
    /// Encrypts a file into another one and says how many bytes of plaintext it had.
    ///
    /// The destination appears whole and synced, or not at all; see [`AtomicFile`]. Until then only its owner may read it; then it has the
    /// mode of the source if that is a regular file. Its header is padded, so that [`rewrap_file`](Self::rewrap_file) needn't copy it.
    ///
    /// `source` may be anything that can be read. A regular file is encrypted by several threads, each with a buffer of half a MiB. The
    /// source must not change meanwhile; when its length does, the call fails.
    ///
    /// ```
    /// use std::fs;
    /// use cmkit::{EncryptionContext, FileOptions};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let provider = cmkit::LocalKeyProvider::open_or_create(dir.path().join("keys"))?;
    /// # provider.create_key("team", cmkit::KeyType::Oct256)?;
    /// # let keyring = cmkit::Keyring::builder().provider(std::sync::Arc::new(provider))
    /// #     .wrap_with(cmkit::KeyRef::parse("local:team")?).build()?;
    /// # let [report, sealed, back] = ["report", "report.cmk", "back"].map(|name| dir.path().join(name));
    /// let context = EncryptionContext::new([("file", "report")])?;
    /// fs::write(&report, "attack at dawn")?;
    /// keyring.encrypt_file(&report, &sealed, &context, &FileOptions::default())?;
    /// keyring.decrypt_file(&sealed, &back, &context, &FileOptions::default())?;
    /// assert_eq!(fs::read(&back)?, b"attack at dawn");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// * [`Error::AlreadyExists`]: the destination exists, with [`Overwrite::Refuse`](crate::Overwrite::Refuse).
    /// * [`Error::InvalidArgument`]: source and destination are the same file, or one of them is a directory.
    /// * [`Error::InvalidState`]: the source's length changed while it was read.
    /// * [`Error::Io`]: reading or writing failed; names the file.
    /// * [`Error::Cancelled`]: the progress callback said so.
    /// * Those of [`encrypt`](Self::encrypt).
    pub fn encrypt_file(
        &self,
        source: &Path,
        destination: &Path,
        context: &EncryptionContext,
        options: &FileOptions,
    ) -> Result<u64> {
        let encrypt = || {
            let source = Source::open(source, destination, options)?;
            let total = source.metadata.len();
            if source.metadata.is_file() && total >= MIN_STRIPED {
                self.encrypt_striped(&source, destination, context, options)?;
                Ok(total)
            } else {
                self.encrypt_streamed(source, destination, context, options)
            }
        };
        encrypt().map_err(|e| self.discreet(e))
    }

    fn encrypt_striped(
        &self,
        source: &Source<'_>,
        destination: &Path,
        context: &EncryptionContext,
        options: &FileOptions,
    ) -> Result<()> {
        let total = source.metadata.len();
        let key = self.sealing_key(Form::Padded)?;
        let (message, preamble) = Message::seal(
            key.body_key(),
            &key.draw_salt()?,
            &key.body_context(context),
        );
        let message = message.watched_by(key.guard());
        slots_len(total)?;
        let mut out = AtomicFile::create(destination, options.overwrite)?;
        let write_fail = |e| Error::io_at("write", destination, e);
        let front = [key.header(), &preamble].concat();
        out.write_all(&front).map_err(write_fail)?;

        let buffers = || (PlainBuffer::new(STRIPE_LEN), vec![0; RUN_CHUNKS * SLOT_LEN]);
        for_each_stripe(total, options, buffers, |(text, slots), stripe| {
            let text = &mut text[..stripe.len];
            let have =
                read_full_at(&source.file, text, stripe.offset).map_err(|e| source.fail(e))?;
            if have < text.len() {
                return Err(source.changed());
            }
            // A message's last chunk is there even when it is empty.
            let chunks = stripe.len / crate::chunked::CHUNK_LEN + usize::from(stripe.is_last);
            let slots = &mut slots[..stripe.len + TAG_LEN * chunks];
            message.seal_chunks(stripe.number, text, slots, 1)?;
            let place = front.len() as u64 + stripe.number * SLOT_LEN as u64;
            write_all_at(out.file(), slots, place).map_err(write_fail)?;
            key.charge(stripe.len as u64);
            key.check_process()
        })?;
        source.check_len()?;
        out.commit(Some(source.metadata.permissions()))
    }

    fn encrypt_streamed(
        &self,
        mut source: Source<'_>,
        destination: &Path,
        context: &EncryptionContext,
        options: &FileOptions,
    ) -> Result<u64> {
        let is_file = source.metadata.is_file();
        let report = Reporter::new(options, is_file.then_some(source.metadata.len()));
        report.now(0)?;
        let mut last = Instant::now();
        let stream = StreamOptions::default()
            .padded_header(HeaderPadding::FileBlock)
            .threads(options.thread_count());
        let out = AtomicFile::create(destination, options.overwrite)?;
        let mut out = self
            .encryptor_with(out, context, stream)
            .map_err(|e| e.in_file(destination))?;
        let mut buffer = PlainBuffer::new(STRIPE_LEN);
        loop {
            let have = match source.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(source.fail(e)),
            };
            out.write_all(&buffer[..have])
                .map_err(|e| Error::io_at("write", destination, e))?;
            report.now_and_then(&mut last, out.written())?;
        }
        let total = out.written();
        let out = out.finish().map_err(|e| e.in_file(destination))?;
        if is_file {
            source.check_len()?;
        }
        report.now(total)?;
        out.commit(is_file.then(|| source.metadata.permissions()))?;
        Ok(total)
    }
}

#[cfg(unix)]
pub(super) fn write_all_at(file: &File, data: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, data, offset)
}

#[cfg(windows)]
pub(super) fn write_all_at(file: &File, mut data: &[u8], mut offset: u64) -> io::Result<()> {
    while !data.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, data, offset)?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        data = &data[n..];
        offset += n as u64;
    }
    Ok(())
}
