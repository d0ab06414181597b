//! For how long a remote key's last yes counts, and asking before it is needed.

#![allow(unsafe_code)]

use std::ptr;
use std::time::Duration;

use cmkit::MaintenanceThread;

use crate::arg::Handle;
use crate::builder::cmk_keyring_builder;
use crate::error::cmk_error;
use crate::keyring::cmk_keyring;
use crate::result::cmk_result;

/// A remote key whose data keys are in use is asked to unwrap again this long after its last yes, give or take a fifth, by maintenance. At
/// least 10 seconds, and less than five sixths of the hard bound. By default 5 minutes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_soft_ms(
    builder: *mut cmk_keyring_builder,
    after_ms: u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        let mut parts = builder.0.enter()?;
        parts.freshness = parts.freshness.soft(Duration::from_millis(after_ms));
        Ok(())
    })
}

/// Data keys stop serving this long after the last yes of their remote key. One minute to 2 hours; by default 10 minutes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_hard_ms(
    builder: *mut cmk_keyring_builder,
    after_ms: u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        let mut parts = builder.0.enter()?;
        parts.freshness = parts.freshness.hard(Duration::from_millis(after_ms));
        Ok(())
    })
}

/// An envelope for several keys opens by any of them that answers, but no longer than this after the last yes of one that doesn't. The hard bound to
/// 7 days; by default 24 hours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_failover_ms(
    builder: *mut cmk_keyring_builder,
    after_ms: u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        let mut parts = builder.0.enter()?;
        parts.freshness = parts.freshness.failover(Duration::from_millis(after_ms));
        Ok(())
    })
}

/// How often maintenance asks for the newest version of wrapping keys and checks it. One minute to 24 hours; by default one hour.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_poll_ms(
    builder: *mut cmk_keyring_builder,
    every_ms: u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        let mut parts = builder.0.enter()?;
        parts.freshness = parts.freshness.poll(Duration::from_millis(every_ms));
        Ok(())
    })
}

/// A provider's call is given up after this time, signing in and retries included; 0: each provider's own limit holds, which is the default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_call_timeout_ms(
    builder: *mut cmk_keyring_builder,
    timeout_ms: u64,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        builder.0.enter()?.call_timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
        Ok(())
    })
}

/// Keeps the names of files and workspaces out of errors and events: for workspaces of Azure Machine Learning with hbi_workspace. It can't be taken back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_builder_high_business_impact(
    builder: *mut cmk_keyring_builder,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; builder = shared(builder); => {
        builder.0.enter()?.high_business_impact = true;
        Ok(())
    })
}

/// What went wrong in a round of maintenance, at most one error a key. It never changes.
pub struct cmk_problems(Vec<cmk_error>);

impl Handle for cmk_problems {}

/// Does what is due: asks remote keys whose data keys are in use to unwrap again, tries keys in trouble, asks for the newest version of wrapping keys, and wipes
/// data keys that may not serve any more. Call it about every `next_ms` milliseconds, 1000 to 30000, or have cmk_keyring_maintenance_start do it.
///
/// `next_ms` and `problems` may be NULL. A key in trouble is no failure of this call: it is one of the problems, which are to be freed with cmk_problems_free.
/// It blocks as long as the providers do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_maintain(
    keyring: *const cmk_keyring,
    next_ms: *mut u64,
    problems: *mut *mut cmk_problems,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; next = optional_out(next_ms, 0); problems = optional_out(problems, ptr::null_mut()); keyring = shared(keyring); => {
        let done = keyring.0.maintain();
        if let Some(next) = next {
            *next = u64::try_from(done.next.as_millis()).unwrap_or(u64::MAX);
        }
        if let Some(problems) = problems {
            let errors = done.problems.into_iter().map(|e| cmk_error::of(e.into()));
            *problems = Box::into_raw(Box::new(cmk_problems(errors.collect())));
        }
        Ok(())
    })
}

/// How many problems there were; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_problems_len(problems: *const cmk_problems) -> usize {
    value!(0; problems = shared(problems); => problems.0.len())
}

/// One of the problems, which belongs to the list: never free it. NULL beyond the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_problems_error(
    problems: *const cmk_problems,
    index: usize,
) -> *const cmk_error {
    value!(ptr::null(); problems = shared(problems); => problems.0.get(index).map_or(ptr::null(), ptr::from_ref))
}

/// Ends a list of problems and its errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_problems_free(problems: *mut cmk_problems) {
    free!(problems)
}

/// A thread that does a keyring's maintenance.
pub struct cmk_maintenance {
    _thread: MaintenanceThread,
}

impl Handle for cmk_maintenance {}

/// Starts a thread that calls cmk_keyring_maintain until its handle is freed or the keyring is; it sleeps in between. It has the signal mask of the caller: block
/// before what it isn't to take. A forked child has no such thread, and may start one of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_keyring_maintenance_start(
    keyring: *const cmk_keyring,
    out: *mut *mut cmk_maintenance,
    err: *mut *mut cmk_error,
) -> cmk_result {
    call!(err; out = handle(out); keyring = shared(keyring); => {
        let thread = keyring.0.maintenance_thread()?;
        *out = Box::into_raw(Box::new(cmk_maintenance { _thread: thread }));
        Ok(())
    })
}

/// Tells the thread to end. It doesn't wait: a call to a provider that is under way is completed first, so that callbacks of the keyring, `destroy` too, may
/// still run on that thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cmk_maintenance_free(maintenance: *mut cmk_maintenance) {
    free!(maintenance)
}
