//! `aliases`: aliases(5) of Postfix and Sendmail. Who is on the left is a recipient; where it goes, be it
//! `:include:`d, piped or bounced, is the MTA's business.

use std::io::BufRead;

use super::{BadLine, Page, ReadError, Said, entry, user, whole};
use crate::files::{Line, Lines, is_blank, trim, unquoted};

/// `name: value`, the name quoted if it holds anything special; also `name@example.com: value`.
pub(super) fn read<R: BufRead>(lines: &mut Lines<R>, page: &mut Page<'_>) -> Result<(), ReadError> {
    while let Some(line) = lines.next_logical()? {
        let said = name(&line);
        page.take(line.number, said);
    }
    Ok(())
}

fn name(line: &Line<'_>) -> Result<Said, BadLine> {
    if line.text.first().is_some_and(|&byte| is_blank(byte)) {
        return Err(BadLine::Indented);
    }
    let colon = unquoted(line.text, |byte| byte == b':').ok().flatten();
    let colon = colon.ok_or(if line.cut { BadLine::TooLong } else { BadLine::NoColon })?;
    let name = whole(&Line { text: trim(&line.text[..colon]), cut: false, ..*line })?;
    let value = trim(&line.text[colon + 1..]);
    if value.is_empty() || value.starts_with(b"#") {
        return Err(BadLine::NoValue);
    }
    // Sendmail (cf/README, PLUSSED USERS): `joe+*` is for any detail of joe.
    let name = name.strip_suffix(b"+*").filter(|joe| !joe.is_empty()).unwrap_or(name);
    match unquote(name) {
        Some(plain) => user(&plain),
        None if name.contains(&b'"') || name.contains(&b'\\') => entry(name),
        None => user(name),
    }
}

/// A name that is in quotes as a whole, without them.
fn unquote(name: &[u8]) -> Option<Vec<u8>> {
    let inside = name.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut plain = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => plain.push(*bytes.next()?),
            b'"' => return None,
            _ => plain.push(byte),
        }
    }
    Some(plain)
}
