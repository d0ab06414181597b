//! A backing that fails on purpose.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Backing, Punched, check};
use crate::failure::len_of;

/// A backing that fails where a test says so: for tests of what is built on a [`Backing`], ours and others'.
///
/// Everything goes to the backing inside, unless the [`Faults`] handle has something else planned for that call. Which call is hit is counted, not
/// timed, so a test with one thread is deterministic.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use cmkit_scratch::{Backing, Call, Fault, FaultyBacking, MemoryBacking};
///
/// let (backing, faults) = FaultyBacking::new(MemoryBacking::new(8192));
/// faults.plan(Call::Write, 2, Fault::Torn { bytes: 512, errno: 5 });
/// backing.write_at(&[1; 4096], 0)?;
/// assert_eq!(backing.write_at(&[2; 4096], 4096).unwrap_err().raw_os_error(), Some(5));
/// let mut data = [0; 1024];
/// backing.read_at(&mut data, 4096)?;
/// assert_eq!((data[511], data[512]), (2, 0));
/// assert_eq!(faults.recorded().len(), 3);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct FaultyBacking<B> {
    inner: B,
    faults: Faults,
}

/// A kind of call to a [`Backing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// [`Backing::read_at`].
    Read,
    /// [`Backing::write_at`].
    Write,
    /// [`Backing::flush`].
    Flush,
    /// [`Backing::punch`].
    Punch,
}

/// What happens to a call. Error numbers are the system's: 5 is EIO, 28 ENOSPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It fails with this error number, and does nothing. A failed read leaves rubbish in its buffer.
    Error(i32),
    /// Of a write, the first `bytes` are written, then it fails. Other calls only fail.
    Torn {
        /// Bytes that are written.
        bytes: usize,
        /// Error number.
        errno: i32,
    },
    /// Of a write, the first `bytes` are written, and it says that all were. Other calls are done.
    SilentlyTorn {
        /// Bytes that are written.
        bytes: usize,
    },
    /// It does nothing and says that it did. A read leaves its buffer as it was.
    Lost,
    /// One bit of this byte is another one: of what is read, or of what gets written. Beyond the end, and for other calls, nothing happens.
    Flipped {
        /// Which byte of the call's data.
        byte: usize,
    },
    /// It waits for [`Faults::release`], and then is done as if nothing had been.
    Hung,
    /// It says [`Punched::Unsupported`] if it is a punch, else fails with EOPNOTSUPP.
    Unsupported,
}

/// A call that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// Which.
    pub call: Call,
    /// Where; 0 for a flush.
    pub offset: u64,
    /// Bytes; 0 for a flush.
    pub len: u64,
    /// What was planned for it.
    pub fault: Option<Fault>,
}

/// Plans a [`FaultyBacking`]'s faults and says what it was asked for. Clones are the same plan.
#[derive(Clone, Default)]
pub struct Faults {
    shared: Arc<(Mutex<Plan>, Condvar)>,
}

#[derive(Default)]
struct Plan {
    made: BTreeMap<Call, u64>,
    planned: BTreeMap<(Call, u64), Fault>,
    standing: BTreeMap<Call, Fault>,
    shortened: Option<u64>,
    recorded: Vec<Recorded>,
    /// Calls that wait now.
    hung: usize,
    /// Goes up with each release.
    releases: u64,
}

impl Faults {
    /// Plans a fault for one call: the `nth` of its kind from now on, the next one being 1. 0 is never reached. A later plan for the same call
    /// replaces the earlier one.
    pub fn plan(&self, call: Call, nth: u64, fault: Fault) {
        let mut plan = self.lock();
        let number = plan
            .made
            .get(&call)
            .copied()
            .unwrap_or(0)
            .saturating_add(nth);
        plan.planned.insert((call, number), fault);
    }

    /// Plans a fault for every call of a kind that has none of its own, until [`clear`](Self::clear).
    pub fn plan_all(&self, call: Call, fault: Fault) {
        self.lock().standing.insert(call, fault);
    }

    /// Takes back every plan, and gives a shortened backing its length again. What hangs goes on hanging.
    pub fn clear(&self) {
        let mut plan = self.lock();
        plan.planned.clear();
        plan.standing.clear();
        plan.shortened = None;
    }

    /// Takes everything from `len` bytes on away, as when somebody makes a file shorter: what reaches beyond fails with
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof). [`Backing::len`] stays.
    pub fn shorten(&self, len: u64) {
        self.lock().shortened = Some(len);
    }

    /// Waits until this many calls hang at once.
    pub fn wait_for_hung(&self, calls: usize) {
        let mut plan = self.lock();
        while plan.hung < calls {
            plan = self.wait(plan);
        }
    }

    /// Lets every call go on that hangs now.
    pub fn release(&self) {
        self.lock().releases += 1;
        self.shared.1.notify_all();
    }

    /// All calls so far, also those that failed, in the order in which they came.
    #[must_use]
    pub fn recorded(&self) -> Vec<Recorded> {
        self.lock().recorded.clone()
    }

    /// Offset and length of every write so far.
    #[must_use]
    pub fn writes(&self) -> Vec<(u64, u64)> {
        let plan = self.lock();
        let writes = plan.recorded.iter().filter(|r| r.call == Call::Write);
        writes.map(|r| (r.offset, r.len)).collect()
    }

    /// Forgets what was recorded. Plans stay.
    pub fn forget(&self) {
        self.lock().recorded.clear();
    }

    /// Records a call and says what to do to it, after waiting if it is to hang.
    fn meet(&self, call: Call, offset: u64, len: u64) -> io::Result<Option<Fault>> {
        let mut plan = self.lock();
        let made = plan.made.entry(call).or_default();
        *made += 1;
        let number = *made;
        let planned = plan.planned.remove(&(call, number));
        let fault = planned.or_else(|| plan.standing.get(&call).copied());
        plan.recorded.push(Recorded {
            call,
            offset,
            len,
            fault,
        });
        if fault == Some(Fault::Hung) {
            let releases = plan.releases;
            plan.hung += 1;
            self.shared.1.notify_all();
            while plan.releases == releases {
                plan = self.wait(plan);
            }
            plan.hung -= 1;
        }
        match fault {
            Some(Fault::Error(errno) | Fault::Torn { errno, .. }) if call != Call::Write => {
                return Err(io::Error::from_raw_os_error(errno));
            }
            Some(Fault::Unsupported) if call != Call::Punch => {
                return Err(rustix::io::Errno::OPNOTSUPP.into());
            }
            _ => {}
        }
        if let Some(size) = plan.shortened {
            check(offset, len, size)?;
        }
        Ok(fault)
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, plan: MutexGuard<'a, Plan>) -> MutexGuard<'a, Plan> {
        let waited = self.shared.1.wait(plan);
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Backing> FaultyBacking<B> {
    /// The backing `inner` with no fault yet, and the handle that plans some.
    pub fn new(inner: B) -> (Self, Faults) {
        let faults = Faults::default();
        let handle = faults.clone();
        (Self { inner, faults }, handle)
    }

    /// What is inside: what is really there, past all faults.
    pub fn inner(&self) -> &B {
        &self.inner
    }
}

impl<B: Backing> Backing for FaultyBacking<B> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn read_at(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        let fault = self.faults.meet(Call::Read, offset, len_of(data));
        match fault {
            Err(error) => {
                data.fill(0xee);
                Err(error)
            }
            Ok(Some(Fault::Lost)) => Ok(()),
            Ok(fault) => {
                self.inner.read_at(data, offset)?;
                flip(data, fault);
                Ok(())
            }
        }
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let fault = self.faults.meet(Call::Write, offset, len_of(data))?;
        let first = |bytes: usize| &data[..bytes.min(data.len())];
        match fault {
            Some(Fault::Error(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Fault::Torn { bytes, errno }) => {
                self.inner.write_at(first(bytes), offset)?;
                Err(io::Error::from_raw_os_error(errno))
            }
            Some(Fault::SilentlyTorn { bytes }) => self.inner.write_at(first(bytes), offset),
            Some(Fault::Lost) => Ok(()),
            Some(Fault::Flipped { .. }) => {
                let mut changed = data.to_vec();
                flip(&mut changed, fault);
                self.inner.write_at(&changed, offset)
            }
            _ => self.inner.write_at(data, offset),
        }
    }

    fn flush(&self) -> io::Result<()> {
        match self.faults.meet(Call::Flush, 0, 0)? {
            Some(Fault::Lost) => Ok(()),
            _ => self.inner.flush(),
        }
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<Punched> {
        match self.faults.meet(Call::Punch, offset, len)? {
            Some(Fault::Lost) => Ok(Punched::Yes),
            Some(Fault::Unsupported) => Ok(Punched::Unsupported),
            _ => self.inner.punch(offset, len),
        }
    }

    fn is_blocking(&self) -> bool {
        self.inner.is_blocking()
    }

    fn is_read_only(&self) -> bool {
        self.inner.is_read_only()
    }
}

fn flip(data: &mut [u8], fault: Option<Fault>) {
    if let Some(Fault::Flipped { byte }) = fault
        && let Some(byte) = data.get_mut(byte)
    {
        *byte ^= 1;
    }
}

#[cfg(test)]
mod tests;
