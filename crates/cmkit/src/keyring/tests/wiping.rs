//! No DEK, no capsule and no key expanded from a DEK outlives the keyring that had it.

use std::sync::{Arc, Mutex};

use zeroize::Zeroizing;

use super::{TEXT, key, none};
use crate::crypto::ExpandKey;
use crate::crypto::tests::memory::{Needle, find, found_after};
use crate::{
    BlockSeal, BlockSize, KeyProvider, Keyring, ProviderError, Rewrap, SecretBytes, SectorSize,
    UnwrapRequest, VolumeLayout, WrapAlgorithm, WrapRequest, WrappedKey,
};

/// "Wraps" under a mask, so that what is wrapped isn't in memory as it is, and keeps the last one.
#[derive(Default)]
struct Masking(Mutex<Vec<u8>>);

const MASK: u8 = 0xC5;

fn mask(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|b| b ^ MASK).collect()
}

impl KeyProvider for Masking {
    fn name(&self) -> &str {
        "test"
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        let wrapped = mask(request.plaintext);
        // It is there now: the search finds what there is.
        assert!(!find(&[Needle::of("capsule", request.plaintext)]).is_empty());
        self.0.lock().unwrap().clone_from(&wrapped);
        Ok(WrappedKey {
            key: request.key.with_version(&"0".repeat(32)).unwrap(),
            algorithm: WrapAlgorithm::A256Kw,
            wrapped,
        })
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        Ok(SecretBytes::new(mask(request.wrapped)))
    }
}

impl Masking {
    /// The secrets of the last DEK.
    fn needles(&self) -> Vec<Needle> {
        let capsule = Zeroizing::new(mask(&self.0.lock().unwrap()));
        let dek: Box<Zeroizing<[u8; 32]>> = Needle::of("DEK", &capsule[8..40]).reveal();
        let mut needles = vec![Needle::of("DEK", &dek[..]), Needle::of("capsule", &capsule)];
        for label in ["header-mac", "body"] {
            let mut expanded = Box::new(Zeroizing::new([0; 32]));
            let info = format!("cmkit/v1/{label}\0\0\u{1}");
            ExpandKey::new(&dek).expand(&[info.as_bytes()], &mut expanded[..]);
            needles.push(Needle::of(label, &expanded[..]));
        }
        needles
    }
}

fn keyring(provider: &Arc<Masking>) -> Keyring {
    let builder = Keyring::builder().provider(Arc::clone(provider) as _);
    builder.wrap_with(key("test:a")).build().unwrap()
}

#[test]
fn what_sealed_is_gone() {
    let provider = Arc::new(Masking::default());
    let sealing = keyring(&provider);
    sealing.encrypt(TEXT, &none()).unwrap();
    let needles = provider.needles();
    drop(sealing);
    assert_eq!(find(&needles), [""; 0]);
}

#[test]
fn what_opened_or_rewrapped_is_gone() {
    let provider = Arc::new(Masking::default());
    let envelope = keyring(&provider).encrypt(TEXT, &none()).unwrap();
    let needles = provider.needles();
    let found = found_after(&needles, || {
        let opening = keyring(&provider);
        assert_eq!(opening.decrypt(&envelope, &none()).unwrap(), TEXT);
        let mut damaged = envelope.clone();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(opening.decrypt(&damaged, &none()).is_err());
        // A header whose MAC is wrong has been unwrapped all the same.
        let header = crate::header_len(&envelope).unwrap();
        let mut forged = envelope.clone();
        forged[header - 1] ^= 1;
        assert!(opening.decrypt(&forged, &none()).is_err());
        opening
            .rewrap(&envelope, &Rewrap::to(key("test:b")))
            .unwrap();
    });
    assert_eq!(found, [""; 0]);
}

/// The key that a volume's DEK expands to, and AES's schedules of it.
fn volume_needles(expanded: &[u8]) -> Vec<Needle> {
    let halves = expanded
        .chunks_exact(32)
        .map(|half| Needle::of("volume key", half));
    let halves: Vec<_> = halves.collect();
    halves.iter().flat_map(Needle::aes_256_round_keys).collect()
}

#[test]
fn a_destroyed_volume_is_gone() {
    let provider = Arc::new(Masking::default());
    let keyring = keyring(&provider);
    let layout = VolumeLayout {
        sector_size: SectorSize::B4096,
        iv_offset: 0,
        len: 1 << 20,
    };
    let (blocks, sectors) = (
        keyring.new_block_key(BlockSize::Kib4).unwrap(),
        keyring.create_xts_volume(&layout).unwrap().0,
    );
    // But "body", from which only the volume file's message is opened: the hold keeps it until it is dropped.
    let mut needles = provider.needles();
    let body = needles.pop();
    needles.extend(volume_needles(sectors.kernel_key().unwrap().expose()));
    let found = found_after(&needles, || {
        let (mut data, mut seals) = (vec![3; 8192], [BlockSeal::UNWRITTEN; 2]);
        blocks.encrypt_blocks(0, &mut data, &mut seals).unwrap();
        blocks.decrypt_blocks(0, &mut data, &seals).unwrap();
        sectors.encrypt_sectors(0, &mut data).unwrap();
        sectors.decrypt_sectors(0, &mut data).unwrap();
        sectors.check().unwrap();
        blocks.destroy();
        sectors.destroy();
    });
    assert_eq!(found, [""; 0]);
    drop((blocks, sectors, keyring));
    needles.extend(body);
    assert_eq!(find(&needles), [""; 0]);
}

#[test]
fn a_block_key_is_gone_when_destroyed_and_when_suspended() {
    let provider = Arc::new(Masking::default());
    let keyring = keyring(&provider);
    let blocks = keyring.new_block_key(BlockSize::Kib4).unwrap();
    let mut needles = provider.needles();
    needles.truncate(2);
    {
        let dek: Box<Zeroizing<[u8; 32]>> = needles[0].reveal();
        needles.extend(volume_needles(&blocks.expanded(&dek)[..]));
    }
    let found = found_after(&needles, || {
        let (mut data, mut seals) = (vec![3; 4096], [BlockSeal::UNWRITTEN]);
        blocks.encrypt_blocks(0, &mut data, &mut seals).unwrap();
        // It is there now.
        assert!(!find(&needles).is_empty());
        blocks.suspend();
    });
    assert_eq!(found, [""; 0]);
    blocks.destroy();
    assert_eq!(find(&needles), [""; 0]);
}
