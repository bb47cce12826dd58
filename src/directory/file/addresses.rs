//! `addresses`: one recipient a line, our own format, and that of Toriss' TORISS_LOCALS.TXT.

use std::io::BufRead;

use super::{BadLine, Page, ReadError, Said, entry, whole};
use crate::files::{Lines, first_word, trim};

/// `user@example.com`, `user` or `@example.com`, in any case; a comment is a `#` that starts a word.
pub(super) fn read<R: BufRead>(lines: &mut Lines<R>, page: &mut Page<'_>) -> Result<(), ReadError> {
    while let Some(line) = lines.next()? {
        let text = trim(line.text);
        if !text.is_empty() && !text.starts_with(b"#") {
            let said = whole(&line).and_then(|_| first(text));
            match said {
                Ok((recipient, true)) => page.take(line.number, Ok(recipient)),
                // Whoever is named exists, whatever follows; but it is told, for it may be another format.
                Ok((recipient, false)) => {
                    page.take(line.number, Ok(recipient));
                    page.take(line.number, Err(BadLine::Words));
                }
                Err(bad) => page.take(line.number, Err(bad)),
            }
        }
    }
    Ok(())
}

/// The recipient, and whether nothing but a comment follows.
fn first(text: &[u8]) -> Result<(Said, bool), BadLine> {
    let (word, rest) = first_word(text)?;
    // A list that was pasted from a message header.
    let bare = word.strip_suffix(b",").or_else(|| word.strip_suffix(b";")).unwrap_or(word);
    let bare = bare.strip_prefix(b"<").and_then(|bare| bare.strip_suffix(b">")).unwrap_or(bare);
    Ok((entry(bare)?, bare == word && (rest.is_empty() || rest.starts_with(b"#"))))
}
