//! Errors that point at the place.

use std::{fmt, io, path::PathBuf};

use crate::readable::{misleads, safe};

use super::veil::{veiled, veiled_line};

/// The configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("can't read the configuration file {path}: {error}{}", hint(.error), path = .path.display())]
    Read {
        /// As given.
        path: PathBuf,
        /// As reported.
        error: io::Error,
    },
    /// Everything that is wrong, each with its place.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Diagnostic>),
}

impl Error {
    /// Others may read it.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Read { error, .. } if error.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub place: Place,
    /// What, and what to do.
    pub message: String,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// The line itself.
        text: String,
        /// How many characters are meant.
        width: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A default that does not go with the rest, or a key that is missing.
    Key(String),
}

/// What to do.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; root may, and the user that backstop runs as",
        _ => "",
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = veiled(&self.message).split('\n').map(safe).collect::<Vec<_>>().join("\n");
        match &self.place {
            Place::File { path, line, column, text, width } => {
                writeln!(f, "{}:{line}:{column}: {message}", path.display())?;
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                let shown: String = veiled_line(text)
                    .chars()
                    .map(|c| if misleads(c) && c != '\t' { '\u{fffd}' } else { c })
                    .collect();
                // What is left out has nothing to point at.
                let kept = text.chars().zip(shown.chars()).take_while(|(_, shown)| *shown != '…').count();
                let before = (column - 1).min(kept);
                let width = (*width).min(shown.chars().count() - before).max(1);
                // A tab before the caret keeps its width, whatever the terminal makes of it.
                let indent: String =
                    text.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                write!(f, "{margin} |\n{number} | {shown}\n{margin} | {indent}{}", "^".repeat(width))
            }
            Place::Environment(variable) => write!(f, "environment variable {variable}: {message}"),
            Place::Key(key) => write!(f, "{key}: {message}"),
        }
    }
}
