//! Writing to a person's terminal: nothing that came from outside may steer it.

use std::{
    fmt,
    io::{self, Write},
};

/// Prints to standard output; a reader that went away (`| head`) is not an error.
pub(super) fn print(text: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints what was made for another program.
pub(super) fn print_bytes(bytes: &[u8]) {
    let _ = io::stdout().write_all(bytes);
}

/// Prints facts as JSON.
pub(super) fn print_json(facts: &impl serde::Serialize) {
    match serde_json::to_string_pretty(facts) {
        Ok(text) => print(text),
        Err(error) => eprintln!("backstop: can't be written as JSON: {error}"),
    }
}

/// Text with control characters, line separators and marks of reading direction made visible.
pub(super) fn safe(text: &str) -> String {
    text.chars().map(|c| if misleads(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UAX #9: a name must not turn the rest of the line around.
    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(
            safe("a\u{1b}[31m\n\u{202e}b\u{2028}\u{2066}"),
            "a\\u{1b}[31m\\n\\u{202e}b\\u{2028}\\u{2066}"
        );
        assert_eq!(safe("jos\u{e9} @ b\u{fc}cher"), "jos\u{e9} @ b\u{fc}cher");
    }
}
