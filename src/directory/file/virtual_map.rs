//! `virtual`: the text that postmap(1) makes tables of, `key value`. Postfix' virtual alias, virtual mailbox and
//! relay recipient maps are written so, and Sendmail's virtusertable.

use std::io::BufRead;

use super::{BadLine, Page, ReadError, Said, entry, whole};
use crate::files::{Line, Lines, first_word, is_blank};

/// The keys `user@example.com`, `user`, and `@example.com` (virtual(5)).
pub(super) fn read<R: BufRead>(lines: &mut Lines<R>, page: &mut Page<'_>) -> Result<(), ReadError> {
    while let Some(line) = lines.next_logical()? {
        let said = key(&line);
        page.take(line.number, said);
    }
    Ok(())
}

fn key(line: &Line<'_>) -> Result<Said, BadLine> {
    if line.text.first().is_some_and(|&byte| is_blank(byte)) {
        return Err(BadLine::Indented);
    }
    // A value may be as long as it likes.
    let line =
        if line.cut { Line { cut: !line.text.iter().any(|&byte| is_blank(byte)), ..*line } } else { *line };
    let (key, value) = first_word(whole(&line)?)?;
    if value.is_empty() {
        return Err(BadLine::NoValue);
    }
    if refuses(value) {
        return Ok(Said::Nothing);
    }
    // Sendmail: `user+*@example.com` is for any detail of that user, `user++@example.com` for any but an empty one.
    match key.windows(3).position(|window| window == b"+*@" || window == b"++@") {
        Some(plus) => entry(&[&key[..plus], &key[plus + 2..]].concat()),
        None => entry(key),
    }
}

/// Whether the value says that there is no such recipient: `error:nouser No such user` in a virtusertable
/// (Sendmail cf/README, VIRTUAL HOSTING), or the word REJECT. A temporary error says nothing of the kind.
fn refuses(value: &[u8]) -> bool {
    let word = value.split(|&byte| is_blank(byte)).next().unwrap_or_default();
    if word == b"REJECT" {
        return true;
    }
    match word.split_at_checked(b"error:".len()) {
        Some((error, code)) if error.eq_ignore_ascii_case(b"error:") => {
            !code.eq_ignore_ascii_case(b"tempfail") && !code.starts_with(b"4")
        }
        _ => false,
    }
}
