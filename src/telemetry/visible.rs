//! What a line may hold: nothing in it ends it, steers a terminal, or turns its reading direction, whatever a peer wrote.

use std::{borrow::Cow, fmt::Write};

use crate::readable::misleads;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people; `\u{202e}` is how what can't be seen is written.
    Text {
        /// Colours of our own may stay.
        ansi: bool,
    },
    /// One JSON object; `\u202e` means the same to who reads it.
    Json,
}

/// A line with all that misleads made visible; its end stays.
pub(super) fn visible(line: &[u8], form: Form) -> Cow<'_, [u8]> {
    let (text, end) = line.strip_suffix(b"\n").map_or((line, ""), |text| (text, "\n"));
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte);
    if text.iter().all(is_plain) {
        return Cow::Borrowed(line);
    }
    let text = String::from_utf8_lossy(text);
    let mut shown = String::with_capacity(text.len() + 64);
    let mut rest = &*text;
    while let Some(c) = rest.chars().next() {
        let length = match form {
            Form::Text { ansi: true } => colour(rest),
            _ => 0,
        };
        if length > 0 {
            shown.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match form {
            _ if !misleads(c) => shown.push(c),
            Form::Text { .. } => shown.extend(c.escape_default()),
            Form::Json => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(shown, "\\u{unit:04x}");
                }
            }
        }
    }
    shown.push_str(end);
    Cow::Owned(shown.into_bytes())
}

/// The length of a change of colour that the text begins with (ECMA-48 §8.3.117, SGR); 0: there is none.
fn colour(text: &str) -> usize {
    let Some(inner) = text.strip_prefix("\u{1b}[") else { return 0 };
    let parameters = inner.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if inner.as_bytes().get(parameters) == Some(&b'm') { 2 + parameters + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMS: [Form; 3] = [Form::Text { ansi: false }, Form::Text { ansi: true }, Form::Json];

    fn shown(line: &str, form: Form) -> String {
        String::from_utf8(visible(line.as_bytes(), form).into_owned()).unwrap()
    }

    #[test]
    fn what_can_not_be_seen_is_spelled_out() {
        let text = Form::Text { ansi: false };
        for (line, expected) in [
            ("a=\"b\"\n", "a=\"b\"\n"),
            ("ü – ✓\n", "ü – ✓\n"),
            ("a\nb\r\n", "a\\nb\\r\n"),
            ("\u{1b}[31mred\u{202e}\u{85}\u{0}\n", "\\u{1b}[31mred\\u{202e}\\u{85}\\u{0}\n"),
            ("no end", "no end"),
        ] {
            assert_eq!(shown(line, text), expected);
        }
        assert_eq!(
            shown("\u{1b}[2;31mred\u{1b}[0m\u{1b}[2J\n", FORMS[1]),
            "\u{1b}[2;31mred\u{1b}[0m\\u{1b}[2J\n"
        );
        assert_eq!(visible(b"\xff\n", text), "\u{fffd}\n".as_bytes());
    }

    #[test]
    fn json_means_the_same() {
        let line = "{\"a\":\"x\u{202e}y\u{e0041}\u{85}ü\"}\n";
        let safe = shown(line, Form::Json);
        assert_eq!(safe, "{\"a\":\"x\\u202ey\\udb40\\udc41\\u0085ü\"}\n");
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parsed(line), parsed(&safe));
    }

    proptest! {
        #[test]
        fn a_line_stays_one_line(text in "[a\u{0}-\u{1f}\u{7f}-\u{9f}\u{202a}-\u{202e}\u{2066}\u{feff}ü\\PC]{0,40}") {
            for form in [FORMS[0], FORMS[2]] {
                let shown = shown(&format!("{text}\n"), form);
                prop_assert!(shown.ends_with('\n') && !shown[..shown.len() - 1].chars().any(misleads), "{shown:?}");
            }
        }
    }
}
