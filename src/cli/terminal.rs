//! Writing to a person's terminal: colours there only, and nothing that came from outside may steer it.
//!
//! What is piped, and where `NO_COLOR` is set or `TERM` is `dumb`, is plain text. Failure: what
//! standard output did not take, [`flush`] tells.

use std::{
    fmt,
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use anstyle::{AnsiColor, Style};

pub(super) use crate::readable::safe;

/// Prints to standard output; whether that took it, [`flush`] tells at the end.
pub(super) fn print(text: impl fmt::Display) {
    keep(writeln!(anstream::stdout(), "{text}"));
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
    tell(format_args!("{} {}\n", bad("backstop:"), safe_lines(message)));
}

/// Prints what was made for another program.
pub(super) fn print_bytes(bytes: &[u8]) {
    keep(io::stdout().write_all(bytes));
}

/// Prints facts as JSON: one document, never coloured.
pub(super) fn print_json(facts: &impl serde::Serialize) {
    match serde_json::to_string_pretty(facts) {
        Ok(text) => print_bytes(format!("{text}\n").as_bytes()),
        Err(error) => keep(Err(error.into())),
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

/// Tells on standard error. If that takes nothing there is nobody to tell it to.
pub(super) fn tell(text: impl fmt::Display) {
    let _ = write!(anstream::stderr(), "{text}");
}

/// Whether all that was printed was taken. A reader that went away (`| head`) wanted no more, which is no error.
pub(super) fn flush() -> io::Result<()> {
    keep(io::stdout().flush());
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
}

fn keep(printed: io::Result<()>) {
    if let Err(error) = printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Why standard output did not take something.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Several lines of [`safe`] text, each cut in its middle to what a person would read.
pub(super) fn safe_lines(text: &str) -> String {
    let line = |line: &str| {
        let shown: Vec<String> = line.split('\t').map(safe).collect();
        let shown = shown.join("\t");
        let length = shown.chars().count();
        if length <= LONGEST_LINE {
            return shown;
        }
        // What is wrong with a long argument stands behind it.
        let (begin, end) =
            (shown.chars().take(LONGEST_LINE / 2), shown.chars().skip(length - LONGEST_LINE / 2));
        begin.chain(['…']).chain(end).collect()
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// In characters: what is wrong may be an argument of a hundred thousand.
const LONGEST_LINE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    /// UAX #9: a name must not turn the rest of the line around.
    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(safe_lines("a\u{1b}\n\tb\r\n"), "a\\u{1b}\n\tb\\r\n");
        assert_eq!(safe_lines(&"é".repeat(2000)), format!("{0}…{0}", "é".repeat(LONGEST_LINE / 2)));
    }
}
