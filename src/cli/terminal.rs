//! Writing to a person's terminal: colours there only, and nothing that came from outside may steer it.
//!
//! What is piped, and where `NO_COLOR` is set or `TERM` is `dumb`, is plain text. Failure: what can't be written is not written.

use std::{
    fmt,
    io::{self, Write},
};

use anstyle::{AnsiColor, Style};

/// Prints to standard output; a reader that went away (`| head`) is not an error.
pub(super) fn print(text: impl fmt::Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// Prints what is worth a look. The text may come from outside.
pub(super) fn note(text: &str) {
    print(format_args!("{} {}", doubtful("note:"), safe(text)));
}

/// Prints all of them.
pub(super) fn notes(texts: &[String]) {
    texts.iter().for_each(|text| note(text));
}

/// Prints what went wrong to standard error, in one line; more where it shows the lines of a file.
pub(super) fn complain(message: &str) {
    let lines: Vec<_> =
        message.split('\n').map(|line| line.split('\t').map(safe).collect::<Vec<_>>().join("\t")).collect();
    let _ = writeln!(anstream::stderr(), "{} {}", bad("backstop:"), lines.join("\n"));
}

/// Prints what was made for another program.
pub(super) fn print_bytes(bytes: &[u8]) {
    let _ = io::stdout().write_all(bytes);
}

/// Prints facts as JSON: one document, never coloured.
pub(super) fn print_json(facts: &impl serde::Serialize) {
    match serde_json::to_string_pretty(facts) {
        Ok(text) => print_bytes(format!("{text}\n").as_bytes()),
        Err(error) => complain(&format!("can't be written as JSON: {error}")),
    }
}

/// A word that says: as it should be.
pub(super) fn good<T: fmt::Display>(word: T) -> Coloured<T> {
    Coloured(AnsiColor::Green.on_default(), word)
}

/// A word that says: put off, not sure, worth a look.
pub(super) fn doubtful<T: fmt::Display>(word: T) -> Coloured<T> {
    Coloured(AnsiColor::Yellow.on_default(), word)
}

/// A word that says: refused, wrong.
pub(super) fn bad<T: fmt::Display>(word: T) -> Coloured<T> {
    Coloured(AnsiColor::Red.on_default().bold(), word)
}

/// A verdict in its colour.
pub(super) fn verdict(word: &str) -> Coloured<&str> {
    match word {
        "reject" => bad(word),
        "defer" => doubtful(word),
        _ => good(word),
    }
}

/// A word in a colour; what prints it takes the colour away where it does not belong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coloured<T>(Style, T);

impl<T: fmt::Display> fmt::Display for Coloured<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(style, word) = self;
        write!(f, "{style}{word}{style:#}")
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
