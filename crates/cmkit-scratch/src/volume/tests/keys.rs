//! Keys that are taken away, and come back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cmkit::{
    BlockSeal, BlockSize, ErrorKind, KeyId, KeyProvider, KeyRef, KeyState, KeyType, Keyring,
    LocalKeyProvider, ProviderError, SecretBytes, SectorSize, UnwrapRequest, WrapAlgorithm,
    WrapRequest, WrappedKey,
};

use super::{Scene, VolumeMode, VolumeSpec, filled};
use crate::Volume;
use crate::backing::MemoryBacking;
use crate::device::BlockDevice as _;
use crate::volume::Cipher;

/// Longer than an answer of the keys is believed.
const A_WHILE: Duration = Duration::from_millis(1200);

struct World {
    _dir: tempfile::TempDir,
    keys: Arc<LocalKeyProvider>,
    keyring: Keyring,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let keys = Arc::new(LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap());
    keys.create_key("a", KeyType::Oct256).unwrap();
    let keyring = Keyring::builder()
        .provider(Arc::clone(&keys) as _)
        .wrap_with(KeyRef::local("a").unwrap())
        .build()
        .unwrap();
    World {
        _dir: dir,
        keys,
        keyring,
    }
}

const KEPT: [VolumeMode; 2] = [
    VolumeMode::Ephemeral(BlockSize::Kib4),
    VolumeMode::Xts(SectorSize::B4096),
];

fn kept(world: &World, mode: VolumeMode) -> (Scene, KeyId, Vec<u8>) {
    let spec = VolumeSpec::new(mode).keyring(world.keyring.clone());
    let scene = Scene::of(&spec, 8 * 4096);
    let key = scene.volume.key_ids().pop().unwrap();
    let text = filled(8 * 4096, 5);
    scene.write(0, &text).unwrap();
    (scene, key, text)
}

#[test]
fn a_volume_stops_when_its_key_is_disabled_and_goes_on_when_it_is_back() {
    for mode in KEPT {
        let world = world();
        let (scene, key, text) = kept(&world, mode);
        for _ in 0..2 {
            world.keys.disable(&key).unwrap();
            thread::sleep(A_WHILE);
            let volume = &scene.volume;
            for refused in [
                scene.read(0, 4096).map(drop),
                scene.write(0, &[1; 4096]),
                scene.write(1, &[1]),
                volume.discard(0, 4096),
                volume.extents(0, 4096, &mut |_| true),
            ] {
                assert_eq!(
                    refused.unwrap_err().kind(),
                    ErrorKind::KeyDisabled,
                    "{mode:?}"
                );
            }
            // What was written before is ciphertext, and may reach the medium.
            volume.flush().unwrap();
            assert!(!volume.is_destroyed());
            world.keys.enable(&key).unwrap();
            assert_eq!(scene.read(0, text.len()).unwrap(), text, "{mode:?}");
        }
        scene.write(0, &text[4096..]).unwrap();
        assert_eq!(scene.read(0, 4096).unwrap(), text[4096..8192]);
    }
}

/// Whether the key isn't there, without having it checked.
fn is_suspended(volume: &Volume) -> bool {
    match &volume.disk.cipher {
        Cipher::Ephemeral(disk) => {
            let (mut data, mut seals) = ([0; 4096], [BlockSeal::UNWRITTEN]);
            let key = disk.key();
            key.encrypt_blocks(0, &mut data, &mut seals).is_err()
        }
        Cipher::Xts(disk) => disk.key.encrypt_sectors(0, &mut [0; 4096]).is_err(),
    }
}

#[test]
fn an_idle_volume_lets_its_key_go() {
    for mode in KEPT {
        let world = world();
        let (scene, key, text) = kept(&world, mode);
        world.keys.disable(&key).unwrap();
        // Nobody reads or writes: the thread asks.
        let begun = Instant::now();
        while !is_suspended(&scene.volume) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{mode:?}");
            thread::sleep(Duration::from_millis(50));
        }
        world.keys.enable(&key).unwrap();
        assert_eq!(scene.read(0, text.len()).unwrap(), text);
    }
}

#[test]
fn a_destroyed_key_is_the_end() {
    for mode in KEPT {
        let world = world();
        let (scene, key, _) = kept(&world, mode);
        world.keys.destroy(&key).unwrap();
        thread::sleep(A_WHILE);
        let error = scene.read(0, 1).unwrap_err();
        assert!(
            !matches!(error.kind(), ErrorKind::Authentication | ErrorKind::Format),
            "{error}"
        );
        assert!(scene.read(0, 1).is_err());
    }
}

#[test]
fn a_key_whose_files_are_gone_is_the_end() {
    for mode in KEPT {
        let world = world();
        let (scene, _, _) = kept(&world, mode);
        std::fs::remove_dir_all(world._dir.path().join("keys/keys/a")).unwrap();
        thread::sleep(A_WHILE);
        assert!(scene.read(0, 1).is_err(), "{mode:?}");
        assert!(scene.write(0, &[1]).is_err(), "{mode:?}");
    }
}

#[test]
fn a_reset_under_a_key_that_was_taken_away_leaves_it_destroyed() {
    let world = world();
    let (scene, key, _) = kept(&world, KEPT[0]);
    world.keys.disable(&key).unwrap();
    thread::sleep(A_WHILE);
    assert_eq!(
        scene.volume.reset().unwrap_err().kind(),
        ErrorKind::KeyDisabled
    );
    assert!(scene.volume.is_destroyed());
    assert!(scene.read(0, 1).is_err());
    world.keys.enable(&key).unwrap();
    assert_eq!(
        scene.read(0, 1).unwrap_err().kind(),
        ErrorKind::InvalidState
    );
    scene.volume.reset().unwrap();
    assert_eq!(scene.read(0, 4096).unwrap(), vec![0; 4096]);
}

#[test]
fn a_volume_that_was_opened_again_stops_and_goes_on_too() {
    let world = world();
    let below = Arc::new(MemoryBacking::new(8 * 4096));
    let backing = || Box::new(super::Shared(Arc::clone(&below)));
    let text = filled(8 * 4096, 6);
    let made = Volume::create_reopenable(backing(), SectorSize::B512, &world.keyring);
    let (volume, file) = made.unwrap();
    volume
        .write_at(&text, 0, crate::Durability::Durable)
        .unwrap();
    drop(volume);
    let volume = Volume::open(backing(), &file, &world.keyring).unwrap();
    let read = || {
        let mut read = vec![0; text.len()];
        volume.read_at(&mut read, 0).map(|()| read)
    };
    assert_eq!(read().unwrap(), text);
    let key = volume.key_ids().pop().unwrap();
    world.keys.disable(&key).unwrap();
    thread::sleep(A_WHILE);
    assert_eq!(read().unwrap_err().kind(), ErrorKind::KeyDisabled);
    let refused = Volume::open(backing(), &file, &world.keyring).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::KeyDisabled);
    world.keys.enable(&key).unwrap();
    assert_eq!(read().unwrap(), text);
}

/// A provider that doesn't come back from being asked for a key's state, until it is told to.
#[derive(Default)]
struct Hanging {
    hangs: Mutex<bool>,
    bell: Condvar,
    asked: AtomicBool,
}

impl Hanging {
    fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.bell.notify_all();
    }
}

impl KeyProvider for Hanging {
    fn name(&self) -> &str {
        "test"
    }

    fn wrap(&self, request: &WrapRequest<'_>) -> Result<WrappedKey, ProviderError> {
        Ok(WrappedKey {
            key: request.key.with_version(&"0".repeat(32)).unwrap(),
            algorithm: WrapAlgorithm::A256Kw,
            wrapped: request.plaintext.to_vec(),
        })
    }

    fn unwrap(&self, request: &UnwrapRequest<'_>) -> Result<SecretBytes, ProviderError> {
        Ok(SecretBytes::new(request.wrapped.to_vec()))
    }

    fn state(&self, _: &KeyId) -> KeyState {
        let mut hangs = self.hangs.lock().unwrap();
        while *hangs {
            self.asked.store(true, Ordering::SeqCst);
            hangs = self.bell.wait(hangs).unwrap();
        }
        KeyState::Active
    }
}

#[test]
fn a_vault_that_hangs_keeps_no_disk_open() {
    for mode in KEPT {
        let provider = Arc::new(Hanging::default());
        let keyring = Keyring::builder().provider(Arc::clone(&provider) as _);
        let keyring = keyring
            .wrap_with(KeyRef::parse("test:a").unwrap())
            .build()
            .unwrap();
        let below = Arc::new(MemoryBacking::new(8 * 4096));
        let backing = Box::new(super::Shared(Arc::clone(&below)));
        let volume = Volume::create(backing, &VolumeSpec::new(mode).keyring(keyring)).unwrap();
        provider.hang(true);
        // By the thread that looks after the idle volume.
        while !provider.asked.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        volume.destroy();
        drop(volume);
        assert_eq!(Arc::strong_count(&below), 1, "{mode:?}");
        provider.hang(false);
    }
}
