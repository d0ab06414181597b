//! Faults that come when they are planned.

use super::*;
use crate::backing::MemoryBacking;

fn disk() -> (FaultyBacking<MemoryBacking>, Faults) {
    FaultyBacking::new(MemoryBacking::new(1024))
}

fn at(backing: &impl Backing, offset: u64) -> [u8; 4] {
    let mut data = [9; 4];
    backing.read_at(&mut data, offset).unwrap();
    data
}

#[test]
fn the_nth_call_of_its_kind_and_no_other() {
    let (backing, faults) = disk();
    backing.write_at(&[1; 4], 0).unwrap();
    faults.plan(Call::Write, 2, Fault::Error(28));
    backing.write_at(&[2; 4], 4).unwrap();
    backing.flush().unwrap();
    let error = backing.write_at(&[3; 4], 8).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    backing.write_at(&[4; 4], 12).unwrap();
    let written = [[1; 4], [2; 4], [0; 4], [4; 4]];
    for (i, expected) in written.iter().enumerate() {
        assert_eq!(at(&backing, i as u64 * 4), *expected);
    }
    assert_eq!(faults.writes(), [(0, 4), (4, 4), (8, 4), (12, 4)]);
    assert_eq!(faults.recorded()[3].fault, Some(Fault::Error(28)));
    faults.forget();
    assert!(faults.recorded().is_empty());
}

#[test]
fn writes_that_tear_and_vanish_and_change() {
    let (backing, faults) = disk();
    let torn = Fault::Torn { bytes: 1, errno: 5 };
    for (nth, fault) in [
        torn,
        Fault::SilentlyTorn { bytes: 2 },
        Fault::Lost,
        Fault::Flipped { byte: 3 },
        Fault::SilentlyTorn { bytes: 99 },
    ]
    .into_iter()
    .enumerate()
    {
        faults.plan(Call::Write, nth as u64 + 1, fault);
    }
    assert_eq!(
        backing.write_at(&[8; 4], 0).unwrap_err().raw_os_error(),
        Some(5)
    );
    for place in 1..5 {
        backing.write_at(&[8; 4], place * 4).unwrap();
    }
    let expected = [[8, 0, 0, 0], [8, 8, 0, 0], [0; 4], [8, 8, 8, 9], [8; 4]];
    for (i, expected) in expected.iter().enumerate() {
        assert_eq!(at(backing.inner(), i as u64 * 4), *expected);
    }
}

#[test]
fn reads_flushes_and_punches() {
    let (backing, faults) = disk();
    backing.write_at(&[8; 4], 0).unwrap();
    faults.plan_all(Call::Read, Fault::Error(5));
    faults.plan(Call::Read, 2, Fault::Flipped { byte: 0 });
    let mut data = [0; 4];
    assert!(backing.read_at(&mut data, 0).is_err());
    assert_ne!(data, [0; 4]);
    assert_eq!(at(&backing, 0), [9, 8, 8, 8]);
    assert!(backing.read_at(&mut data, 0).is_err());
    faults.plan_all(Call::Flush, Fault::Error(5));
    assert!(backing.flush().is_err());
    faults.plan(Call::Punch, 1, Fault::Unsupported);
    faults.plan(Call::Punch, 2, Fault::Error(5));
    assert_eq!(backing.punch(0, 4).unwrap(), Punched::Unsupported);
    assert!(backing.punch(0, 4).is_err());
    faults.clear();
    backing.flush().unwrap();
    assert_eq!(at(&backing, 0), [8; 4]);
}

#[test]
fn a_shorter_backing_ends_where_it_is_told() {
    let (backing, faults) = disk();
    faults.shorten(6);
    assert_eq!(at(&backing, 2), [0; 4]);
    let end = io::ErrorKind::UnexpectedEof;
    assert_eq!(backing.read_at(&mut [0; 4], 3).unwrap_err().kind(), end);
    assert_eq!(backing.write_at(&[0; 4], 3).unwrap_err().kind(), end);
    assert_eq!(backing.len(), 1024);
    faults.clear();
    assert_eq!(at(&backing, 1020), [0; 4]);
}

#[test]
fn a_hung_call_goes_on_when_released() {
    let (backing, faults) = disk();
    faults.plan(Call::Write, 1, Fault::Hung);
    faults.plan(Call::Flush, 1, Fault::Hung);
    std::thread::scope(|scope| {
        scope.spawn(|| backing.write_at(&[1; 4], 0).unwrap());
        scope.spawn(|| backing.flush().unwrap());
        faults.wait_for_hung(2);
        assert_eq!(at(&backing, 0), [0; 4]);
        faults.release();
    });
    assert_eq!(at(&backing, 0), [1; 4]);
}
