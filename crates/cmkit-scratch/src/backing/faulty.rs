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
mod tests {
    use super::*;
    use crate::backing::MemoryBacking;

    fn disk() -> (FaultyBacking<MemoryBacking>, Faults) {
        FaultyBacking::new(MemoryBacking::new(1024))
    }

    fn at(backing: &impl Backing, offset: u64) -> [u8; 4] {
        let mut data = [9; 4];
        backing.read_at(&mut data, offset).unwrap();
        data
    }

    #[test]
    fn the_nth_call_of_its_kind_and_no_other() {
        let (backing, faults) = disk();
        backing.write_at(&[1; 4], 0).unwrap();
        faults.plan(Call::Write, 2, Fault::Error(28));
        backing.write_at(&[2; 4], 4).unwrap();
        backing.flush().unwrap();
        let error = backing.write_at(&[3; 4], 8).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        backing.write_at(&[4; 4], 12).unwrap();
        let written = [[1; 4], [2; 4], [0; 4], [4; 4]];
        for (i, expected) in written.iter().enumerate() {
            assert_eq!(at(&backing, i as u64 * 4), *expected);
        }
        assert_eq!(faults.writes(), [(0, 4), (4, 4), (8, 4), (12, 4)]);
        assert_eq!(faults.recorded()[3].fault, Some(Fault::Error(28)));
        faults.forget();
        assert!(faults.recorded().is_empty());
    }

    #[test]
    fn writes_that_tear_and_vanish_and_change() {
        let (backing, faults) = disk();
        let torn = Fault::Torn { bytes: 1, errno: 5 };
        for (nth, fault) in [
            torn,
            Fault::SilentlyTorn { bytes: 2 },
            Fault::Lost,
            Fault::Flipped { byte: 3 },
            Fault::SilentlyTorn { bytes: 99 },
        ]
        .into_iter()
        .enumerate()
        {
            faults.plan(Call::Write, nth as u64 + 1, fault);
        }
        assert_eq!(
            backing.write_at(&[8; 4], 0).unwrap_err().raw_os_error(),
            Some(5)
        );
        for place in 1..5 {
            backing.write_at(&[8; 4], place * 4).unwrap();
        }
        let expected = [[8, 0, 0, 0], [8, 8, 0, 0], [0; 4], [8, 8, 8, 9], [8; 4]];
        for (i, expected) in expected.iter().enumerate() {
            assert_eq!(at(backing.inner(), i as u64 * 4), *expected);
        }
    }

    #[test]
    fn reads_flushes_and_punches() {
        let (backing, faults) = disk();
        backing.write_at(&[8; 4], 0).unwrap();
        faults.plan_all(Call::Read, Fault::Error(5));
        faults.plan(Call::Read, 2, Fault::Flipped { byte: 0 });
        let mut data = [0; 4];
        assert!(backing.read_at(&mut data, 0).is_err());
        assert_ne!(data, [0; 4]);
        assert_eq!(at(&backing, 0), [9, 8, 8, 8]);
        assert!(backing.read_at(&mut data, 0).is_err());
        faults.plan_all(Call::Flush, Fault::Error(5));
        assert!(backing.flush().is_err());
        faults.plan(Call::Punch, 1, Fault::Unsupported);
        faults.plan(Call::Punch, 2, Fault::Error(5));
        assert_eq!(backing.punch(0, 4).unwrap(), Punched::Unsupported);
        assert!(backing.punch(0, 4).is_err());
        faults.clear();
        backing.flush().unwrap();
        assert_eq!(at(&backing, 0), [8; 4]);
    }

    #[test]
    fn a_shorter_backing_ends_where_it_is_told() {
        let (backing, faults) = disk();
        faults.shorten(6);
        assert_eq!(at(&backing, 2), [0; 4]);
        let end = io::ErrorKind::UnexpectedEof;
        assert_eq!(backing.read_at(&mut [0; 4], 3).unwrap_err().kind(), end);
        assert_eq!(backing.write_at(&[0; 4], 3).unwrap_err().kind(), end);
        assert_eq!(backing.len(), 1024);
        faults.clear();
        assert_eq!(at(&backing, 1020), [0; 4]);
    }

    #[test]
    fn a_hung_call_goes_on_when_released() {
        let (backing, faults) = disk();
        faults.plan(Call::Write, 1, Fault::Hung);
        faults.plan(Call::Flush, 1, Fault::Hung);
        std::thread::scope(|scope| {
            scope.spawn(|| backing.write_at(&[1; 4], 0).unwrap());
            scope.spawn(|| backing.flush().unwrap());
            faults.wait_for_hung(2);
            assert_eq!(at(&backing, 0), [0; 4]);
            faults.release();
        });
        assert_eq!(at(&backing, 0), [1; 4]);
    }
}
