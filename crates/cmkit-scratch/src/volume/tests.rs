use super::{Volume, VolumeSpec};
use crate::backing::MemoryBacking;
use crate::device::{BlockDevice as _, Durability, Zeroes};

#[test]
fn what_is_written_is_read_at_any_byte() {
    let backing = Box::new(MemoryBacking::new(4 << 20));
    let volume = Volume::create(backing, &VolumeSpec::default()).unwrap();
    let text: Vec<u8> = (0..=250).cycle().take(2 << 20).collect();
    volume.write_at(&text, 12_345, Durability::Cached).unwrap();
    let mut read = vec![1; 4 << 20];
    volume.read_at(&mut read, 0).unwrap();
    assert!(read[..12_345].iter().all(|byte| *byte == 0));
    assert_eq!(read[12_345..][..text.len()], text);

    volume
        .write_zeroes(20_000, 100_000, Zeroes::MayPunch, Durability::Durable)
        .unwrap();
    volume.read_at(&mut read, 0).unwrap();
    assert!(read[20_000..120_000].iter().all(|byte| *byte == 0));
    assert_eq!(read[120_000..][..1000], text[120_000 - 12_345..][..1000]);

    volume.destroy();
    assert!(volume.read_at(&mut read, 0).is_err());
    assert!(read.iter().all(|byte| *byte == 0));
}
