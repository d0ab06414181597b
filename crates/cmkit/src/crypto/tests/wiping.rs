//! Keys are gone from memory, the key schedules made of them too, when what held them is dropped.

use zeroize::Zeroizing;

use super::memory::{Needle, find, found_after};
use super::{Backend, test_each_backend};
use crate::crypto::key_wrap;
use crate::crypto::xts::Xts;

test_each_backend!(
    aead_keys_are_wiped,
    expand_keys_are_wiped,
    mac_keys_are_wiped,
    unwrapped_by_oaep_is_wiped
);

#[cfg(feature = "rustcrypto")]
mod midstates {
    use super::{Backend, midstates_are_wiped};
    use crate::crypto::tests::test_each_backend;

    test_each_backend!(are_wiped);

    fn are_wiped<B: Backend>() {
        midstates_are_wiped::<B>();
    }
}

#[test]
fn the_kek_does_not_outlive_a_wrap() {
    let kek = Needle::random("KEK", 32);
    let plaintext = Needle::random("plaintext", 72);
    let mut needles = kek.aes_256_round_keys();
    needles.insert(0, plaintext);
    let found = found_after(&needles, || {
        key_wrap::wrap(&kek.reveal(), &needles[0].reveal::<72>()[..]).expect("wrapped");
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn the_kek_does_not_outlive_an_unwrap() {
    let kek = Needle::random("KEK", 32);
    let plaintext = Needle::random("plaintext", 72);
    let wrapped = key_wrap::wrap(&kek.reveal(), &plaintext.reveal::<72>()[..]).expect("wrapped");
    let mut needles = kek.aes_256_round_keys();
    needles.insert(0, plaintext);
    let found = found_after(&needles, || {
        drop(key_wrap::unwrap(&kek.reveal(), &wrapped).expect("unwrapped"));
    });
    assert_eq!(found, [""; 0]);

    let mut damaged = wrapped.clone();
    damaged[40] ^= 1;
    let found = found_after(&needles, || {
        assert!(key_wrap::unwrap(&kek.reveal(), &damaged).is_err());
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn xts_keys_are_wiped() {
    let halves = [
        Needle::random("data key", 32),
        Needle::random("tweak key", 32),
    ];
    let key = || {
        let mut key = Box::new(Zeroizing::new([0; 64]));
        for (half, needle) in key.as_chunks_mut::<32>().0.iter_mut().zip(&halves) {
            half.copy_from_slice(&needle.reveal::<32>()[..]);
        }
        key
    };
    let needles = halves
        .each_ref()
        .map(Needle::aes_256_round_keys)
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    let found = found_after(&needles, || {
        let xts = Xts::new(&key()).expect("a key");
        let mut data = vec![0; 64 * 4096];
        xts.encrypt(0, 8, 4096, &mut data);
        xts.decrypt(0, 8, 4096, &mut data);
        xts.encrypt(0, 1, 512, &mut data[..512]);
        xts.decrypt(0, 1, 48, &mut data[..480]);
    });
    assert_eq!(found, [""; 0]);

    // What was called last is what lies on the stack: the keys of one call may cover another's.
    // Made on a thread of its own, whose registers are gone when the search begins.
    let xts = std::thread::scope(|scope| {
        let worker = scope.spawn(|| Xts::new(&key()).expect("a key"));
        worker.join().expect("made")
    });
    let living = find(&needles);
    assert!(
        living.len() >= 30,
        "the schedules are not what is looked for"
    );
    for run in [Xts::encrypt, Xts::decrypt] {
        let found = found_after(&needles, || {
            run(&xts, 0, 1, 512, &mut [0; 512]);
        });
        assert_eq!(found, living);
    }
}

fn aead_keys_are_wiped<B: Backend>() {
    let dek = Needle::random("DEK", 32);
    let found = found_after(&dek.aes_256_round_keys(), || {
        let key = B::aead(&dek.reveal());
        let mut sealed = [0; 116];
        let mut opened = [0; 100];
        B::seal(&key, &[0; 12], &[1; 100], &mut sealed).expect("sealed");
        B::open(&key, &[0; 12], &sealed, &mut opened).expect("opened");
    });
    assert_eq!(found, [""; 0]);
}

fn expand_keys_are_wiped<B: Backend>() {
    let prk = Needle::random("PRK", 32);
    // What is expanded from it is the caller's to wipe, but no copy may stay behind.
    let okm = {
        let mut okm = Zeroizing::new([0; 76]);
        B::expand(&B::expand_key(&prk.reveal()), &[b"info"], &mut okm[..]);
        Needle::of("OKM", &okm[..])
    };
    let needles = [prk.padded(0x36), prk.padded(0x5C), prk, okm];
    let found = found_after(&needles, || {
        let key = B::expand_key(&needles[2].reveal());
        let mut okm = Box::new(Zeroizing::new([0; 76]));
        B::expand(&key, &[b"info"], &mut okm[..]);
    });
    assert_eq!(found, [""; 0]);
}

/// HMAC's midstates give as much as the PRK. FIPS 198-1: SHA-512's state after the key's block under a pad.
#[cfg(feature = "rustcrypto")]
fn midstates_are_wiped<B: Backend>() {
    const INITIAL: [u64; 8] = [
        0x6A09_E667_F3BC_C908,
        0xBB67_AE85_84CA_A73B,
        0x3C6E_F372_FE94_F82B,
        0xA54F_F53A_5F1D_36F1,
        0x510E_527F_ADE6_82D1,
        0x9B05_688C_2B3E_6C1F,
        0x1F83_D9AB_FB41_BD6B,
        0x5BE0_CD19_137E_2179,
    ];

    let prk = Needle::random("PRK", 32);
    let midstate = |name, pad| {
        let mut block = Zeroizing::new([pad; 128]);
        block
            .iter_mut()
            .zip(prk.reveal::<32>().iter())
            .for_each(|(b, k)| *b ^= k);
        let mut state = Zeroizing::new(INITIAL);
        sha2::block_api::compress512(&mut state, &[*block]);
        let bytes = Zeroizing::new(state.map(u64::to_ne_bytes));
        Needle::of(name, bytes[..4].as_flattened())
    };
    let needles = std::thread::scope(|scope| {
        // On a thread of its own: a stack that is gone when the search begins.
        let worker = scope.spawn(|| {
            [
                midstate("inner midstate", 0x36),
                midstate("outer midstate", 0x5C),
            ]
        });
        worker.join().expect("computed")
    });
    let living = B::expand_key(&prk.reveal());
    assert!(
        find(&needles).len() >= 2,
        "the midstates are not what is looked for"
    );
    drop(living);

    let found = found_after(&needles, || {
        let key = B::expand_key(&prk.reveal());
        let mut okm = Zeroizing::new([0; 76]);
        B::expand(&key, &[b"info"], &mut okm[..]);
        B::expand(&key, &[&[0; 1000]], &mut okm[..]);
    });
    assert_eq!(found, [""; 0]);
}

fn mac_keys_are_wiped<B: Backend>() {
    let key = Needle::random("MAC key", 32);
    let needles = [key.padded(0x36), key.padded(0x5C), key];
    let found = found_after(&needles, || {
        B::hmac_sha256(&needles[2].reveal(), &[b"message"]);
    });
    assert_eq!(found, [""; 0]);
}

fn unwrapped_by_oaep_is_wiped<B: Backend>() {
    let key = B::generate(3072).expect("a key");
    let der = B::to_pkcs8(&key).expect("PKCS#8");
    let public = B::public_from_spki(&super::spki_of(&der)).expect("its public half");
    let needles = [Needle::random("plaintext", 72)];
    let found = found_after(&needles, || {
        let wrapped = B::wrap_oaep(&public, &needles[0].reveal::<72>()[..]).expect("wrapped");
        drop(B::unwrap_oaep(&key, &wrapped).expect("unwrapped"));
    });
    assert_eq!(found, [""; 0]);
}
