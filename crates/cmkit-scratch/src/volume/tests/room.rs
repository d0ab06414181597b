//! How much memory a volume takes: none where nothing was written, 22 bytes a block elsewhere.

use std::time::{Duration, Instant};

use cmkit::{BlockSize, ErrorKind};

use super::arguments::hollow;
use super::{Scene, VolumeMode, VolumeSpec};
use crate::Volume;
use crate::device::{BlockDevice as _, Durability, Zeroes};
use crate::volume::Cipher;

#[test]
fn an_untouched_volume_takes_nothing() {
    let begun = Instant::now();
    let spec = VolumeSpec::default().metadata_budget(1 << 36);
    let volume = Volume::create(hollow(1 << 40), &spec).unwrap();
    let mut text = [1; 4096];
    for gib in 0..1024_u64 {
        volume.read_at(&mut text, gib << 30).unwrap();
    }
    // What mkfs and fstrim do.
    volume.discard(0, 1 << 40).unwrap();
    let zeroes = volume.write_zeroes(0, 1 << 40, Zeroes::MayPunch, Durability::Cached);
    zeroes.unwrap();
    let mut extents = 0;
    volume
        .extents(0, 1 << 40, &mut |extent| {
            assert_eq!(extent.len, 1 << 40);
            extents += 1;
            true
        })
        .unwrap();
    assert_eq!(extents, 1);
    assert_eq!(volume.stats().metadata_bytes, 0);
    let Cipher::Ephemeral(disk) = &volume.disk.cipher else {
        panic!("it isn't ephemeral");
    };
    // 24 bytes for each GiB, and no locks yet.
    assert_eq!(disk.groups(), (1024, 0));
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn seals_take_22_bytes_a_block() {
    for (size, per_million) in [(BlockSize::Kib4, 5_371), (BlockSize::Kib64, 335)] {
        let block = size.bytes() as usize;
        let scene = Scene::new(VolumeMode::Ephemeral(size), 1024 * block);
        scene
            .volume
            .write_zeroes(0, 1024 * block as u64, Zeroes::KeepRoom, Durability::Cached)
            .unwrap();
        let metadata = scene.volume.stats().metadata_bytes;
        assert_eq!(metadata, 1024 * 22);
        let written = 1024 * block as u64;
        assert_eq!(metadata * 1_000_000 / written, per_million);
        scene.volume.discard(0, written).unwrap();
        assert_eq!(scene.volume.stats().metadata_bytes, 0);
    }
}

#[test]
fn what_is_over_the_budget_is_refused_and_harms_nothing() {
    // A volume is refused whose seals don't fit, so the table is tried alone.
    use std::sync::Arc;

    use crate::volume::table::{Table, Used};
    let table = Table::new(1024, Arc::new(Used::new(2 * 256 * 22))).unwrap();
    table.write(0).make_room().unwrap();
    table.write(255).make_room().unwrap();
    table.write(256).make_room().unwrap();
    let error = table.write(512).make_room().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Policy);
    assert!(error.to_string().contains("11264"), "{error}");
}
