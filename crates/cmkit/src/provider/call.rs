//! One operation of a key provider, from the caller's side: its id, its deadline, and what came back about it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::crypto;

/// One operation that a provider is asked for.
///
/// Its id goes to the service where the provider has one, so that the caller's log and the key owner's audit log can be laid side by side. The
/// provider puts in what it learns; nothing in it is secret.
pub struct Call {
    id: String,
    deadline: Option<Instant>,
    answer: Mutex<Answer>,
}

/// What a provider learned about an operation besides its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The service's id of the last request.
    pub request_id: Option<String>,
    /// Where the service answered from.
    pub region: Option<String>,
    /// The HTTP status of the last answer.
    pub http_status: Option<u16>,
    /// Requests that were sent, retries included.
    pub attempts: u32,
}

impl Call {
    /// An operation with an id of its own: a random UUID (RFC 9562, version 4).
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = [0; 16];
        // An id that isn't unique is no danger: it only finds more than one line in a log.
        let _ = crypto::random(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut id = String::with_capacity(36);
        for (i, byte) in bytes.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                id.push('-');
            }
            for digit in [byte >> 4, byte & 15] {
                id.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        Self {
            id,
            deadline: None,
            answer: Mutex::default(),
        }
    }

    /// The same, to be given up at this time. Without one the provider's own limit holds.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Its id, 36 characters.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When to give up.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// For providers: puts in what an answer said.
    pub fn learn(&self, update: impl FnOnce(&mut Answer)) {
        update(&mut self.answer.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was put in.
    #[must_use]
    pub fn answer(&self) -> Answer {
        self.answer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Default for Call {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Call {
    /// The same operation, for a provider that goes on with it on another thread; what it learns there has to be put in here, too.
    fn clone(&self) -> Self {
        Self {
            id: self.id.clone(),
            deadline: self.deadline,
            answer: Mutex::new(self.answer()),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .field("deadline", &self.deadline)
            .field("answer", &self.answer())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_differ() {
        let (a, b) = (Call::new(), Call::new());
        assert_ne!(a.id(), b.id());
        let parts: Vec<usize> = a.id().split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&a.id()[14..15], "4");
        assert!(matches!(&a.id()[19..20], "8" | "9" | "a" | "b"));
    }
}
