//! What a line may hold: nothing in it ends it, steers a terminal, or turns its reading direction, whatever a peer wrote.

use std::{borrow::Cow, fmt::Write};

use crate::readable::misleads;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people; `\u{202e}` is how what can't be seen is written.
    Text,
    /// One JSON object; `\u202e` means the same to who reads it.
    Json,
}

/// A text with all that misleads made visible, line ends too.
pub(super) fn visible(text: &str, form: Form) -> Cow<'_, str> {
    if is_plain(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        match form {
            _ if !misleads(c) => shown.push(c),
            Form::Text => shown.extend(c.escape_default()),
            Form::Json => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(shown, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(shown)
}

/// Whether there is nothing but what everybody sees as it is: the printable characters of ASCII.
pub(super) fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b' '..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_not_be_seen_is_spelled_out() {
        for (text, expected) in [
            ("a=\"b\"", "a=\"b\""),
            ("ü – ✓", "ü – ✓"),
            ("a\nb\r\n", "a\\nb\\r\\n"),
            ("\u{1b}[31mred\u{202e}\u{85}\u{0}", "\\u{1b}[31mred\\u{202e}\\u{85}\\u{0}"),
            ("\u{7f}", "\\u{7f}"),
        ] {
            assert_eq!(visible(text, Form::Text), expected);
        }
    }

    #[test]
    fn json_means_the_same() {
        let line = "{\"a\":\"x\u{202e}y\u{e0041}\u{85}ü\"}";
        let safe = visible(line, Form::Json);
        assert_eq!(safe, "{\"a\":\"x\\u202ey\\udb40\\udc41\\u0085ü\"}");
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parsed(line), parsed(&safe));
    }

    proptest! {
        #[test]
        fn a_line_stays_one_line(text in "[a\u{0}-\u{1f}\u{7f}-\u{9f}\u{202a}-\u{202e}\u{2066}\u{feff}ü\\PC]{0,40}") {
            for form in [Form::Text, Form::Json] {
                let shown = visible(&text, form);
                prop_assert!(!shown.chars().any(misleads), "{shown:?}");
            }
        }
    }
}
