//! Medians of five, measured side by side: the runs of both sides alternate, so that noise meets both.

use std::time::{Duration, Instant};

/// Runs of each side.
pub const RUNS: usize = 5;

/// The median time of each of the functions, in seconds. They take turns.
pub fn side_by_side<const N: usize>(mut functions: [&mut dyn FnMut(); N]) -> [f64; N] {
    for f in &mut functions {
        f();
    }
    let mut times = [[0.0; RUNS]; N];
    for run in 0..RUNS {
        for (f, times) in functions.iter_mut().zip(&mut times) {
            let start = Instant::now();
            f();
            times[run] = start.elapsed().as_secs_f64();
        }
    }
    times.map(median)
}

/// How often a function must be repeated to take this long.
pub fn repetitions(f: &mut dyn FnMut(), at_least: Duration) -> u32 {
    let mut n = 1;
    loop {
        let start = Instant::now();
        for _ in 0..n {
            f();
        }
        if start.elapsed() >= at_least || n > 1 << 28 {
            return n;
        }
        n *= 2;
    }
}

/// The middle one.
#[must_use]
pub fn median(mut times: [f64; RUNS]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}
