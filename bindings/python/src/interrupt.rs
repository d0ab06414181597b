//! Calls that may take long, so that Ctrl-C is seen during them.
//!
//! Python looks at signals on its main thread only. A call that is made there goes on on a thread of its own while the main thread waits in
//! slices; after Ctrl-C nobody waits any more, and what the call brings is dropped. On any other thread it is a plain call.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;

use crate::raised;

/// How long a signal waits at most.
const SLICE: Duration = Duration::from_millis(50);

/// What `work` gives; `None` after an interrupt, which is kept for the caller. To be called with the interpreter released.
pub(crate) fn interruptible<T, W>(work: W) -> Option<T>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    if raised::is_interrupt() {
        // The operation that this call is part of was interrupted before.
        return None;
    }
    if !raised::is_pythons() || !is_main_thread() {
        return Some(work());
    }
    let (sender, receiver) = channel();
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<W>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let theirs = Arc::clone(&work);
    let started = std::thread::Builder::new()
        .name("cmkit-call".into())
        .spawn(move || {
            let Some(work) = take(&theirs) else { return };
            let result = catch_unwind(AssertUnwindSafe(work));
            // Nobody may be there any more.
            let _ = sender.send((result, raised::take()));
        });
    if started.is_err() {
        return take(&work).map(|work| work());
    }
    loop {
        match receiver.recv_timeout(SLICE) {
            Ok((result, exception)) => {
                if let Some(exception) = exception {
                    raised::keep(exception);
                }
                return Some(result.unwrap_or_else(|panic| resume_unwind(panic)));
            }
            Err(RecvTimeoutError::Timeout) => match Python::try_attach(|py| py.check_signals()) {
                Some(Ok(())) => {}
                Some(Err(interrupt)) => {
                    raised::keep_interrupt(interrupt);
                    return None;
                }
                None => return None,
            },
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Where it can't be told, it isn't.
fn is_main_thread() -> bool {
    let asked = Python::try_attach(|py| {
        let threading = py.import("threading")?;
        let main = threading.call_method0("main_thread")?.getattr("ident")?;
        main.eq(threading.call_method0("get_ident")?)
    });
    matches!(asked, Some(Ok(true)))
}
