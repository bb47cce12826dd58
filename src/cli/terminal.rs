//! Writing to a person's terminal: nothing that came from outside may steer it.

use std::{
    fmt,
    io::{self, Write},
};

/// Prints to standard output; a reader that went away (`| head`) is not an error.
pub(super) fn print(text: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints facts as JSON.
pub(super) fn print_json(facts: &impl serde::Serialize) {
    match serde_json::to_string_pretty(facts) {
        Ok(text) => print(text),
        Err(error) => eprintln!("backstop: can't be written as JSON: {error}"),
    }
}

/// Text with control characters made visible.
pub(super) fn safe(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}
