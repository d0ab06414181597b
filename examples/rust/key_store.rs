//! Many small documents, the rows of a database for instance, whose wrapped DEK is kept once.

use std::sync::Arc;

use cmkit::{
    DirectoryKeyStore, EncryptionContext, ErrorKind, KeyRef, KeyType, Keyring, LocalKeyProvider,
    Rewrap,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = Arc::new(LocalKeyProvider::open_or_create("keys")?);
    keys.create_key("jobs", KeyType::Oct256)?;
    keys.create_key("archive", KeyType::Oct256)?;
    let keyring = |key: &str| {
        Keyring::builder()
            .provider(Arc::clone(&keys) as _)
            .wrap_with(KeyRef::local(key)?)
            .key_store(Arc::new(DirectoryKeyStore::open_or_create("deks")?))
            .workspace("tenant-1")
            .build()
    };
    // What a document is goes into its context, so that no row can pass for another one.
    let context = |row: u32| EncryptionContext::new([("table", "jobs"), ("row", &row.to_string())]);

    let jobs = keyring("jobs")?;
    let mut rows = Vec::new();
    for row in 0..1000 {
        rows.push(jobs.encrypt_compact(b"{\"state\": \"done\"}", &context(row)?)?);
    }
    assert_eq!(
        jobs.decrypt(&rows[7], &context(7)?)?,
        b"{\"state\": \"done\"}"
    );
    let swapped = jobs.decrypt(&rows[7], &context(8)?);
    assert!(swapped.is_err_and(|error| error.kind() == ErrorKind::Authentication));

    // Another key for all of them: only the key store is written.
    let moved = jobs.rewrap_key_store(&Rewrap::to(KeyRef::local("archive")?))?;
    println!(
        "{moved} wrapped DEK moved, {} documents left as they are",
        rows.len()
    );
    let archive = keyring("archive")?;
    assert_eq!(
        archive.decrypt(&rows[7], &context(7)?)?,
        b"{\"state\": \"done\"}"
    );
    Ok(())
}
