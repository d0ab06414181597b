//! Every piece in order, and a table of the minutes each took.

use std::time::{Duration, Instant};

use crate::work::{Result, Work, no_args};
use crate::{PIECES, Piece};

/// What runs, in which order, with which arguments: the quick ones first.
const ORDER: &[(&str, &[&str])] = &[
    ("setup", &[]),
    ("fmt", &[]),
    ("typos", &[]),
    ("shape", &[]),
    ("deny", &[]),
    ("header", &["--check"]),
    ("lint", &[]),
    ("doc", &[]),
    ("test", &[]),
    ("demo", &[]),
    ("c", &[]),
    ("python", &[]),
    ("bench", &["--quick"]),
    ("fuzz", &[]),
];

pub(crate) fn run(work: &Work, args: &[String]) -> Result {
    no_args(args)?;
    let mut times = Vec::new();
    let mut failure = None;
    for (name, args) in ORDER {
        let piece = find(name)?;
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        println!("\n=== {name}: {}", piece.about);
        let start = Instant::now();
        let result = (piece.run)(work, &args);
        times.push((*name, start.elapsed()));
        if let Err(error) = result {
            failure = Some(format!("{name}: {error}"));
            break;
        }
    }
    print!("{}", table(&times, failure.is_some()));
    match failure {
        None => Ok(()),
        Some(failure) => Err(failure.into()),
    }
}

fn find(name: &str) -> Result<&'static Piece> {
    PIECES
        .iter()
        .find(|piece| piece.name == name)
        .ok_or_else(|| format!("there is no piece '{name}'").into())
}

fn table(times: &[(&str, Duration)], failed: bool) -> String {
    let mut text = String::from("\n| piece  | minutes |        |\n|--------|--------:|--------|\n");
    let mut total = Duration::ZERO;
    for (index, (name, time)) in times.iter().enumerate() {
        let last = index + 1 == times.len();
        let verdict = if last && failed { "failed" } else { "passed" };
        text.push_str(&format!(
            "| {name:<6} | {:>7.1} | {verdict} |\n",
            minutes(*time)
        ));
        total += *time;
    }
    text.push_str(&format!(
        "| total  | {:>7.1} |        |\n\n",
        minutes(total)
    ));
    let bad = usize::from(failed);
    let left_out = ORDER.len() - times.len();
    let good = times.len() - bad;
    text.push_str(&format!(
        "pieces: {good} passed, {bad} failed, {left_out} skipped\n"
    ));
    text
}

fn minutes(time: Duration) -> f64 {
    time.as_secs_f64() / 60.0
}
