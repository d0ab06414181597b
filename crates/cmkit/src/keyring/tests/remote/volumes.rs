//! Volumes' keys that are held elsewhere: nobody but the volume may ask for them.

use super::*;
use crate::VolumeLayout;
use crate::keyring::VolumeHold;
use crate::scratch::SectorSize;

impl Scene {
    fn made(&self) -> VolumeHold {
        self.keyring.new_volume_dek().unwrap().1
    }

    fn opened(&self) -> VolumeHold {
        let layout = VolumeLayout {
            sector_size: SectorSize::B512,
            iv_offset: 0,
            len: 512,
        };
        let (_, file) = self.keyring.create_xts_volume(&layout).unwrap();
        self.keyring.open_volume_file(&file).unwrap().1
    }

    fn both(&self) -> [VolumeHold; 2] {
        [self.made(), self.opened()]
    }
}

#[track_caller]
fn refuses(hold: &VolumeHold, kind: ErrorKind) {
    assert_eq!(hold.check().unwrap_err().kind(), kind);
}

#[test]
fn within_the_bound_the_vault_is_not_asked_and_beyond_it_is() {
    for place in [0, 1] {
        let s = Scene::one();
        let hold = &s.both()[place];
        let unwraps = s.vault.unwraps();
        s.pass(10 * MINUTE - 1);
        hold.check().unwrap();
        assert_eq!(s.vault.unwraps(), unwraps);
        // Without any maintenance it goes on for as long as the vault says yes.
        for n in 1..4 {
            s.pass(10 * MINUTE);
            hold.check().unwrap();
            hold.check().unwrap();
            assert_eq!(s.vault.unwraps(), unwraps + n);
        }
        s.pass(10 * MINUTE);
        s.vault.fault(KEY, ProviderErrorKind::Unavailable);
        refuses(hold, ErrorKind::Unavailable);
        s.vault.mend();
        s.pass(MINUTE);
        hold.check().unwrap();
    }
}

#[test]
fn a_key_that_was_taken_away_is_asked_for_until_it_is_back() {
    for place in [0, 1] {
        let s = Scene::one();
        let hold = &s.both()[place];
        s.vault.fault(KEY, ProviderErrorKind::Disabled);
        s.pass(10 * MINUTE);
        refuses(hold, ErrorKind::KeyDisabled);
        let unwraps = s.vault.unwraps();
        // Not at every request.
        for _ in 0..20 {
            refuses(hold, ErrorKind::KeyDisabled);
        }
        assert_eq!(s.vault.unwraps(), unwraps);
        s.pass(HOUR);
        refuses(hold, ErrorKind::KeyDisabled);
        assert_eq!(s.vault.unwraps(), unwraps + 1);
        s.vault.mend();
        s.pass(MINUTE);
        hold.check().unwrap();
        hold.unwrap_again().unwrap();
    }
}

#[test]
fn maintenance_asks_before_the_volume_has_to() {
    let s = Scene::one();
    let holds = s.both();
    for _ in 0..40 {
        s.pass(MINUTE);
        assert!(s.keyring.maintain().problems.is_empty());
        let unwraps = s.vault.unwraps();
        holds.iter().for_each(|hold| hold.check().unwrap());
        assert_eq!(s.vault.unwraps(), unwraps);
    }
    s.vault.fault(KEY, ProviderErrorKind::Denied);
    s.pass(10 * MINUTE);
    s.keyring.maintain();
    holds
        .iter()
        .for_each(|hold| refuses(hold, ErrorKind::AccessDenied));
}

#[test]
fn any_of_two_keys_that_is_taken_away_ends_it() {
    for gone in [KEY, OTHER] {
        for place in [0, 1] {
            let s = Scene::new(&[KEY, OTHER]);
            let hold = &s.both()[place];
            hold.check().unwrap();
            for vault in [&s.vault, &s.other] {
                vault.fault(gone, ProviderErrorKind::Disabled);
            }
            s.pass(6 * MINUTE);
            s.keyring.maintain();
            s.pass(5 * MINUTE);
            s.keyring.maintain();
            refuses(hold, ErrorKind::KeyDisabled);
        }
    }
}
