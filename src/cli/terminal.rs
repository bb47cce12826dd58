//! Writing to a person's terminal: nothing that came from outside may steer it.

use std::{
    fmt,
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

/// Prints to standard output; whether that took it, [`flush`] tells at the end.
pub(super) fn print(text: impl fmt::Display) {
    keep(writeln!(io::stdout(), "{text}"));
}

/// Prints what was made for another program.
pub(super) fn print_bytes(bytes: &[u8]) {
    keep(io::stdout().write_all(bytes));
}

/// Prints facts as JSON.
pub(super) fn print_json(facts: &impl serde::Serialize) {
    match serde_json::to_string_pretty(facts) {
        Ok(text) => print(text),
        Err(error) => keep(Err(error.into())),
    }
}

/// Tells on standard error. If that takes nothing there is nobody to tell it to.
pub(super) fn tell(text: impl fmt::Display) {
    let _ = write!(io::stderr(), "{text}");
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

/// Text with control characters, line separators and marks of reading direction made visible.
pub(super) fn safe(text: &str) -> String {
    text.chars().map(|c| if misleads(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Several lines of it, each cut in its middle to what a person would read.
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

fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// In characters: what is wrong may be an argument of a hundred thousand.
const LONGEST_LINE: usize = 1000;

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
        assert_eq!(safe_lines("a\u{1b}\n\tb\r\n"), "a\\u{1b}\n\tb\\r\n");
        assert_eq!(safe_lines(&"é".repeat(2000)), format!("{0}…{0}", "é".repeat(LONGEST_LINE / 2)));
        assert_eq!(safe("jos\u{e9} @ b\u{fc}cher"), "jos\u{e9} @ b\u{fc}cher");
    }
}
