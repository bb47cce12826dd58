//! A log of an MTA, whatever is in it, through the readers of this part. For tests/fuzz.

use std::io::{self, Cursor, Read};

use jiff::Timestamp;

use super::{
    input::{Input, Next},
    log::{Heard, Log},
};

/// Each entry, with what it was understood as.
///
/// # Panics
/// Where it matters how few bytes come at once (`piece`), or a lot of nonsense between the lines does, or a message or a
/// recipient is found that is not in its line.
#[must_use]
pub fn fuzz_log(bytes: &[u8], piece: usize) -> Vec<String> {
    let (whole, parts) = (read(bytes, usize::MAX), read(bytes, piece.max(1)));
    let is_compressed = bytes.starts_with(&[0x1f, 0x8b]);
    // One that is damaged may end where the damage is noticed.
    let same = if is_compressed { whole.len().min(parts.len()) } else { whole.len().max(parts.len()) };
    assert_eq!(parts.get(..same), whole.get(..same), "in pieces of {piece}");
    let is_text = !is_compressed && !bytes.starts_with(b"__CURSOR=");
    if is_text {
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        assert_eq!(
            read(&lines.join(&b"\nno line of a log\n"[..]), usize::MAX),
            whole,
            "with nonsense between"
        );
    }
    whole
}

fn read(bytes: &[u8], piece: usize) -> Vec<String> {
    let (mut log, mut entries, latest) = (Log::default(), Vec::new(), Timestamp::UNIX_EPOCH);
    let reader = Pieces { bytes: Cursor::new(bytes.to_vec()), piece };
    let Ok(mut input) = Input::read(Box::new(reader), latest) else { return entries };
    loop {
        match input.next() {
            Ok(Next::Entry(entry)) => {
                let heard = log.hear(entry.program, entry.text);
                if let Some(Heard::Found(found)) = &heard {
                    assert!(entry.text.starts_with(found.id), "{entry:?}: {found:?}");
                    assert!(!found.recipients.is_empty(), "{entry:?}: {found:?}");
                    for recipient in &found.recipients {
                        assert!(entry.text.contains(recipient), "{entry:?}: {found:?}");
                    }
                }
                entries.push(format!("{entry:?} {heard:?}"));
            }
            Ok(Next::Strange) => {}
            Ok(Next::End) | Err(_) => return entries,
        }
    }
}

/// At most so many bytes at once, as a pipe may give them.
struct Pieces {
    bytes: Cursor<Vec<u8>>,
    piece: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(self.piece);
        self.bytes.read(&mut buffer[..room])
    }
}
