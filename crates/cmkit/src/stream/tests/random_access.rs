//! Readers.

use std::io::{Cursor, Seek, SeekFrom};
use std::sync::Arc;
use std::thread;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_range_is_the_plaintexts(
        len in near_boundary(),
        ranges in prop::collection::vec((any::<prop::sample::Index>(), 0..1_500_000usize), 1..8),
    ) {
        let f = Fixture::new();
        let plaintext = sample(len);
        let envelope = f.encrypt(&plaintext, &context()).unwrap();
        let reader = f.reader(envelope, &context()).unwrap();
        prop_assert_eq!(reader.len(), len as u64);
        for (offset, size) in ranges {
            let offset = offset.index(len + 10);
            let mut out = vec![0xEE; size];
            let read = reader.read_at(&mut out, offset as u64).unwrap();
            let expected = &plaintext[offset.min(len)..len.min(offset + size)];
            prop_assert!(out[..read] == *expected);
            prop_assert!(out[read..].iter().all(|b| *b == 0xEE));
        }
    }

    #[test]
    fn reads_and_seeks_are_a_cursors(
        len in 0..60_000usize,
        steps in prop::collection::vec((0..3u8, -70_000..70_000i64, 0..20_000usize), 1..40),
    ) {
        let f = Fixture::new();
        let plaintext = sample(len);
        let envelope = f.encrypt(&plaintext, &context()).unwrap();
        let mut reader = f.reader(&envelope, &context()).unwrap();
        let mut cursor = Cursor::new(&plaintext);
        for (whence, by, size) in steps {
            let to = match whence {
                0 => SeekFrom::Start(by.unsigned_abs()),
                1 => SeekFrom::End(by),
                _ => SeekFrom::Current(by),
            };
            prop_assert_eq!(reader.seek(to).ok(), cursor.seek(to).ok());
            let (mut ours, mut theirs) = (vec![0; size], vec![0; size]);
            let (n, m) = (reader.read(&mut ours).unwrap(), cursor.read(&mut theirs).unwrap());
            prop_assert_eq!(n, m);
            prop_assert!(ours == theirs);
        }
    }
}

#[test]
fn many_threads_read_one_reader() {
    let f = Fixture::new();
    let plaintext = sample(3 << 20);
    let envelope = f.encrypt(&plaintext, &context()).unwrap();
    let reader = f.reader(Arc::new(envelope), &context()).unwrap();
    thread::scope(|scope| {
        for t in 0..8usize {
            let (reader, plaintext) = (&reader, &plaintext);
            scope.spawn(move || {
                let mut out = vec![0; 5000];
                for i in 0..300 {
                    let offset = (i * 7919 * (t + 1)) % (plaintext.len() - out.len());
                    assert_eq!(reader.read_at(&mut out, offset as u64).unwrap(), out.len());
                    assert!(out == plaintext[offset..offset + out.len()]);
                }
            });
        }
    });
}

#[test]
fn every_kind_of_source() {
    let f = Fixture::new();
    let plaintext = sample(50_000);
    let envelope = f.encrypt(&plaintext, &context()).unwrap();
    let path = f.dir.path().join("envelope");
    std::fs::write(&path, &envelope).unwrap();

    let file = std::fs::File::open(&path).unwrap();
    let seeking = SeekReadAt::new(Cursor::new(envelope.clone()));
    let sources: [Box<dyn ReadAt>; 5] = [
        Box::new(file),
        Box::new(seeking),
        Box::new(envelope.clone()),
        Box::new(Arc::new(envelope.clone())),
        Box::new(OneByte(envelope)),
    ];
    for source in sources {
        let mut reader = f.reader(source, &context()).unwrap();
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        assert!(out == plaintext);
    }
}

/// Gives one byte at a time, every other time interrupted.
struct OneByte(Vec<u8>);

impl ReadAt for OneByte {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        use std::sync::atomic::{AtomicBool, Ordering};
        static TURN: AtomicBool = AtomicBool::new(false);
        if TURN.fetch_xor(true, Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = buf.len().min(1);
        self.0.read_at(&mut buf[..len], offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

#[test]
fn a_source_that_shrinks_is_truncated() {
    let f = Fixture::new();
    let envelope = f.encrypt(&sample(50_000), &context()).unwrap();
    let path = f.dir.path().join("envelope");
    std::fs::write(&path, &envelope).unwrap();
    let reader = f.open_file(&path, &context()).unwrap();
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(20_000)
        .unwrap();
    let mut out = vec![0xEE; 30_000];
    let error = reader.read_at(&mut out, 1000).unwrap_err();
    assert!(matches!(error.root(), crate::Error::Truncated));
    assert!(out.iter().all(|b| *b == 0));
}
