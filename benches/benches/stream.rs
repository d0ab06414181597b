//! Streams and random access over 64 MiB in memory.

use std::io::{Read, Write, sink};

use cmkit::EncryptionContext;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const SIZE: usize = 64 << 20;

fn streams(c: &mut Criterion) {
    let (keyring, _dir) = cmkit_bench::keyring();
    let context = EncryptionContext::empty();
    let plaintext = vec![7; SIZE];
    let envelope = keyring.encrypt(&plaintext, &context).expect("sealed");
    let mut group = c.benchmark_group("stream");
    group
        .sample_size(10)
        .throughput(Throughput::Bytes(SIZE as u64));
    group.bench_function("Encryptor, writes of 64 KiB", |b| {
        b.iter(|| {
            let mut encryptor = keyring.encryptor(sink(), &context).expect("an encryptor");
            plaintext
                .chunks(64 << 10)
                .for_each(|p| encryptor.write_all(p).expect("written"));
            encryptor.finish().expect("finished")
        });
    });
    group.bench_function("Decryptor, reads of 64 KiB", |b| {
        let mut buffer = vec![0; 64 << 10];
        b.iter(|| {
            let mut decryptor = keyring
                .decryptor(&envelope[..], &context)
                .expect("a decryptor");
            while decryptor.read(&mut buffer).expect("read") > 0 {}
        });
    });
    let reader = keyring.reader(&envelope[..], &context).expect("a reader");
    let mut buffer = [0; 4096];
    let mut offset = 0;
    group.throughput(Throughput::Bytes(4096));
    group.bench_function("Reader, 4 KiB here and there", |b| {
        b.iter(|| {
            offset = (offset + 7_654_321) % (SIZE as u64 - 4096);
            reader.read_at(&mut buffer, offset).expect("read")
        });
    });
    group.finish();
}

criterion_group!(benches, streams);
criterion_main!(benches);
