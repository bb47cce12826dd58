//! The first word of a line, as postmap(1) splits key and value.

use super::is_blank;

/// A quote without its partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a quote without its partner")]
pub struct Unbalanced;

/// Splits a line after its first word. Whitespace within double quotes or behind a backslash belongs to the
/// word, quotes and backslashes stay. The rest comes without whitespace around it.
///
/// # Errors
/// [`Unbalanced`].
pub fn first_word(line: &[u8]) -> Result<(&[u8], &[u8]), Unbalanced> {
    let end = unquoted(line, is_blank)?;
    let (word, rest) = line.split_at(end.unwrap_or(line.len()));
    Ok((word, trim(rest)))
}

/// Where the first such byte is that stands neither within double quotes nor behind a backslash.
///
/// # Errors
/// [`Unbalanced`], where there is none.
pub fn unquoted(line: &[u8], is_it: impl Fn(u8) -> bool) -> Result<Option<usize>, Unbalanced> {
    let (mut quoted, mut escaped) = (false, false);
    let found = line.iter().position(|&byte| {
        if escaped {
            escaped = false;
            return false;
        }
        match byte {
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ => return !quoted && is_it(byte),
        }
        false
    });
    if quoted { Err(Unbalanced) } else { Ok(found) }
}

/// The line without whitespace around it.
pub fn trim(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|&byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|&byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_postmap_does() {
        for (line, word, rest) in [
            ("a@x OK", "a@x", "OK"),
            ("a@x\t  b, c  ", "a@x", "b, c"),
            ("a@x", "a@x", ""),
            ("", "", ""),
            (" a", "", "a"),
            ("\"a b\"@x c", "\"a b\"@x", "c"),
            ("\"a\\\" b\"@x c", "\"a\\\" b\"@x", "c"),
            ("a\\ b@x c", "a\\ b@x", "c"),
            ("a\\", "a\\", ""),
        ] {
            assert_eq!(first_word(line.as_bytes()), Ok((word.as_bytes(), rest.as_bytes())), "{line:?}");
        }
        assert_eq!(first_word(b"\"a b@x c"), Err(Unbalanced));
        assert_eq!(trim(b"  \r\n"), b"");
    }
}
