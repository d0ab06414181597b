//! A new version of a key, and old files moved to it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cmkit::{
    EncryptionContext, FileOptions, KeyRef, KeyType, Keyring, LocalKeyProvider, Rewrap, inspect,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = Arc::new(LocalKeyProvider::open_or_create("keys")?);
    let old = keys.create_key("team", KeyType::Oct256)?;
    let keyring = Keyring::builder()
        .provider(Arc::clone(&keys) as _)
        .wrap_with(KeyRef::local("team")?)
        .build()?;
    let context = EncryptionContext::new([("file", "plan")])?;
    let sealed = Path::new("plan.cmk");
    fs::write("plan", "attack at dawn")?;
    keyring.encrypt_file(Path::new("plan"), sealed, &context, &FileOptions::default())?;

    let new = keys.rotate("team")?;
    // Only the header is written; the body stays.
    let outcome = keyring.rewrap_file(sealed, &Rewrap::to(KeyRef::local("team")?))?;
    println!("{}: {outcome:?}", sealed.display());
    let header = inspect(&fs::read(sealed)?)?;
    assert_eq!(header.recipients[0].key_id, new);

    // The old version isn't needed for this file any more. An old copy of the file would still need it.
    keys.disable(&old)?;
    keyring.decrypt_file(sealed, Path::new("back"), &context, &FileOptions::default())?;
    assert_eq!(fs::read("back")?, b"attack at dawn");
    Ok(())
}
