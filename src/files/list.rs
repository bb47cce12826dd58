//! Files of one word a line.

use std::{fmt::Display, sync::Arc};

use super::{
    lines::LINE_LIMIT,
    loaded::{Faults, LoadError, Text},
    words::{Unbalanced, first_word, trim},
};

/// Hands each line's word to `take`; `#` begins a comment. Gives the number of lines that were taken, and those that make no
/// sense.
///
/// # Errors
/// When a file can't be read, or is of another format.
pub fn read_words<E: Display>(
    texts: &mut [Text],
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(u64, Faults), LoadError> {
    let (mut faults, mut entries) = (Faults::default(), 0);
    for text in texts {
        let path = Arc::clone(text.path());
        let (mut of_file, mut good) = (Faults::default(), 0);
        let mut lines = text.lines();
        loop {
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => return Err(text.error(&error)),
            };
            let said = trim(line.text);
            if said.is_empty() || said.starts_with(b"#") {
                continue;
            }
            let taken = if line.cut {
                Err(BadLine::TooLong)
            } else {
                only_word(said).and_then(|word| take(word).map_err(BadLine::Word))
            };
            match taken {
                Ok(()) => good += 1,
                Err(bad) => of_file.note(&path, line.number, &bad),
            }
        }
        of_file.judge(good)?;
        entries += good;
        faults.append(of_file);
    }
    Ok((entries, faults))
}

fn only_word<E>(text: &[u8]) -> Result<&[u8], BadLine<E>> {
    let (word, rest) = first_word(text)?;
    if rest.is_empty() || rest.starts_with(b"#") { Ok(word) } else { Err(BadLine::Words) }
}

#[derive(Debug, thiserror::Error)]
enum BadLine<E> {
    #[error("longer than {LINE_LIMIT} bytes")]
    TooLong,
    #[error("more than one word")]
    Words,
    #[error(transparent)]
    Quote(#[from] Unbalanced),
    #[error("{0}")]
    Word(E),
}
