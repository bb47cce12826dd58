//! The stored figures (`tests/load/figures.json`): what a session cost when somebody last looked. More than that, by more
//! than a tenth, is a regression.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::table::Table;

/// Figures by the name of their row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Figures(BTreeMap<String, f64>);

/// A figure that got worse, or can't be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Regression {
    /// It is more than it was.
    #[error("{row}: {now:.0}, {percent:.0} % more than the {stored:.0} that are stored")]
    More {
        /// The row.
        row: String,
        /// What was measured now.
        now: f64,
        /// What is stored.
        stored: f64,
        /// The difference.
        percent: f64,
    },
    /// Nothing is stored for it.
    #[error("{row}: {now:.0}, and no figure is stored")]
    New {
        /// The row.
        row: String,
        /// What was measured now.
        now: f64,
    },
    /// It was not measured.
    #[error("{row}: it was not measured; {stored:.0} are stored")]
    Gone {
        /// The row.
        row: String,
        /// What is stored.
        stored: f64,
    },
}

impl Figures {
    /// Of a table those that are the same in each run: counts of instructions.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        let rows = table.rows.iter().map(|judged| &judged.row).filter(|row| row.unit == "instructions");
        Self(rows.map(|row| (row.name.clone(), row.measured.round())).collect())
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(Error::io(path.display().to_string()))?;
        let figures = serde_json::from_str(&text);
        figures.map_err(|error| Error::Tool { tool: "figures", said: format!("{}: {error}", path.display()) })
    }

    /// Stores them.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(&self.0)
            .map_err(|error| Error::Tool { tool: "figures", said: error.to_string() })?;
        fs::write(path, text + "\n").map_err(Error::io(path.display().to_string()))
    }

    /// What got worse since `stored`, or can't be compared with it.
    #[must_use]
    pub fn regressions(&self, stored: &Figures) -> Vec<Regression> {
        let measured = self.0.iter().filter_map(|(row, &now)| match stored.0.get(row) {
            Some(&stored) if now <= stored * TOLERATED => None,
            Some(&stored) => {
                let percent = (now / stored - 1.0) * 100.0;
                Some(Regression::More { row: row.clone(), now, stored, percent })
            }
            None => Some(Regression::New { row: row.clone(), now }),
        });
        let gone = stored.0.iter().filter(|(row, _)| !self.0.contains_key(*row));
        let gone = gone.map(|(row, &stored)| Regression::Gone { row: row.clone(), stored });
        measured.chain(gone).collect()
    }
}

/// Counts differ by some hundredths from run to run.
const TOLERATED: f64 = 1.1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Row;
    use crate::table::Judged;

    fn figures(of: &[(&str, f64)]) -> Figures {
        Figures(of.iter().map(|(row, value)| ((*row).to_owned(), *value)).collect())
    }

    #[test]
    fn more_than_a_tenth_more_is_a_regression() {
        let stored = figures(&[("TCP", 10_000.0), ("unix", 8000.0)]);
        let fine = [(10_000.0, 8000.0), (11_000.0, 8800.0), (5000.0, 100.0)];
        for (tcp, unix) in fine {
            assert_eq!(figures(&[("TCP", tcp), ("unix", unix)]).regressions(&stored), []);
        }
        let worse = figures(&[("TCP", 11_001.0), ("unix", 8000.0)]).regressions(&stored);
        let text: Vec<_> = worse.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["TCP: 11001, 10 % more than the 10000 that are stored"]);
    }

    #[test]
    fn what_can_not_be_compared_is_told() {
        let stored = figures(&[("TCP", 10_000.0), ("old", 1.0)]);
        let now = figures(&[("TCP", 10_000.0), ("new", 2.0)]).regressions(&stored);
        let text: Vec<_> = now.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["new: 2, and no figure is stored", "old: it was not measured; 1 are stored"]);
        let nothing = figures(&[]).regressions(&stored);
        assert_eq!(nothing.len(), 2, "a run that measured nothing is none that found nothing");
    }

    #[test]
    fn only_instructions_are_stored() {
        let rows = [Row::new("TCP", 9999.6, "instructions"), Row::new("time", 3.0, "µs")];
        let rows = rows.map(|row| Judged { verdict: row.verdict(), row }).to_vec();
        let stored = Figures::of(&Table { rows, failed: Vec::new() });
        assert_eq!(stored, figures(&[("TCP", 10_000.0)]));
        let directory = backstop_harness::TempDir::new("figures");
        let path = directory.join("figures.json");
        stored.write(&path).unwrap();
        assert_eq!(Figures::read(&path).unwrap(), stored);
    }
}
