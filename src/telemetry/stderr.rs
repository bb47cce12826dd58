//! Standard error that never holds anybody up: whoever reads the log may stop reading, mail must not stop with him.
//!
//! A line that would have to wait is dropped; how many were is told as soon as lines can be written again. One that is too
//! long for that is cut, of JSON its longest values.

use std::{
    borrow::Cow,
    io::{self, Write},
    os::fd::AsFd,
    sync::Mutex,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::visible::{Form, visible};

/// Writes each line at once, or drops it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stderr(pub(super) Form);

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut dropped = DROPPED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut stderr = io::stderr().lock();
        write_line(&mut stderr, line, self.0, &mut dropped);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_line(to: &mut (impl Write + AsFd), line: &[u8], form: Form, dropped: &mut u64) {
    if *dropped > 0 && is_ready(to) {
        let note = format!("{dropped} log lines were dropped: nobody read them");
        let note = match form {
            Form::Text { .. } => format!("{note}\n"),
            Form::Json => format!("{{\"level\":\"WARN\",\"message\":\"{note}\"}}\n"),
        };
        *dropped = 0;
        let _ = to.write_all(note.as_bytes());
    }
    if *dropped > 0 || !is_ready(to) {
        *dropped += 1;
        return;
    }
    // Who can't be told can't be told that either.
    let _ = to.write_all(&cut(visible(line, form), form));
}

/// At most [`LONGEST`] bytes and a line end.
fn cut(line: Cow<'_, [u8]>, form: Form) -> Cow<'_, [u8]> {
    if line.len() <= LONGEST + 1 {
        return line;
    }
    let shorter = (form == Form::Json).then(|| shorten(&line)).flatten();
    shorter.unwrap_or_else(|| [line.get(..LONGEST).unwrap_or_default(), b"\n"].concat()).into()
}

/// The same object with shorter texts; `None`: that is not enough.
fn shorten(line: &[u8]) -> Option<Vec<u8>> {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).ok()?;
    for most in [1000, 100] {
        for value in object.values_mut() {
            if let serde_json::Value::String(text) = value
                && text.chars().count() > most
            {
                *text = text.chars().take(most).chain(['…']).collect();
            }
        }
        let mut line = serde_json::to_vec(&object).ok()?;
        line.push(b'\n');
        let line = visible(&line, Form::Json);
        if line.len() <= LONGEST + 1 {
            return Some(line.into_owned());
        }
    }
    None
}

/// Whether [`LONGEST`] bytes and a line end can be written without waiting: poll(2) says so of a pipe that has room for
/// `PIPE_BUF` bytes, and of a socket that is mostly empty. A file is always ready.
fn is_ready(to: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    polled.is_ok_and(|ready| ready > 0)
        && fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT))
}

/// Bytes of a line; more are cut. With the line end it is `PIPE_BUF` of Linux.
const LONGEST: usize = 4095;

static DROPPED: Mutex<u64> = Mutex::new(0);

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// pipe(7): 64 KiB fit into a pipe, then write(2) waits.
    #[test]
    fn a_reader_that_stops_holds_nobody_up_and_is_told() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut dropped = 0;
        for _ in 0..1000 {
            write_line(&mut writer, &[b'x'; 8000], TEXT, &mut dropped);
        }
        assert!((900..1000).contains(&dropped), "{dropped}");
        let lost = dropped;
        let mut read = vec![0; 60_000];
        reader.read_exact(&mut read).unwrap();
        assert!(read.split(|byte| *byte == b'\n').all(|line| line.len() <= LONGEST));
        write_line(&mut writer, b"again\n", TEXT, &mut dropped);
        assert_eq!(dropped, 0);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(
            rest.ends_with(&format!("{lost} log lines were dropped: nobody read them\nagain\n")),
            "{rest}"
        );
    }

    #[test]
    fn nobody_there_is_no_error() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        write_line(&mut writer, b"line\n", TEXT, &mut 0);
    }

    /// What reads JSON gets no half of an object.
    #[test]
    fn a_long_object_stays_one() {
        for (message, error) in
            [("x", "y".repeat(5000)), ("x", "\u{202e}".repeat(5000)), ("x", "\"".repeat(3000))]
        {
            let line = serde_json::json!({"level": "WARN", "message": message, "n": 7, "error": error})
                .to_string()
                + "\n";
            let cut = cut(visible(line.as_bytes(), Form::Json), Form::Json);
            assert!(cut.len() <= LONGEST + 1 && cut.ends_with(b"\n"), "{} bytes", cut.len());
            let read: serde_json::Value = serde_json::from_slice(&cut).unwrap();
            assert_eq!((&read["level"], &read["n"]), (&"WARN".into(), &7.into()));
            let begin: String = error.chars().take(100).collect();
            assert!(read["error"].as_str().unwrap().starts_with(&begin));
        }
    }

    const TEXT: Form = Form::Text { ansi: false };
}
