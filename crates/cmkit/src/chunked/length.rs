//! Lengths of bodies and plaintexts (docs/format.md, section 8). Only arithmetic; every answer is exact.

use super::{CHUNK_LEN, PREAMBLE_LEN, SLOT_LEN};
use crate::crypto::TAG_LEN;
use crate::error::{Error, Result};

/// Bytes in the longest plaintext: 4 PiB - 1.
pub(crate) const MAX_PLAINTEXT_LEN: u64 = (1 << 52) - 1;

pub(crate) fn too_long() -> Error {
    Error::invalid("a message holds at most 4 PiB - 1 bytes (2^52 - 1)")
}

/// Bytes in the slots of a message with `plaintext_len` bytes, all of them.
pub(crate) fn slots_len(plaintext_len: u64) -> Result<u64> {
    if plaintext_len > MAX_PLAINTEXT_LEN {
        return Err(too_long());
    }
    Ok(plaintext_len + TAG_LEN as u64 * (plaintext_len / CHUNK_LEN as u64 + 1))
}

/// Bytes in the body of a message with `plaintext_len` bytes.
pub(crate) fn body_len(plaintext_len: u64) -> Result<u64> {
    Ok(PREAMBLE_LEN as u64 + slots_len(plaintext_len)?)
}

/// Bytes of plaintext in a body of this length.
///
/// Every cut that the length shows is `Truncated`: no last chunk (the last one there is full), or a last one shorter than a tag.
pub(crate) fn plaintext_len(body_len: u64) -> Result<u64> {
    let slots = body_len
        .checked_sub(PREAMBLE_LEN as u64)
        .ok_or(Error::Truncated)?;
    let whole_chunks = slots / SLOT_LEN as u64;
    let last = (slots % SLOT_LEN as u64)
        .checked_sub(TAG_LEN as u64)
        .ok_or(Error::Truncated)?;
    match whole_chunks
        .checked_mul(CHUNK_LEN as u64)
        .and_then(|n| n.checked_add(last))
    {
        Some(n) if n <= MAX_PLAINTEXT_LEN => Ok(n),
        _ => Err(Error::format("it is longer than the format allows")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_of_the_format() {
        for (plaintext, body) in [
            (0, 72),
            (1, 73),
            (16_383, 56 + 16_399),
            (16_384, 56 + 16_400 + 16),
            (16_385, 56 + 16_400 + 17),
            (32_768, 56 + 2 * 16_400 + 16),
            (MAX_PLAINTEXT_LEN, 56 + MAX_PLAINTEXT_LEN + 16 * (1 << 38)),
        ] {
            assert_eq!(body_len(plaintext).unwrap(), body);
            assert_eq!(plaintext_len(body).unwrap(), plaintext);
        }
        assert!(matches!(
            body_len(MAX_PLAINTEXT_LEN + 1),
            Err(Error::InvalidArgument { .. })
        ));
        assert!(matches!(
            body_len(u64::MAX),
            Err(Error::InvalidArgument { .. })
        ));
    }

    #[test]
    fn impossible_lengths() {
        let longest = body_len(MAX_PLAINTEXT_LEN).unwrap();
        for body in [
            0,
            55,
            56,
            57,
            71,
            56 + 16_400,
            56 + 16_401,
            56 + 16_415,
            longest + 1,
        ] {
            assert!(
                matches!(plaintext_len(body), Err(Error::Truncated)),
                "{body}"
            );
        }
        assert!(matches!(
            plaintext_len(longest + 1 + TAG_LEN as u64),
            Err(Error::Format { .. })
        ));
        assert!(matches!(
            plaintext_len(u64::MAX),
            Err(Error::Format { .. } | Error::Truncated)
        ));
    }

    proptest! {
        #[test]
        fn one_is_the_inverse_of_the_other(n in 0..=MAX_PLAINTEXT_LEN) {
            prop_assert_eq!(plaintext_len(body_len(n).unwrap()).unwrap(), n);
        }

        #[test]
        fn a_valid_body_length_is_that_of_its_plaintext(n: u64) {
            if let Ok(plaintext) = plaintext_len(n) {
                prop_assert_eq!(body_len(plaintext).unwrap(), n);
            }
        }
    }
}
