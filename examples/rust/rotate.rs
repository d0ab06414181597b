//! A new version of a key: old files brought to it, and the old version disabled when nothing needs it any more.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cmkit::{
    EncryptionContext, FileOptions, KeyRef, KeyType, Keyring, LocalKeyProvider, Rotate,
    SafeToDisable, inspect,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = Arc::new(LocalKeyProvider::open_or_create("keys")?);
    let old = keys.create_key("team", KeyType::Oct256)?;
    let keyring = Keyring::builder()
        .provider(Arc::clone(&keys) as _)
        .wrap_with(KeyRef::local("team")?)
        .build()?;
    let context = EncryptionContext::new([("file", "plan")])?;
    fs::create_dir("sealed")?;
    let sealed = Path::new("sealed/plan.cmk");
    fs::write("plan", "attack at dawn")?;
    keyring.encrypt_file(Path::new("plan"), sealed, &context, &FileOptions::default())?;

    let new = keys.rotate("team")?;
    // By default old wraps are kept for a day, for the sake of services with regions. A directory has none.
    let rotation = keyring.rotation(&Rotate::default().keep_old(Duration::ZERO))?;
    // Only headers are written; the bodies stay.
    rotation.rotate_paths(["sealed"], |path, result| {
        match result {
            Ok(done) => println!("{}: {:?}", path.display(), done.outcome),
            Err(e) => eprintln!("{e}"),
        }
        ControlFlow::Continue(())
    })?;
    let header = inspect(&fs::read(sealed)?)?;
    assert_eq!(header.recipients[0].key_id, new);

    let mut census = keyring.census();
    census.add_path("sealed");
    let newest = rotation.newest()[0].clone();
    let verdict = census.safe_to_disable(&old, &SafeToDisable::new(newest));
    // The new version was made just now: others, who haven't noticed yet, might still be writing under the old one.
    assert!(census.version(&old).is_none() && !verdict.is_yes());
    println!("not yet: {}", verdict.reasons().join("; "));

    // There are no others here. An old copy of the file would still need the old version.
    keys.disable(&old)?;
    keyring.decrypt_file(sealed, Path::new("back"), &context, &FileOptions::default())?;
    assert_eq!(fs::read("back")?, b"attack at dawn");
    Ok(())
}
