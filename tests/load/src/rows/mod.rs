//! The rows of the table: what is measured, and what is asked of it. Each group of rows is one file, and can be measured
//! alone.
//!
//! Ratios are of one run: the servers run side by side, take turns, and the median of the rounds counts.

mod attack;
mod connections;
mod flat;
mod index;
mod instructions;
mod latency;
mod mtas;
mod program;
mod threads;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::measure::cpu;
use crate::peers::Peer;
use crate::{Error, count};

/// All groups, in the order of the table.
pub const GROUPS: [Group; 10] = [
    Group { name: "attack", measure: attack::rows },
    Group { name: "instructions", measure: instructions::rows },
    Group { name: "latency", measure: latency::rows },
    Group { name: "connections", measure: connections::rows },
    Group { name: "flat", measure: flat::rows },
    Group { name: "threads", measure: threads::rows },
    Group { name: "program", measure: program::rows },
    Group { name: "index", measure: index::rows },
    Group { name: "stalls", measure: mtas::stalls },
    Group { name: "postfix", measure: mtas::postfix },
];

/// Rows that are measured together.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Measures them.
    pub measure: fn(&Bench) -> Result<Vec<Row>, Error>,
}

/// What is measured, and how thoroughly.
#[derive(Debug, Clone)]
pub struct Bench {
    /// `backstop`
    pub program: PathBuf,
    /// Where files are kept: those with the addresses, and callgrind's.
    pub directory: PathBuf,
    /// So many addresses are known, where a row does not say otherwise.
    pub addresses: u64,
    /// Rounds in which servers take turns.
    pub rounds: usize,
    /// Only what a change may make worse in a minute: instructions of the attack.
    pub short: bool,
    /// The words that keep a server to its CPU.
    pub pinned: Vec<String>,
}

/// A figure, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The figure.
    pub measured: f64,
    /// Its unit; `×` for a ratio.
    pub unit: String,
    /// What is asked of it; nothing of one that is only reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// What it is made of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// What is asked of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// What is to be said of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The goal is reached.
    Pass,
    /// It is not.
    Short,
    /// There is none.
    Reported,
}

impl Bench {
    /// See [`Peer::backstop`].
    #[must_use]
    pub fn backstop(&self) -> Peer {
        self.backstop_with("")
    }

    /// The same with more lines in its configuration.
    #[must_use]
    pub fn backstop_with(&self, more: &str) -> Peer {
        Peer::backstop(&self.program, more)
    }

    /// The servers' processor, and ours: see [`cpu::part`].
    ///
    /// # Errors
    /// When there is none.
    fn processors(&self) -> Result<(&str, String), Error> {
        let ours = cpu::usable()?.first().map(usize::to_string);
        let servers = self.pinned.last().map(String::as_str);
        servers.zip(ours).ok_or_else(|| Error::Wrong("there is no processor".to_owned()))
    }

    /// The file of the addresses that are known.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn people(&self) -> Result<PathBuf, Error> {
        crate::people::file(&self.directory, self.addresses)
    }

    /// Where callgrind writes.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Row {
    /// A figure that is only reported.
    #[must_use]
    pub fn new(name: impl Into<String>, measured: f64, unit: &str) -> Self {
        Self { name: name.into(), measured, unit: unit.to_owned(), goal: None, note: String::new() }
    }

    /// It should be this or less.
    #[must_use]
    pub fn at_most(self, goal: f64) -> Self {
        Self { goal: Some(Goal::AtMost(goal)), ..self }
    }

    /// It should be this or more.
    #[must_use]
    pub fn at_least(self, goal: f64) -> Self {
        Self { goal: Some(Goal::AtLeast(goal)), ..self }
    }

    /// What it is made of.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Whether the goal is reached.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let reached = match self.goal {
            None => return Verdict::Reported,
            Some(Goal::AtMost(goal)) => self.measured <= goal,
            Some(Goal::AtLeast(goal)) => self.measured >= goal,
        };
        // What could not be measured has no value, and that compares with nothing.
        if reached { Verdict::Pass } else { Verdict::Short }
    }
}

/// The one in the middle; of an even number the mean of both. NaN of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length.is_multiple_of(2) => f64::midpoint(values[half - 1], values[half]),
        _ => values[half],
    }
}

/// Sessions of one count: those of a second of the server's time, so that what it does once in a second is in it once.
const COUNTED: u64 = count::RATE as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_reached_or_not() {
        let row = || Row::new("x", 10.0, "B");
        assert_eq!(row().verdict(), Verdict::Reported);
        assert_eq!(row().at_most(10.0).verdict(), Verdict::Pass);
        assert_eq!(row().at_most(9.9).verdict(), Verdict::Short);
        assert_eq!(row().at_least(10.0).verdict(), Verdict::Pass);
        assert_eq!(row().at_least(10.1).verdict(), Verdict::Short);
        assert_eq!(Row::new("x", f64::NAN, "B").at_most(1.0).verdict(), Verdict::Short);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 100.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }
}
