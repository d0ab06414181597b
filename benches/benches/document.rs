//! Documents of several sizes: encrypt, decrypt, and the primitives below.

use cmkit::EncryptionContext;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn documents(c: &mut Criterion) {
    let (keyring, _dir) = cmkit_bench::keyring();
    let context = EncryptionContext::new([("doc", "42")]).expect("a context");
    let bare = cmkit_bench::bare::Document::new(&[1; 32]);
    let mut group = c.benchmark_group("document");
    for size in [0usize, 1 << 10, 16 << 10, 1 << 20] {
        let plaintext = vec![7; size];
        let envelope = keyring.encrypt(&plaintext, &context).expect("sealed");
        let mut out = vec![0; envelope.len()];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("encrypt_into", size), &size, |b, _| {
            b.iter(|| {
                keyring
                    .encrypt_into(&plaintext, &context, &mut out)
                    .expect("sealed")
            });
        });
        group.bench_with_input(BenchmarkId::new("decrypt_into", size), &size, |b, _| {
            b.iter(|| {
                keyring
                    .decrypt_into(&envelope, &context, &mut out)
                    .expect("opened")
            });
        });
        group.bench_with_input(BenchmarkId::new("encrypt", size), &size, |b, _| {
            b.iter(|| keyring.encrypt(&plaintext, &context).expect("sealed"));
        });
    }
    let plaintext = [7; 1024];
    let mut out = [0; 1024 + 72];
    group.bench_function("bare primitives/1024", |b| {
        b.iter(|| bare.seal(&[3; 90], &plaintext, &mut out))
    });
    group.finish();
}

criterion_group!(benches, documents);
criterion_main!(benches);
