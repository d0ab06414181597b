//! Waiting for somebody who wants it to stop.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Waiting;

use crate::failure::{Failure, Result};
use crate::signals::{Signals, is_ignored};

/// Waits for SIGTERM, Ctrl-C or SIGHUP. What comes while this lives ends the wait, also what came before it began.
pub(super) struct Stop<'a> {
    signals: &'a Signals,
    waiting: Waiting,
}

impl<'a> Stop<'a> {
    /// The caller holds the signals.
    pub(super) fn new(signals: &'a Signals) -> Result<Self> {
        let heard = [SIGTERM, SIGINT, SIGHUP].into_iter();
        let heard: Vec<i32> = heard.filter(|signal| !is_ignored(*signal)).collect();
        let waiting = Waiting::new(heard)
            .map_err(|e| Failure::other(format!("cannot handle signals: {e}")))?;
        Ok(Self { signals, waiting })
    }

    /// The signal that came.
    pub(super) fn wait(mut self) -> i32 {
        if let Some(signal) = self.signals.received() {
            return signal;
        }
        self.waiting.forever().next().unwrap_or(SIGTERM)
    }
}
