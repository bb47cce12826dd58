//! `passwd` and `dovecot-passwd`: a user's name, a colon, and what is no business of ours.

use std::io::BufRead;

use super::{BadLine, Page, ReadError, Said, user, whole};
use crate::files::{Line, Lines};

/// passwd(5). A `+` entry (NIS) means that most users are elsewhere: such a file can't say who does not exist.
pub(super) fn read<R: BufRead>(lines: &mut Lines<R>, page: &mut Page<'_>) -> Result<(), ReadError> {
    while let Some(line) = lines.next()? {
        match line.text.first() {
            None | Some(b'#' | b'-') => {}
            Some(b'+') => return Err(ReadError::NotTheWhole(line.number)),
            Some(_) => {
                let said = name(&line, true);
                page.take(line.number, said);
            }
        }
    }
    Ok(())
}

/// Dovecot's passwd-file: `user:{scheme}password:uid:gid::home::extra`, where only the user is needed; the name
/// may have a domain. A user who may not log in still receives mail.
pub(super) fn read_dovecot<R: BufRead>(lines: &mut Lines<R>, page: &mut Page<'_>) -> Result<(), ReadError> {
    while let Some(line) = lines.next()? {
        if !matches!(line.text.first(), None | Some(b'#' | b':')) {
            let said = name(&line, false);
            page.take(line.number, said);
        }
    }
    Ok(())
}

fn name(line: &Line<'_>, needs_colon: bool) -> Result<Said, BadLine> {
    match line.text.iter().position(|&byte| byte == b':') {
        Some(colon) => user(whole(&Line { text: &line.text[..colon], cut: false, ..*line })?),
        None if needs_colon => Err(BadLine::NoColon),
        None => user(whole(line)?),
    }
}
