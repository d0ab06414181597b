//! A backing in memory, for tests and small disks.

use std::io;
use std::sync::{PoisonError, RwLock};

use cmkit::Result;

use super::{Backing, Punched};
use crate::failure::{invalid, machine_memory};

/// Bytes in stripes of this size have a lock each.
const STRIPE: usize = 1 << 20;

/// Room in this process's memory. Everything is taken at once, as zeros that the system gives out as they are touched.
pub struct MemoryBacking {
    stripes: Vec<RwLock<Vec<u8>>>,
    len: u64,
}

impl MemoryBacking {
    /// Room of `len` bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let stripes = (0..len)
            .step_by(STRIPE)
            .map(|start| RwLock::new(vec![0; STRIPE.min(len - start)]))
            .collect();
        Self {
            stripes,
            len: len as u64,
        }
    }

    /// The same, unless that is more than the machine has.
    ///
    /// # Errors
    /// * [`Error::InvalidArgument`](cmkit::Error::InvalidArgument): more than the machine's memory.
    pub fn try_new(len: u64) -> Result<Self> {
        let has = machine_memory();
        match usize::try_from(len) {
            Ok(fits) if len <= has => Ok(Self::new(fits)),
            _ => Err(invalid(format!(
                "a disk of {len} bytes isn't kept in memory: this machine has {has}"
            ))),
        }
    }

    /// Calls `work` with each stripe's place and the part of the range in it.
    fn each(
        &self,
        offset: u64,
        len: usize,
        mut work: impl FnMut(&RwLock<Vec<u8>>, std::ops::Range<usize>, usize),
    ) -> io::Result<()> {
        let beyond = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let start = usize::try_from(offset).map_err(|_| beyond())?;
        let end = start.checked_add(len).ok_or_else(beyond)?;
        if end as u64 > self.len {
            return Err(beyond());
        }
        let mut at = start;
        while at < end {
            let inside = at % STRIPE;
            let here = (STRIPE - inside).min(end - at);
            work(
                &self.stripes[at / STRIPE],
                inside..inside + here,
                at - start,
            );
            at += here;
        }
        Ok(())
    }
}

impl Backing for MemoryBacking {
    fn len(&self) -> u64 {
        self.len
    }

    fn name(&self) -> &str {
        "memory"
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        self.each(offset, data.len(), |stripe, part, at| {
            let stripe = stripe.read().unwrap_or_else(PoisonError::into_inner);
            data[at..at + part.len()].copy_from_slice(&stripe[part]);
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.each(offset, data.len(), |stripe, part, at| {
            let mut stripe = stripe.write().unwrap_or_else(PoisonError::into_inner);
            stripe[part.clone()].copy_from_slice(&data[at..at + part.len()]);
        })
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<Punched> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.each(offset, len, |stripe, part, _| {
            let mut stripe = stripe.write().unwrap_or_else(PoisonError::into_inner);
            stripe[part].fill(0);
        })?;
        Ok(Punched::Yes)
    }
}
