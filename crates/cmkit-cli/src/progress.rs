//! A progress bar for those who wait.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is done sooner gets no bar: it would only flicker.
const PATIENCE: Duration = Duration::from_millis(500);

/// A bar on standard error, once the work has taken a while; none where standard error isn't a terminal.
pub(crate) struct Bar {
    label: String,
    start: Instant,
    wanted: bool,
    bar: OnceLock<ProgressBar>,
}

impl Bar {
    pub(crate) fn new(label: String, quiet: bool) -> Self {
        let wanted = !quiet && io::stderr().is_terminal();
        Self {
            label,
            start: Instant::now(),
            wanted,
            bar: OnceLock::new(),
        }
    }

    /// So many bytes of the total are done.
    pub(crate) fn at(&self, done: u64, total: Option<u64>) {
        if !self.wanted || (self.bar.get().is_none() && self.start.elapsed() < PATIENCE) {
            return;
        }
        self.bar
            .get_or_init(|| draw(&self.label, total))
            .set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

fn draw(label: &str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    let template = match total {
        Some(_) => {
            "{prefix} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
        }
        None => "{prefix} {binary_bytes} {binary_bytes_per_sec}",
    };
    // A template that doesn't parse would be a fault of ours, and no reason not to encrypt.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(label.to_owned());
    bar
}

/// A count of files on standard error, for walks whose end isn't known.
pub(crate) struct Count {
    start: Instant,
    wanted: bool,
    bar: Option<ProgressBar>,
}

impl Count {
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            start: Instant::now(),
            wanted: !quiet && io::stderr().is_terminal(),
            bar: None,
        }
    }

    /// One more.
    pub(crate) fn tick(&mut self, done: u64) {
        if !self.wanted || (self.bar.is_none() && self.start.elapsed() < PATIENCE) {
            return;
        }
        self.bar.get_or_insert_with(spinner).set_position(done);
    }

    /// Prints something else meanwhile: it doesn't run into the count.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} files, {elapsed}") {
        bar.set_style(style);
    }
    bar
}
