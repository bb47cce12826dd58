//! Standard error that never holds anybody up: whoever reads the log may stop reading, mail must not stop with him.
//!
//! A line that would have to wait is dropped; how many were is told as soon as lines can be written again. One that is too
//! long for that is cut, of JSON its longest values. Each is written at once, by one system call where that is enough.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::fs::FileTypeExt},
    sync::Mutex,
};

use nix::{
    libc::{MSG_DONTWAIT, MSG_NOSIGNAL},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use socket2::SockRef;

use super::visible::{Form, visible};

/// Writes each line at once, or drops it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stderr {
    form: Form,
    way: Way,
}

/// How a line is written that must not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A file is always ready (poll(2)).
    File,
    /// One can be told not to wait (send(2)), as that of the journal.
    Socket,
    /// Pipes, terminals and others are asked before.
    Ask,
}

impl Stderr {
    /// What standard error is here and now.
    pub(super) fn new(form: Form) -> Self {
        Self { form, way: Way::of(&io::stderr()) }
    }

    /// A line that shows all that is in it, with its end.
    pub(super) fn write_line(self, line: &[u8]) {
        let mut dropped = DROPPED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        write_line(&mut io::stderr().lock(), self, line, &mut dropped);
    }
}

/// Takes lines as they come, each in one piece.
impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
        let mut shown = visible(&text, self.form).into_owned();
        shown.push('\n');
        self.write_line(shown.as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Way {
    fn of(to: &impl AsFd) -> Self {
        let metadata = to.as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
        match metadata.map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_file() => Self::File,
            Ok(kind) if kind.is_socket() => Self::Socket,
            _ => Self::Ask,
        }
    }
}

fn write_line(to: &mut (impl Write + AsFd), stderr: Stderr, line: &[u8], dropped: &mut u64) {
    if *dropped > 0 {
        let note = format!("{dropped} log lines were dropped: nobody read them");
        let note = match stderr.form {
            Form::Text => format!("{note}\n"),
            Form::Json => format!("{{\"level\":\"WARN\",\"message\":\"{note}\"}}\n"),
        };
        if !is_taken(to, stderr.way, note.as_bytes()) {
            *dropped += 1;
            return;
        }
        *dropped = 0;
    }
    if !is_taken(to, stderr.way, &cut(line.into(), stderr.form)) {
        *dropped += 1;
    }
}

/// `false`: it would have to wait. Who can't be told at all can't be told that either.
fn is_taken(to: &mut (impl Write + AsFd), way: Way, line: &[u8]) -> bool {
    let rest = match way {
        Way::File => line,
        Way::Ask if !is_ready(to) => return false,
        Way::Ask => line,
        // One of a stream takes a line of this length whole, or not at all, unless it is very short of room.
        Way::Socket => match SockRef::from(&*to).send_with_flags(line, MSG_DONTWAIT | MSG_NOSIGNAL) {
            Ok(sent) => line.get(sent..).unwrap_or_default(),
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        },
    };
    let _ = to.write_all(rest);
    true
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
        let mut line = visible(&serde_json::to_string(&object).ok()?, Form::Json).into_owned();
        line.push('\n');
        if line.len() <= LONGEST + 1 {
            return Some(line.into_bytes());
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
    use std::{io::Read, os::unix::net::UnixStream};

    use super::*;

    /// pipe(7): 64 KiB fit into a pipe, then write(2) waits.
    #[test]
    fn a_reader_that_stops_holds_nobody_up_and_is_told() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut dropped = 0;
        for _ in 0..1000 {
            write_line(&mut writer, TEXT, &[b'x'; 8000], &mut dropped);
        }
        assert!((900..1000).contains(&dropped), "{dropped}");
        let lost = dropped;
        let mut read = vec![0; 60_000];
        reader.read_exact(&mut read).unwrap();
        assert!(read.split(|byte| *byte == b'\n').all(|line| line.len() <= LONGEST));
        write_line(&mut writer, TEXT, b"again\n", &mut dropped);
        assert_eq!(dropped, 0);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(
            rest.ends_with(&format!("{lost} log lines were dropped: nobody read them\nagain\n")),
            "{rest}"
        );
    }

    /// unix(7): a stream's room is what its sender may have under way.
    #[test]
    fn a_socket_that_nobody_reads_takes_whole_lines() {
        let (mut reader, mut writer) = UnixStream::pair().unwrap();
        let stderr = Stderr { way: Way::of(&writer), ..TEXT };
        assert_eq!(stderr.way, Way::Socket);
        let (line, mut dropped, mut written) = ([&[b'x'; 1000][..], b"\n"].concat(), 0, 0);
        while dropped < 10 {
            write_line(&mut writer, stderr, &line, &mut dropped);
            written += 1;
            assert!(written < 100_000, "there is no end to it");
        }
        let mut read = vec![0; (written - 10) * line.len()];
        reader.read_exact(&mut read).unwrap();
        assert!(read.chunks(line.len()).all(|read| read == line));
        write_line(&mut writer, stderr, b"again\n", &mut dropped);
        assert_eq!(dropped, 0);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "10 log lines were dropped: nobody read them\nagain\n");
    }

    #[test]
    fn what_standard_error_may_be() {
        assert_eq!(Way::of(&tempfile::tempfile().unwrap()), Way::File);
        assert_eq!(Way::of(&io::pipe().unwrap().1), Way::Ask);
        assert_eq!(Way::of(&File::open("/dev/null").unwrap()), Way::Ask);
    }

    #[test]
    fn nobody_there_is_no_error() {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        drop(reader);
        let mut dropped = 0;
        write_line(&mut writer, Stderr { way: Way::Socket, ..TEXT }, b"line\n", &mut dropped);
        assert_eq!(dropped, 0);
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        write_line(&mut writer, TEXT, b"line\n", &mut 0);
    }

    /// What reads JSON gets no half of an object.
    #[test]
    fn a_long_object_stays_one() {
        for (message, error) in
            [("x", "y".repeat(5000)), ("x", "\u{202e}".repeat(5000)), ("x", "\"".repeat(3000))]
        {
            let line = serde_json::json!({"level": "WARN", "message": message, "n": 7, "error": error});
            let line = visible(&line.to_string(), Form::Json).into_owned() + "\n";
            let cut = cut(line.as_bytes().into(), Form::Json);
            assert!(cut.len() <= LONGEST + 1 && cut.ends_with(b"\n"), "{} bytes", cut.len());
            let read: serde_json::Value = serde_json::from_slice(&cut).unwrap();
            assert_eq!((&read["level"], &read["n"]), (&"WARN".into(), &7.into()));
            let begin: String = error.chars().take(100).collect();
            assert!(read["error"].as_str().unwrap().starts_with(&begin));
        }
    }

    const TEXT: Stderr = Stderr { form: Form::Text, way: Way::Ask };
}
