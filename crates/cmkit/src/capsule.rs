//! The 72 bytes that a KEK wraps (docs/format.md, section 5).

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{self, KEY_LEN};
use crate::envelope::{Core, SUITE};
use crate::error::{Error, Result};
use crate::secret::Dek;

pub(crate) const CAPSULE_LEN: usize = 72;

const TAG: [u8; 4] = *b"cmkD";
const VERSION: u8 = 1;
const KIND_DEK: u8 = 1;
const DEK_START: usize = 8;
const BINDING_START: usize = DEK_START + KEY_LEN;

/// The capsule of `dek`, which belongs to `core`.
pub(crate) fn seal(dek: &Dek, core: &Core) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(CAPSULE_LEN));
    out.extend_from_slice(&fixed_part());
    out.extend_from_slice(dek.expose());
    out.extend_from_slice(&crypto::sha256(&[&core.encode_binding()]));
    out
}

/// Whether these bytes look like one, of whatever version.
pub(crate) fn looks_like_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&TAG)
}

/// The DEK in a capsule that was unwrapped for `core`.
///
/// Every mismatch is the one opaque error: the wrap was made for another purpose, workspace, suite or DEK.
pub(crate) fn open(capsule: &[u8], core: &Core) -> Result<Dek> {
    if capsule.len() != CAPSULE_LEN {
        return Err(Error::AuthenticationFailed);
    }
    let binding = crypto::sha256(&[&core.encode_binding()]);
    let matches =
        capsule[..DEK_START].ct_eq(&fixed_part()) & capsule[BINDING_START..].ct_eq(&binding);
    if !bool::from(matches) {
        return Err(Error::AuthenticationFailed);
    }
    Dek::try_fill(|dek| {
        dek.copy_from_slice(&capsule[DEK_START..BINDING_START]);
        Ok(())
    })
}

fn fixed_part() -> [u8; DEK_START] {
    let [suite_hi, suite_lo] = SUITE.to_be_bytes();
    let [a, b, c, d] = TAG;
    [a, b, c, d, VERSION, KIND_DEK, suite_hi, suite_lo]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{DekId, Purpose};

    fn core() -> Core {
        Core {
            dek_id: DekId([7; 16]),
            purpose: Purpose::Data,
            workspace: Some("w".into()),
            created: 1,
        }
    }

    #[test]
    fn belongs_to_one_purpose_workspace_and_dek_id() {
        let dek = Dek::try_fill::<()>(|d| {
            d.fill(3);
            Ok(())
        })
        .unwrap();
        let capsule = seal(&dek, &core());
        assert_eq!(capsule.len(), CAPSULE_LEN);
        assert_eq!(open(&capsule, &core()).unwrap().expose(), &[3; 32]);
        // The time isn't bound: the header's MAC covers it.
        assert!(
            open(
                &capsule,
                &Core {
                    created: 2,
                    ..core()
                }
            )
            .is_ok()
        );
        for other in [
            Core {
                dek_id: DekId([8; 16]),
                ..core()
            },
            Core {
                purpose: Purpose::KeyStore,
                ..core()
            },
            Core {
                workspace: None,
                ..core()
            },
            Core {
                workspace: Some("v".into()),
                ..core()
            },
        ] {
            assert!(matches!(
                open(&capsule, &other),
                Err(Error::AuthenticationFailed)
            ));
        }
    }

    #[test]
    fn every_flipped_bit_but_the_deks_own_is_seen() {
        let dek = Dek::try_fill::<()>(|d| {
            d.fill(3);
            Ok(())
        })
        .unwrap();
        let capsule = seal(&dek, &core());
        for bit in (0..CAPSULE_LEN * 8).filter(|b| !(DEK_START..BINDING_START).contains(&(b / 8))) {
            let mut forged = capsule.to_vec();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&forged, &core()).is_err(), "bit {bit}");
        }
        for len in 0..CAPSULE_LEN {
            assert!(open(&capsule[..len], &core()).is_err());
        }
    }
}
