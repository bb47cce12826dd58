//! A log of an MTA, whatever is in it, through the readers of this part. For tests/fuzz.

use std::io::Cursor;

use jiff::Timestamp;

use super::{
    input::{Input, Next},
    log::Log,
};

/// How many entries it has.
#[must_use]
pub fn fuzz_log(bytes: &[u8]) -> usize {
    let (mut log, mut entries, latest) = (Log::default(), 0, Timestamp::UNIX_EPOCH);
    let Ok(mut input) = Input::read(Box::new(Cursor::new(bytes.to_vec())), latest) else { return 0 };
    loop {
        match input.next() {
            Ok(Next::Entry(entry)) => {
                entries += 1;
                let _ = log.hear(entry.program, entry.text);
            }
            Ok(Next::Strange) => {}
            Ok(Next::End) | Err(_) => return entries,
        }
    }
}
