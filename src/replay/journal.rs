//! The export format of the journal (systemd, JOURNAL_EXPORT_FORMATS): `journalctl -o export`.
//!
//! An entry is a list of fields, `NAME=TEXT`, or `NAME`, a length of eight bytes and as many bytes; an empty line ends it.

use std::io::{self, BufRead, Read};

use jiff::Timestamp;

use super::input::{Entry, Next};
use crate::files::{LINE_LIMIT, Lines};

/// Reads entries into buffers that are used again for each.
pub(super) struct Journal<R> {
    lines: Lines<R>,
    field: Vec<u8>,
    program: String,
    text: String,
}

impl<R: BufRead> Journal<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { lines: Lines::new(reader), field: Vec::new(), program: String::new(), text: String::new() }
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        self.program.clear();
        self.text.clear();
        let (mut at, mut any) = (None, false);
        loop {
            let line = match self.lines.next()? {
                Some(line) if line.text.is_empty() && !any => continue,
                Some(line) if !line.text.is_empty() => line,
                None if !any => return Ok(Next::End),
                _ => break,
            };
            any = true;
            self.field.clear();
            self.field.extend_from_slice(line.text);
            let equals = self.field.iter().position(|byte| *byte == b'=');
            let name = equals.unwrap_or(self.field.len());
            if equals.is_none() {
                self.binary()?;
            }
            let (name, value) = self.field.split_at(name);
            let value = &*String::from_utf8_lossy(value.get(1..).unwrap_or_default());
            match name {
                b"__REALTIME_TIMESTAMP" => {
                    at = value.parse().ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
                }
                // A field may come again and again: the last one counts.
                b"SYSLOG_IDENTIFIER" => value.clone_into(&mut self.program),
                b"MESSAGE" => value.clone_into(&mut self.text),
                _ => {}
            }
        }
        Ok(match at {
            Some(at) => Next::Entry(Entry { at, program: &self.program, text: &self.text }),
            None => Next::Strange,
        })
    }

    /// Appends a value that has its length before it, as if it stood behind a `=`.
    fn binary(&mut self) -> io::Result<()> {
        let reader = self.lines.rest();
        let mut length = [0; 8];
        reader.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        self.field.push(b'=');
        let kept = length.min(u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX));
        let mut left = length;
        for (most, is_kept) in [(kept, true), (u64::MAX, false)] {
            let mut part = (&mut *reader).take(left.min(most));
            left -= if is_kept {
                u64::try_from(part.read_to_end(&mut self.field)?).unwrap_or(u64::MAX)
            } else {
                io::copy(&mut part, &mut io::sink())?
            };
        }
        if left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The end of the line.
        let mut end = [0; 1];
        reader.read_exact(&mut end)
    }
}
