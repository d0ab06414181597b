//! Looks after a volume's keys while nobody reads or writes: an idle disk's key goes when it is taken away, not when it is touched.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use cmkit::{Error, Result};

use super::Disk;

const PERIOD: Duration = Duration::from_secs(5);

/// A thread that ends when this is dropped.
pub(super) struct Watch {
    stop: Arc<(Mutex<bool>, Condvar)>,
}

impl Watch {
    /// The thread isn't waited for when it is to end: it may be asking a vault.
    pub(super) fn start(disk: Weak<Disk>) -> Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let its = Arc::clone(&stop);
        let body = move || {
            while !stopped(&its) {
                let Some(disk) = disk.upgrade() else {
                    return;
                };
                // A vault may take its time, and whoever drops the volume wants its backing closed by then.
                let check = disk.checker();
                drop(disk);
                // What it found is told to whoever reads or writes next.
                let _ = check();
            }
        };
        let started = thread::Builder::new()
            .name("cmkit-volume-key".into())
            .spawn(body);
        started.map_err(|e| Error::Io {
            operation: "start a thread that watches the volume's key",
            path: None,
            source: Arc::new(e),
        })?;
        Ok(Self { stop })
    }
}

/// Waits for a period. Whether the volume is gone.
fn stopped(stop: &(Mutex<bool>, Condvar)) -> bool {
    let guard = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = stop
        .1
        .wait_timeout_while(guard, PERIOD, |stopped| !*stopped);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Never waits: in a forked child the thread, which may have held the lock, isn't there.
        if let Ok(mut stopped) = self.stop.0.try_lock() {
            *stopped = true;
        }
        self.stop.1.notify_all();
    }
}
