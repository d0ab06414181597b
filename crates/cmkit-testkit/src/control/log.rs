//! What was asked and how it was answered; never a body, a token or a secret.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::op::Op;

/// More than this many requests, and the oldest are forgotten; counters go on.
const MAX_ENTRIES: usize = 10_000;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Counted from 0 since the last reset.
    pub number: u64,
    /// What it asked for.
    pub op: Op,
    /// HTTP method.
    pub method: String,
    /// In lower case.
    pub host: String,
    /// Without the query.
    pub path: String,
    /// From the query, if there.
    pub api_version: Option<String>,
    /// From the path, if there.
    pub key: Option<String>,
    /// From the path, if there.
    pub version: Option<String>,
    /// `None`: it was never answered.
    pub status: Option<u16>,
    /// The header `x-ms-client-request-id`.
    pub client_request_id: Option<String>,
    /// Whether it came through the proxy.
    pub proxied: bool,
    /// Whether it carried an Authorization header.
    pub authorization: bool,
    /// Bytes in its body.
    pub body_len: usize,
}

/// What is known of a request once its path is read.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) host: String,
    pub(crate) op: Op,
    pub(crate) key: Option<String>,
    pub(crate) version: Option<String>,
}

impl Facts {
    pub(crate) fn new(host: &str, op: Op) -> Self {
        Self {
            host: host.to_owned(),
            op,
            key: None,
            version: None,
        }
    }
}

#[derive(Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    next: u64,
    counts: BTreeMap<Op, u64>,
}

impl Log {
    pub(crate) fn push(&mut self, mut entry: Entry) {
        entry.number = self.next;
        self.next += 1;
        *self.counts.entry(entry.op).or_default() += 1;
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> &BTreeMap<Op, u64> {
        &self.counts
    }
}
