//! What can't be is refused, and the message says what can.

use std::io;
use std::sync::Arc;

use cmkit::{BlockSize, ErrorKind, KeyRef, KeyType, Keyring, LocalKeyProvider, SectorSize, XtsKey};

use super::{MODES, Scene, VolumeMode, VolumeSpec};
use crate::Volume;
use crate::backing::{Backing, MemoryBacking, Punched};
use crate::device::{BlockDevice as _, Durability, Zeroes};

/// A backing of any size that has nothing.
struct Hollow {
    len: u64,
    read_only: bool,
}

impl Backing for Hollow {
    fn len(&self) -> u64 {
        self.len
    }

    fn name(&self) -> &str {
        "hollow"
    }

    fn read_at(&self, data: &mut [u8], _: u64) -> io::Result<()> {
        data.fill(0);
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn punch(&self, _: u64, _: u64) -> io::Result<Punched> {
        Ok(Punched::Unsupported)
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }
}

pub(super) fn hollow(len: u64) -> Box<dyn Backing> {
    Box::new(Hollow {
        len,
        read_only: false,
    })
}

#[track_caller]
fn refused(len: u64, spec: &VolumeSpec, kind: ErrorKind, words: &[&str]) {
    let error = Volume::create(hollow(len), spec).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(
            error.to_string().contains(word),
            "{word:?} isn't in {error}"
        );
    }
}

#[test]
fn sizes_that_cannot_be() {
    let invalid = ErrorKind::InvalidArgument;
    for mode in MODES {
        let (spec, block) = (VolumeSpec::new(mode), u64::from(mode.block_bytes()));
        for len in [0, 1, block - 1] {
            refused(len, &spec, invalid, &["too small", &block.to_string()]);
        }
        let (down, up) = (7 * block, 8 * block);
        let both = [&*down.to_string(), &*up.to_string()];
        refused(down + 1, &spec, invalid, &both);
        refused(up - 1, &spec, invalid, &both);
        Volume::create(hollow(block), &spec).unwrap();
    }
    for sector in [SectorSize::B512, SectorSize::B4096] {
        let spec = VolumeSpec::new(VolumeMode::Xts(sector));
        refused((1 << 48) + 4096, &spec, invalid, &["256 TiB"]);
        assert_eq!(
            Volume::create(hollow(1 << 40), &spec).unwrap().warning(),
            None
        );
        let large = Volume::create(hollow((1 << 40) + 4096), &spec).unwrap();
        assert!(large.warning().unwrap().contains("1 TiB"));
        assert!(
            Volume::create(hollow(1 << 48), &spec)
                .unwrap()
                .warning()
                .is_some()
        );
    }
    // More blocks than there are numbers, whatever memory there is.
    let spec = VolumeSpec::default().metadata_budget(u64::MAX);
    refused(1 << 62, &spec, invalid, &["2^48"]);
    let ephemeral = Volume::create(
        hollow(1 << 42),
        &VolumeSpec::default().metadata_budget(1 << 36),
    );
    assert_eq!(ephemeral.unwrap().warning(), None);
}

#[test]
fn seals_that_need_more_memory_than_allowed() {
    let invalid = ErrorKind::InvalidArgument;
    // A TiB in blocks of 4 KiB needs 5.7 GB, of 16 KiB 1.5, of 64 KiB 0.4.
    for (budget, advice) in [
        (2 << 30, "16 KiB"),
        (1 << 30, "64 KiB"),
        (1 << 20, "smaller"),
    ] {
        let spec = VolumeSpec::default().metadata_budget(budget);
        refused(1 << 40, &spec, invalid, &[advice, &budget.to_string()]);
    }
    let fits = VolumeSpec::new(VolumeMode::Ephemeral(BlockSize::Kib64)).metadata_budget(1 << 30);
    Volume::create(hollow(1 << 40), &fits).unwrap();
    // Half of the machine's memory, if nothing was said.
    refused(1 << 58, &VolumeSpec::default(), invalid, &["memory"]);
    // No room is taken in XTS mode.
    let xts = VolumeSpec::new(MODES[4]).metadata_budget(0);
    assert_eq!(
        Volume::create(hollow(1 << 40), &xts)
            .unwrap()
            .stats()
            .metadata_bytes,
        0
    );
}

#[test]
fn ranges_beyond_the_end() {
    for mode in MODES {
        let block = mode.block_bytes() as usize;
        let scene = Scene::new(mode, 4 * block);
        let (volume, size) = (&scene.volume, 4 * block as u64);
        for (offset, len) in [
            (size, 1),
            (size + 1, 0),
            (size - 1, 2),
            (0, size + 1),
            (u64::MAX, 0),
            (u64::MAX, 1),
            (u64::MAX - 4095, 4096),
            (1, u64::MAX),
            (u64::MAX, u64::MAX),
        ] {
            let mut results = vec![
                volume.discard(offset, len),
                volume.write_zeroes(offset, len, Zeroes::MayPunch, Durability::Cached),
                volume.write_zeroes(offset, len, Zeroes::KeepRoom, Durability::Cached),
                volume.extents(offset, len, &mut |_| panic!("there is nothing")),
            ];
            if len <= size + 1 {
                let mut data = vec![1; len as usize];
                results.push(scene.read(offset, len as usize).map(drop));
                results.push(scene.write(offset, &data));
                results.push(volume.write_from(&mut data, offset, Durability::Cached));
            }
            for result in results {
                let error = result.unwrap_err();
                assert_eq!(
                    error.kind(),
                    ErrorKind::InvalidArgument,
                    "{mode:?}: {error}"
                );
                assert!(error.to_string().contains("beyond the end"), "{error}");
            }
        }
        // Nothing at all is fine anywhere on the disk, its end too.
        for offset in [0, 1, size] {
            scene.read(offset, 0).unwrap();
            scene.write(offset, &[]).unwrap();
            volume
                .write_from(&mut [], offset, Durability::Durable)
                .unwrap();
            volume.discard(offset, 0).unwrap();
            volume
                .write_zeroes(offset, 0, Zeroes::KeepRoom, Durability::Cached)
                .unwrap();
            volume
                .extents(offset, 0, &mut |_| panic!("there is nothing"))
                .unwrap();
        }
        assert_eq!(volume.stats().metadata_bytes, 0);
        assert!(scene.faults.writes().is_empty());
    }
}

#[test]
fn what_is_read_only_stays_so() {
    let backing = || {
        Box::new(Hollow {
            len: 1 << 20,
            read_only: true,
        })
    };
    for mode in MODES {
        let refused = Volume::create(backing(), &VolumeSpec::new(mode)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Policy, "{refused}");
    }
    let key = XtsKey::random(SectorSize::B4096).unwrap();
    let volume = Volume::open_with(backing(), key, 1 << 20).unwrap();
    assert!(volume.geometry().read_only);
    volume.read_at(&mut [0; 100], 0).unwrap();
    for refused in [
        volume.write_at(&[1], 0, Durability::Cached),
        volume.write_from(&mut [1], 0, Durability::Cached),
        volume.discard(0, 4096),
        volume.write_zeroes(0, 4096, Zeroes::MayPunch, Durability::Cached),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Policy);
    }
}

#[test]
fn volumes_that_are_not_those_of_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Arc::new(LocalKeyProvider::open_or_create(dir.path().join("keys")).unwrap());
    keys.create_key("a", KeyType::Oct256).unwrap();
    let keyring = Keyring::builder().provider(keys as _);
    let keyring = keyring
        .wrap_with(KeyRef::local("a").unwrap())
        .build()
        .unwrap();
    let memory = |len| Box::new(MemoryBacking::new(len));
    let made = Volume::create_reopenable(memory(1 << 20), SectorSize::B4096, &keyring);
    let (volume, file) = made.unwrap();
    drop(volume);
    let error = Volume::open(memory((1 << 20) - 4096), &file, &keyring).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("1048576"), "{error}");
    // On a larger one it is as large as it was.
    let opened = Volume::open(memory(2 << 20), &file, &keyring).unwrap();
    assert_eq!(opened.len(), 1 << 20);
    assert_eq!(opened.mode(), VolumeMode::Xts(SectorSize::B4096));

    let document = keyring
        .encrypt(b"text", &cmkit::EncryptionContext::default())
        .unwrap();
    for wrong in [&document[..], &[], b"LUKS\xba\xbe", &file[..file.len() - 1]] {
        assert!(Volume::open(memory(1 << 20), wrong, &keyring).is_err());
    }
    let error = Volume::open(memory(1 << 20), &document, &keyring).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format, "{error}");
    for (size, len) in [(1 << 20, 2 << 20), (1 << 20, 4095), (1 << 20, 0)] {
        let key = XtsKey::random(SectorSize::B4096).unwrap();
        let error = Volume::open_with(memory(size), key, len).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
}
