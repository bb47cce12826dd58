//! `addresses`: one recipient a line, our own format, and that of Toriss' TORISS_LOCALS.TXT.

use std::io::BufRead;

use super::{BadLine, Page, ReadError, Said, entry, whole};
use crate::files::{Lines, first_word, trim};

/// `user@example.com`, `user` or `@example.com`, in any case; a comment is a `#` that starts a word.
pub(super) fn read<R: BufRead>(lines: &mut Lines<R>, page: &mut Page<'_>) -> Result<(), ReadError> {
    while let Some(line) = lines.next()? {
        let text = trim(line.text);
        if !text.is_empty() && !text.starts_with(b"#") {
            let said = whole(&line).and_then(|_| only_word(text));
            page.take(line.number, said);
        }
    }
    Ok(())
}

fn only_word(text: &[u8]) -> Result<Said, BadLine> {
    let (word, rest) = first_word(text)?;
    if rest.is_empty() || rest.starts_with(b"#") { entry(word) } else { Err(BadLine::Words) }
}
