//! Volume files: one that opens, and those that don't.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::json;

use super::keys::{Home, all};
use super::{check_file, check_json, hex};
use crate::cbor;
use crate::crypto::sha256;
use crate::seams::{Clock, Random};
use crate::{EncryptionContext, ErrorKind, KeyRef, Keyring, SectorSize, VolumeLayout};

/// When the DEKs were made.
const CREATED: u64 = 1_750_000_000;

const LAYOUT: VolumeLayout = VolumeLayout {
    sector_size: SectorSize::B4096,
    iv_offset: 32_768,
    len: 1 << 30,
};

fn keyring(dir: &Path, home: &Home, seed: u8) -> Keyring {
    let (clock, _) = Clock::manual(CREATED);
    let builder = Keyring::builder()
        .provider(Arc::new(home.provider()))
        .clock(clock)
        .random(Random::Fixed {
            seed,
            counter: AtomicU64::new(0),
        });
    let mut keys = all(dir).into_iter();
    let key = keys.find(|key| key.name() == "golden").unwrap();
    builder.wrap_with(KeyRef::from(key)).build().unwrap()
}

fn description(numbers: &[(u64, u64)], salt: &[u8], trailing: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    cbor::write_map_len(&mut out, numbers.len() + usize::from(!salt.is_empty()));
    for (key, value) in numbers {
        cbor::write_unsigned(&mut out, *key);
        cbor::write_unsigned(&mut out, *value);
    }
    if !salt.is_empty() {
        cbor::write_unsigned(&mut out, 5);
        cbor::write_bytes(&mut out, salt);
    }
    out.extend_from_slice(trailing);
    out
}

/// Makes the vectors and compares them, then opens each.
pub(super) fn check(dir: &Path) {
    let home = Home::with(dir, |_| true);
    let keyring = |seed| keyring(dir, &home, seed);
    let (key, file) = keyring(200).create_xts_volume(&LAYOUT).unwrap();
    check_file(&dir.join("volume.cmk"), &file);
    let reader = keyring(0);
    let (opened, layout) = reader.open_xts_volume(&file).unwrap();
    assert_eq!(layout, LAYOUT);
    let kernel_key = opened.kernel_key().unwrap();
    assert_eq!(kernel_key.expose(), key.kernel_key().unwrap().expose());
    let sector = |offset| {
        let mut sector = super::plaintext(4096);
        opened.encrypt_sectors(offset, &mut sector).unwrap();
        hex(&sha256(&[&sector]))
    };
    let mut list = vec![json!({
        "name": "volume",
        "file": "volume.cmk",
        "sector_size": 4096,
        "iv_offset": LAYOUT.iv_offset,
        "len": LAYOUT.len,
        "volume_key": hex(kernel_key.expose()),
        "first_sector_sha256": sector(0),
        "last_sector_sha256": sector(LAYOUT.len - 4096),
    })];

    let salt = [7; 32];
    let good = [(1, 2), (2, 4096), (3, 32_768), (4, 1 << 30)];
    let with = |place: usize, entry| {
        let mut numbers = good;
        numbers[place] = entry;
        description(&numbers, &salt, &[])
    };
    for (seed, (name, description)) in (201..).zip([
        ("volume-mode-ephemeral", with(0, (1, 1))),
        ("volume-mode-unknown", with(0, (1, 3))),
        ("volume-sector-1024", with(1, (2, 1024))),
        ("volume-sector-2-to-32", with(1, (2, (1 << 32) + 4096))),
        ("volume-iv-offset-in-a-sector", with(2, (3, 1))),
        ("volume-iv-offset-2-to-63", with(2, (3, 1 << 63))),
        ("volume-of-nothing", with(3, (4, 0))),
        ("volume-len-in-a-sector", with(3, (4, 4095))),
        ("volume-len-above-256-tib", with(3, (4, (1 << 48) + 4096))),
        (
            "volume-without-iv-offset",
            description(&[good[0], good[1], good[3]], &salt, &[]),
        ),
        ("volume-without-salt", description(&good, &[], &[])),
        ("volume-salt-of-31", description(&good, &salt[..31], &[])),
        ("volume-keys-out-of-order", with(3, (2, 1 << 30))),
        ("volume-with-more", description(&good, &salt, &[0])),
        ("volume-of-no-bytes", Vec::new()),
    ]) {
        let (_, hold) = keyring(seed).new_volume_dek().unwrap();
        let file = hold.seal_file(&description).unwrap();
        let path = format!("{name}.cmk");
        check_file(&dir.join(&path), &file);
        let error = reader.open_xts_volume(&file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format, "{name}: {error}");
        list.push(json!({ "name": name, "file": path, "error": "Format" }));
    }
    // Neither is a document, nor a document one of these.
    let none = EncryptionContext::default();
    let refused = reader.decrypt(&file, &none).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Format);
    check_json(&dir.join("volumes.json"), list);
}
