//! What is compared, one file a subject. Each gives rows for the table.

pub mod blocks;
pub mod body;
pub mod c_call;
pub mod command;
pub mod document;
pub mod key_vault;
pub mod seek;
#[cfg(target_os = "linux")]
pub mod served;

use serde_json::{Value, json};

/// A line of the table: a ratio against a peer and the target that it has to reach.
pub struct Row {
    /// What was measured.
    pub what: String,
    /// cmkit's figure, with its unit.
    pub ours: String,
    /// The peer's, with its unit.
    pub peer: String,
    /// The figure that the target is about.
    pub figure: f64,
    /// The target.
    pub target: Target,
}

/// Which side of a bound is good.
#[derive(Clone, Copy)]
pub enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Row {
    /// Whether the target is reached.
    #[must_use]
    pub fn reached(&self) -> bool {
        match self.target {
            Target::AtLeast(t) => self.figure >= t,
            Target::AtMost(t) => self.figure <= t,
        }
    }

    /// The target in words.
    #[must_use]
    pub fn target_text(&self) -> String {
        match self.target {
            Target::AtLeast(t) => format!(">= {t}"),
            Target::AtMost(t) => format!("<= {t}"),
        }
    }

    /// For the JSON output.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "what": self.what, "ours": self.ours, "peer": self.peer,
            "figure": self.figure, "target": self.target_text(), "reached": self.reached(),
        })
    }
}
