//! Where a process that owns a job may be killed, for a test that kills it everywhere.

/// Between two things that a crash tells apart.
#[cfg(not(test))]
pub(crate) fn step() {}

#[cfg(test)]
pub(crate) fn step() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static STEPS: AtomicU32 = AtomicU32::new(0);
    let Ok(last) = std::env::var("CMKIT_TEST_DIE_AT_STEP") else {
        return;
    };
    if last.parse() == Ok(STEPS.fetch_add(1, Ordering::SeqCst)) {
        let me = rustix::process::getpid();
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    }
}
