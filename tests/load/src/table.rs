//! The table of all rows, as text and as JSON.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::rows::{Bench, Goal, Group, Row, Verdict};

/// What was measured in one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The rows, with their verdicts.
    pub rows: Vec<Judged>,
    /// Groups that could not be measured, and why.
    pub failed: Vec<Failed>,
}

/// A row with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The row.
    #[serde(flatten)]
    pub row: Row,
    /// What is to be said of it.
    pub verdict: Verdict,
}

/// A group that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Its name.
    pub group: String,
    /// What went wrong.
    pub error: String,
}

impl Table {
    /// Measures these groups, one behind the other, and prints each row when it is known. A group that fails does not
    /// keep the others from being measured. `json` has what is known so far.
    ///
    /// # Errors
    /// When the JSON can't be written.
    pub fn measure<'g>(
        bench: &Bench,
        groups: impl IntoIterator<Item = &'g Group>,
        json: Option<&Path>,
    ) -> Result<Self, Error> {
        let mut table = Self::default();
        if let Some(path) = json {
            table.write(path)?; // what can't be written is known before all is measured
        }
        println!("{:<78} {:>10} {:>12}  {:<8}  made of", "row", "goal", "measured", "");
        for group in groups {
            match (group.measure)(bench) {
                Ok(rows) => {
                    for row in rows {
                        println!("{}", line(&row));
                        table.rows.push(Judged { verdict: row.verdict(), row });
                    }
                }
                Err(error) => {
                    println!("{}: not measured: {error}", group.name);
                    table.failed.push(Failed { group: group.name.to_owned(), error: error.to_string() });
                }
            }
            let _ = std::io::stdout().flush();
            if let Some(path) = json {
                table.write(path)?;
            }
        }
        Ok(table)
    }

    /// What falls short and what could not be measured, a line each; then how many rows have each verdict, as a sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |verdict| self.rows.iter().filter(|judged| judged.verdict == verdict).count();
        let short = self.rows.iter().filter(|judged| judged.verdict == Verdict::Short);
        let short = short.map(|judged| format!("falls short: {}\n", judged.row.name));
        let failed = self.failed.iter().map(|failed| format!("not measured: {}\n", failed.group));
        let named: String = short.chain(failed).collect();
        format!(
            "{named}{} rows pass, {} fall short, {} are reported; {} groups failed",
            count(Verdict::Pass),
            count(Verdict::Short),
            count(Verdict::Reported),
            self.failed.len()
        )
    }

    /// Whether everything was measured and no row falls short.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.failed.is_empty() && self.rows.iter().all(|judged| judged.verdict != Verdict::Short)
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Tool { tool: "JSON", said: error.to_string() })?;
        text.push('\n');
        fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
    }
}

/// A row as a line of text.
fn line(row: &Row) -> String {
    let goal = match row.goal {
        None => "-".to_owned(),
        Some(Goal::AtMost(goal)) => format!("≤ {}", figure(goal)),
        Some(Goal::AtLeast(goal)) => format!("≥ {}", figure(goal)),
    };
    let unit = match row.unit.as_str() {
        "instructions" | "calls" => "",
        unit => unit,
    };
    let verdict = match row.verdict() {
        Verdict::Pass => "pass",
        Verdict::Short => "SHORT",
        Verdict::Reported => "",
    };
    let measured = format!("{} {unit}", figure(row.measured));
    format!("{:<78} {goal:>10} {:>12}  {verdict:<8}  {}", row.name, measured.trim_end(), row.note)
        .trim_end()
        .to_owned()
}

/// As many digits as say something.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: Vec<Row>) -> Table {
        let rows = rows.into_iter().map(|row| Judged { verdict: row.verdict(), row });
        Table { rows: rows.collect(), failed: Vec::new() }
    }

    #[test]
    fn a_row_is_a_line() {
        let row = Row::new("attack", 12_345.6, "instructions").at_most(12_000.0).note("floor 2400");
        let words: Vec<String> = line(&row).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words.join(" "), "attack ≤ 12000 12346 SHORT floor 2400");
        let row = Row::new("ratio", 0.5, "×").at_most(0.55);
        let words: Vec<String> = line(&row).split_whitespace().map(str::to_owned).collect();
        assert_eq!(words.join(" "), "ratio ≤ 0.55 0.50 × pass");
    }

    #[test]
    fn one_row_that_falls_short_is_enough() {
        let good = Row::new("good", 1.0, "×").at_most(1.0);
        let bad = Row::new("bad", 2.0, "×").at_most(1.0);
        let told = Row::new("told", 2.0, "×");
        assert!(table(vec![good.clone(), told.clone()]).passes());
        let all = table(vec![good, bad, told]);
        assert!(!all.passes());
        let counts = "1 rows pass, 1 fall short, 1 are reported; 0 groups failed";
        assert_eq!(all.summary(), format!("falls short: bad\n{counts}"));
        let failed = Failed { group: "x".into(), error: "y".into() };
        let failed = Table { rows: Vec::new(), failed: vec![failed] };
        assert!(!failed.passes() && failed.summary().starts_with("not measured: x\n"));
    }

    #[test]
    fn the_json_can_be_read_again() {
        let all = table(vec![Row::new("a", 1.5, "B").at_most(2.0).note("n"), Row::new("b", 3.0, "×")]);
        let text = serde_json::to_string(&all).unwrap();
        assert!(text.contains(r#""goal":{"at-most":2.0}"#) && text.contains(r#""verdict":"pass""#), "{text}");
        assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), all);
    }
}
