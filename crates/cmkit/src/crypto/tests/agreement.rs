//! Both backends compiled in: each opens what the other sealed.
#![cfg(all(feature = "aws-lc-rs", feature = "rustcrypto"))]

use super::{AwsLc, Backend, RustCrypto, spki_of};

#[test]
fn sealed_chunks_are_equal_and_open_both_ways() {
    let mut key = [0; 32];
    crate::crypto::random(&mut key).expect("random");
    let (ours, theirs) = (AwsLc::aead(&key), RustCrypto::aead(&key));
    for len in [0, 1, 15, 16, 17, 1000, 16383, 16384] {
        let mut plaintext = vec![0; len];
        crate::crypto::random(&mut plaintext).expect("random");
        let mut nonce = [0; 12];
        crate::crypto::random(&mut nonce).expect("random");
        let (mut a, mut b) = (vec![0; len + 16], vec![0; len + 16]);
        AwsLc::seal(&ours, &nonce, &plaintext, &mut a).expect("sealed");
        RustCrypto::seal(&theirs, &nonce, &plaintext, &mut b).expect("sealed");
        assert_eq!(a, b, "{len}");

        let mut opened = vec![0; len];
        AwsLc::open(&ours, &nonce, &b, &mut opened).expect("opened");
        assert_eq!(opened, plaintext);
        opened.fill(0);
        RustCrypto::open(&theirs, &nonce, &a, &mut opened).expect("opened");
        assert_eq!(opened, plaintext);
    }
}

#[test]
fn hashes_and_expansions_are_equal() {
    let mut key = [0; 32];
    crate::crypto::random(&mut key).expect("random");
    let (ours, theirs) = (AwsLc::expand_key(&key), RustCrypto::expand_key(&key));
    for len in [0, 1, 63, 64, 104, 511, 512, 513, 4096] {
        let mut message = vec![0; len];
        crate::crypto::random(&mut message).expect("random");
        let parts: Vec<&[u8]> = message.chunks(50).collect();
        assert_eq!(AwsLc::sha256(&parts), RustCrypto::sha256(&parts));
        assert_eq!(
            AwsLc::hmac_sha256(&key, &parts),
            RustCrypto::hmac_sha256(&key, &parts)
        );
        let (mut a, mut b) = (vec![0; 255 * 64], vec![0; 255 * 64]);
        AwsLc::expand(&ours, &parts, &mut a);
        RustCrypto::expand(&theirs, &parts, &mut b);
        assert_eq!(a, b, "{len}");
    }
}

#[test]
fn rsa_keys_and_wraps_cross_over() {
    let key = AwsLc::generate(3072).expect("a key");
    let der = AwsLc::to_pkcs8(&key).expect("PKCS#8");
    let same = RustCrypto::private_from_pkcs8(&der).expect("the same key");
    let spki = spki_of(&RustCrypto::to_pkcs8(&same).expect("PKCS#8"));
    assert_eq!(spki, spki_of(&der));
    let back = AwsLc::private_from_pkcs8(&RustCrypto::to_pkcs8(&same).expect("PKCS#8"))
        .expect("the same key");

    let wrapped = AwsLc::wrap_oaep(&AwsLc::public_from_spki(&spki).expect("public"), &[7; 72])
        .expect("wrapped");
    assert_eq!(
        RustCrypto::unwrap_oaep(&same, &wrapped).expect("unwrapped")[..],
        [7; 72]
    );
    let wrapped = RustCrypto::wrap_oaep(
        &RustCrypto::public_from_spki(&spki).expect("public"),
        &[8; 72],
    )
    .expect("wrapped");
    assert_eq!(
        AwsLc::unwrap_oaep(&back, &wrapped).expect("unwrapped")[..],
        [8; 72]
    );
}
