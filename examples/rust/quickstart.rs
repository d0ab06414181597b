//! The README's example: data in memory, and a file.

use cmkit::{EncryptionContext, FileOptions, Keyring};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keyring = Keyring::local()?;
    let context = EncryptionContext::new([("doc", "42")])?;
    let envelope = keyring.encrypt(b"attack at dawn", &context)?;
    assert_eq!(keyring.decrypt(&envelope, &context)?, b"attack at dawn");

    std::fs::write("plan.txt", "attack at dawn")?;
    let (plan, sealed) = ("plan.txt".as_ref(), "plan.txt.cmk".as_ref());
    keyring.encrypt_file(plan, sealed, &context, &FileOptions::default())?;
    assert_eq!(keyring.open_file(sealed, &context)?.len(), 14);
    Ok(())
}
