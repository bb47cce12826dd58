//! The export format of the journal (systemd, JOURNAL_EXPORT_FORMATS): `journalctl -o export`.
//!
//! An entry is a list of fields, `NAME=TEXT`, or `NAME`, a length of eight bytes and as many bytes; an empty line ends it.

use std::io::{self, BufRead, Read};

use jiff::Timestamp;

use super::input::{Entry, Next};

/// Reads entries into buffers that are used again for each.
pub(super) struct Journal<R> {
    reader: R,
    field: Vec<u8>,
    program: String,
    text: String,
}

impl<R: BufRead> Journal<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, field: Vec::new(), program: String::new(), text: String::new() }
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        self.program.clear();
        self.text.clear();
        let (mut at, mut any) = (None, false);
        loop {
            self.field.clear();
            let read = self.line()?;
            if self.field.is_empty() {
                match (any, read) {
                    (true, _) => break,
                    (false, false) => return Ok(Next::End),
                    (false, true) => continue,
                }
            }
            any = true;
            let equals = self.field.iter().position(|byte| *byte == b'=');
            let name = equals.unwrap_or(self.field.len());
            if equals.is_none() {
                self.binary()?;
            }
            let (name, value) = self.field.split_at(name);
            let value = String::from_utf8_lossy(value.get(1..).unwrap_or_default());
            match name {
                b"__REALTIME_TIMESTAMP" => {
                    at = value.parse().ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
                }
                b"SYSLOG_IDENTIFIER" => self.program.push_str(&value),
                b"MESSAGE" => self.text.push_str(&value),
                _ => {}
            }
        }
        Ok(match at {
            Some(at) => Next::Entry(Entry { at, program: &self.program, text: &self.text }),
            None => Next::Strange,
        })
    }

    /// Appends a line without its end to the field, and drops what is too long. Whether there was one.
    fn line(&mut self) -> io::Result<bool> {
        let mut any = false;
        loop {
            let chunk = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            any |= !chunk.is_empty();
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let line = &chunk[..end.unwrap_or(chunk.len())];
            let room = LONGEST.saturating_sub(self.field.len());
            self.field.extend_from_slice(&line[..line.len().min(room)]);
            let used = line.len() + usize::from(end.is_some());
            let is_over = end.is_some() || chunk.is_empty();
            self.reader.consume(used);
            if is_over {
                return Ok(any);
            }
        }
    }

    /// Appends a value that has its length before it, as if it stood behind a `=`.
    fn binary(&mut self) -> io::Result<()> {
        let mut length = [0; 8];
        self.reader.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        self.field.push(b'=');
        let kept = length.min(u64::try_from(LONGEST).unwrap_or(u64::MAX));
        let mut left = length;
        for (most, is_kept) in [(kept, true), (u64::MAX, false)] {
            let mut part = (&mut self.reader).take(left.min(most));
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
        self.reader.read_exact(&mut end)
    }
}

const LONGEST: usize = 64 * 1024;
