//! Data that is too large for memory: written and read as a stream, and read at any place.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use cmkit::{EncryptionContext, HeaderPadding, Keyring, StreamOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keyring = Keyring::local()?;
    let context = EncryptionContext::new([("log", "2025-06")])?;

    // The padding is for files: it makes room for another key later.
    let options = StreamOptions::default().padded_header(HeaderPadding::FileBlock);
    let mut log = keyring.encryptor_with(File::create("log.cmk")?, &context, options)?;
    for n in 0..100_000 {
        writeln!(log, "line {n:08}")?;
    }
    // Without this there is no valid end, and no reader accepts the file.
    log.finish()?.sync_all()?;

    // From front to end, in constant memory.
    let mut stream = keyring.decryptor(File::open("log.cmk")?, &context)?;
    let bytes = io::copy(&mut stream, &mut io::sink())?;
    assert_eq!(bytes, 1_400_000);

    // Any part, without the rest. The length is authentic from the start.
    let mut log = keyring.open_file("log.cmk".as_ref(), &context)?;
    assert_eq!(log.len(), 1_400_000);
    log.seek(SeekFrom::End(-14))?;
    let mut last = String::new();
    log.read_to_string(&mut last)?;
    assert_eq!(last, "line 00099999\n");
    let mut line = [0; 14];
    log.read_at(&mut line, 14 * 50_000)?;
    assert_eq!(&line, b"line 00050000\n");
    Ok(())
}
