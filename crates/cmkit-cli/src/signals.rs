//! Ctrl-C, SIGTERM and SIGHUP: at once where nothing is half done, else at the next chance to clean up.

use std::sync::Arc;

use crate::failure::{Failure, Result};

#[cfg(unix)]
mod imp {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::flag;

    pub(super) struct Flags {
        received: Arc<AtomicUsize>,
        at_once: Arc<AtomicBool>,
    }

    impl Flags {
        pub(super) fn install() -> std::io::Result<Self> {
            let flags = Self {
                received: Arc::new(AtomicUsize::new(0)),
                at_once: Arc::new(AtomicBool::new(true)),
            };
            let ignored = ignored();
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                // Who starts us under nohup, or in the background of a script, means it.
                if ignored & (1 << (signal - 1)) != 0 {
                    continue;
                }
                let number = usize::try_from(signal).unwrap_or_default();
                flag::register_usize(signal, Arc::clone(&flags.received), number)?;
                flag::register_conditional_shutdown(
                    signal,
                    128 + signal,
                    Arc::clone(&flags.at_once),
                )?;
            }
            Ok(flags)
        }

        pub(super) fn received(&self) -> usize {
            self.received.load(Ordering::SeqCst)
        }

        pub(super) fn set_at_once(&self, at_once: bool) {
            self.at_once.store(at_once, Ordering::SeqCst);
        }
    }

    /// The signals that are ignored, as a bit each; where the system doesn't say, none.
    pub(super) fn ignored() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0)
    }
}

#[cfg(not(unix))]
mod imp {
    /// Elsewhere the system's own ways apply.
    pub(super) struct Flags;

    impl Flags {
        pub(super) fn install() -> std::io::Result<Self> {
            Ok(Self)
        }

        pub(super) fn received(&self) -> usize {
            0
        }

        pub(super) fn set_at_once(&self, _: bool) {}
    }
}

/// Whether this process was started with a signal ignored, and left it so.
#[cfg(target_os = "linux")]
pub(crate) fn is_ignored(signal: i32) -> bool {
    imp::ignored() & (1 << (signal - 1)) != 0
}

/// The signals that ask to stop.
#[derive(Clone)]
pub(crate) struct Signals(Arc<imp::Flags>);

impl Signals {
    /// From now on they end the process with 128 + n, like a shell reports it, unless they are [held](Self::hold).
    pub(crate) fn install() -> Result<Self> {
        let flags = imp::Flags::install();
        flags
            .map(|flags| Self(Arc::new(flags)))
            .map_err(|e| Failure::other(format!("cannot handle signals: {e}")))
    }

    /// While the guard lives, a signal is only noted: whoever has something to remove asks for it.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.0.set_at_once(false);
        Hold(self)
    }

    /// Whether one came.
    pub(crate) fn stop_asked(&self) -> bool {
        self.0.received() != 0
    }

    /// Which one came.
    #[cfg(target_os = "linux")]
    pub(crate) fn received(&self) -> Option<i32> {
        i32::try_from(self.0.received()).ok().filter(|n| *n != 0)
    }

    /// An error if one came.
    pub(crate) fn check(&self) -> Result {
        match self.0.received() {
            0 => Ok(()),
            signal => Err(Failure::signal(signal)),
        }
    }
}

/// See [`Signals::hold`].
pub(crate) struct Hold<'a>(&'a Signals);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.0.set_at_once(true);
    }
}
