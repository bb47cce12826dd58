//! The index of the addresses: `cargo bench --bench directory`, which prints one line of JSON for each figure:
//! `{"row":"index-bytes-per-address","value":14.2,"unit":"B"}`.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::Error;

use super::{Bench, Row};

pub(super) fn rows(_: &Bench) -> Result<Vec<Row>, Error> {
    // Not by its bare name: this program may be run from anywhere.
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let seconds = LIMIT.as_secs().to_string();
    let bench =
        ["cargo", "bench", "--quiet", "--manifest-path", manifest, "--bench", "directory", "--", "--goals"];
    let mut command = Command::new("timeout");
    let output = command.arg(&seconds).args(bench).stderr(Stdio::inherit()).output();
    let output = output.map_err(Error::io("cargo bench"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(Error::Tool { tool: "cargo bench", said: format!("{}: {text}", output.status) });
    }
    let rows: Vec<Row> = text.lines().filter_map(row).collect();
    if rows.is_empty() {
        return Err(Error::Tool { tool: "cargo bench", said: format!("no figures: {text}") });
    }
    Ok(rows)
}

/// A line of the benchmark's output.
#[derive(Deserialize)]
struct Line {
    row: String,
    value: f64,
    unit: String,
    #[serde(default)]
    note: String,
}

fn row(line: &str) -> Option<Row> {
    let line: Line = serde_json::from_str(line).ok()?;
    let row = Row::new(&line.row, line.value, &line.unit).note(line.note);
    let goal = GOALS.iter().find(|(name, _)| *name == line.row);
    Some(match goal {
        Some((_, goal)) => row.at_most(*goal),
        None => row,
    })
}

/// What is asked of each, in the unit of its line; all with ten million addresses.
const GOALS: [(&str, f64); 7] = [
    ("index-bytes-per-address", 16.0),
    ("index-look-up", 1.5),
    ("index-look-up-allocations", 0.0),
    ("index-start-from-disk", 1.0),
    ("index-start-from-text", 10.0),
    ("index-text-peak-memory", 2.0),
    ("index-update", 10.0),
];

/// The benchmark is built, and ten million addresses are listed, which alone takes up to a quarter of an hour.
const LIMIT: Duration = Duration::from_secs(5400);

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn lines_of_figures_are_read() {
        let found = row(r#"{"row":"index-bytes-per-address","value":17.5,"unit":"B"}"#).unwrap();
        assert_eq!((found.measured, found.unit.as_str(), found.verdict()), (17.5, "B", Verdict::Short));
        assert_eq!(row(r#"{"row":"other","value":1,"unit":"s"}"#).unwrap().verdict(), Verdict::Reported);
        assert_eq!(row("addresses  first listing"), None);
    }
}
