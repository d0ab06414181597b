//! `cmkit doctor`: whether keys can be used, and what to do where they can't.

mod local;

use std::io::{self, Write};

use cmkit_azure::{Outcome, Report};
use serde_json::{Value, json};

use crate::args;
use crate::failure::{Failure, Result, in_flags};
use crate::keys::Home;
use crate::text::printable;
use crate::vault::Settings;

/// What several keys are good for, and what not.
const SEVERAL: &str = "An envelope for several keys opens by any of them that answers: while one vault is out of reach the others keep reads \
alive, for a day at most. A new data key needs them all, so writes go on only until the one in use ends, after an hour at most.";

/// `cmkit doctor`
pub(crate) fn run(args: args::Doctor, home: &Home) -> Result {
    let provider = Settings::new(args.vault)?.provider(&args.keys, &[])?;
    let mut examined = Vec::with_capacity(args.keys.len());
    for key in &args.keys {
        let found = match &provider {
            Some(provider) if key.host().is_some() => Examined::from(provider.doctor(key)),
            _ => local::examine(home, key)?,
        };
        if !args.json {
            print(&found.human())?;
        }
        examined.push(found);
    }
    let several = examined.len() > 1 && provider.is_some();
    if args.json {
        print(&as_json(&examined, several)?)?;
    } else if several {
        print(&format!("{SEVERAL}\n"))?;
    }
    if examined.iter().all(Examined::is_healthy) {
        Ok(())
    } else {
        Err(Failure::silent(1))
    }
}

fn print(text: &str) -> Result {
    io::stdout()
        .write_all(printable(text).as_bytes())
        .map_err(|e| Failure::print(&e))
}

/// What was found out about a key.
struct Examined {
    key: String,
    /// As whom, or where.
    by: String,
    rows: Vec<Row>,
}

struct Row {
    check: &'static str,
    outcome: Outcome,
    detail: String,
}

impl From<Report> for Examined {
    fn from(report: Report) -> Self {
        let rows = report.rows.into_iter().map(|row| Row {
            check: row.check.name(),
            outcome: row.outcome,
            detail: in_flags(&row.detail),
        });
        Self {
            key: report.key,
            by: report.identity,
            rows: rows.collect(),
        }
    }
}

impl Examined {
    fn is_healthy(&self) -> bool {
        self.rows.iter().all(|row| row.outcome != Outcome::Fail)
    }

    fn human(&self) -> String {
        let mut text = format!("key {}\nas  {}\n", self.key, self.by);
        for row in &self.rows {
            let outcome = match row.outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "FAIL",
                _ => "skip",
            };
            text.push_str(&format!("{outcome}  {:18}  {}\n", row.check, row.detail));
        }
        text.push('\n');
        text
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let outcome = match row.outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "fail",
                _ => "skipped",
            };
            json!({"check": row.check, "outcome": outcome, "detail": row.detail})
        });
        json!({
            "key": self.key,
            "identity": self.by,
            "healthy": self.is_healthy(),
            "checks": rows.collect::<Vec<_>>(),
        })
    }
}

fn as_json(examined: &[Examined], several: bool) -> Result<String> {
    let value = json!({
        "healthy": examined.iter().all(Examined::is_healthy),
        "keys": examined.iter().map(Examined::json).collect::<Vec<_>>(),
        "note": several.then_some(SEVERAL),
    });
    let text = serde_json::to_string_pretty(&value);
    text.map(|text| text + "\n")
        .map_err(|e| Failure::other(format!("cannot write JSON: {e}")))
}
