//! Headers that were changed, against a keyring that has seen the right one.

use super::{Scene, TEXT, none};
use crate::envelope::MAC_LEN;
use crate::{DekPolicy, ErrorKind, header_len};

/// A scene whose cache is warm, and the envelope that warmed it.
fn warm() -> (Scene, Vec<u8>) {
    let scene = Scene::new(DekPolicy::default());
    let envelope = scene.seal();
    assert_eq!(scene.open(&envelope).unwrap(), TEXT);
    (scene, envelope)
}

#[test]
fn every_flipped_bit_is_seen_with_a_warm_cache() {
    let (scene, envelope) = warm();
    for bit in 0..envelope.len() * 8 {
        let mut forged = envelope.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(scene.open(&forged).is_err(), "bit {bit}");
        let mut out = vec![0xAA; 1000];
        if let Some(result) = scene
            .keyring
            .decrypt_cached_into(&forged, &none(), &mut out)
        {
            assert!(result.is_err(), "bit {bit}");
            assert!(out.iter().all(|b| *b == 0), "bit {bit} leaves something");
        }
    }
    assert_eq!(scene.open(&envelope).unwrap(), TEXT);
}

#[test]
fn the_same_mac_over_another_header_is_no_hit() {
    let (scene, envelope) = warm();
    let header = header_len(&envelope).unwrap();
    let unwraps = scene.unwraps();
    // wrapped_at is the last byte that the MAC covers: the header parses, its DEK id and its wrap are known.
    let mut forged = envelope.clone();
    forged[header - MAC_LEN - 1] ^= 1;
    assert_eq!(scene.open(&forged), Err(ErrorKind::Authentication));
    assert_eq!(scene.unwraps(), unwraps + 1, "it was looked at afresh");
    assert_eq!(scene.open(&forged), Err(ErrorKind::Authentication));
    assert_eq!(scene.unwraps(), unwraps + 2, "and its failure isn't kept");
    assert_eq!(scene.open(&envelope).unwrap(), TEXT);
    assert_eq!(
        scene.unwraps(),
        unwraps + 2,
        "nor did it drive out the right one"
    );
}

#[test]
fn another_mac_over_a_known_header_is_no_hit() {
    let (scene, envelope) = warm();
    let header = header_len(&envelope).unwrap();
    let mut forged = envelope.clone();
    forged[header - 1] ^= 1;
    assert_eq!(scene.open(&forged), Err(ErrorKind::Authentication));
}

#[test]
fn a_known_header_vouches_for_no_body() {
    let (scene, envelope) = warm();
    let other = scene
        .keyring
        .encrypt(TEXT, &crate::EncryptionContext::new([("a", "b")]).unwrap())
        .unwrap();
    assert_eq!(scene.open(&other), Err(ErrorKind::Authentication));
    let header = header_len(&envelope).unwrap();
    assert_eq!(scene.open(&envelope[..header]), Err(ErrorKind::Truncated));
    let zeros = [&envelope[..header], &[0; 72]].concat();
    assert_eq!(scene.open(&zeros), Err(ErrorKind::Authentication));
}

#[test]
fn every_truncation_is_seen_with_a_warm_cache() {
    let (scene, envelope) = warm();
    for len in 0..envelope.len() {
        let error = scene.open(&envelope[..len]).unwrap_err();
        let expected = match len {
            0 => ErrorKind::Format,
            _ if len < envelope.len() - TEXT.len() => ErrorKind::Truncated,
            _ => ErrorKind::Authentication,
        };
        assert_eq!(error, expected, "{len}");
    }
}
