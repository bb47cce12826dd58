//! Standard error that never holds anybody up: whoever reads the log may stop reading, mail must not stop with him.
//!
//! A line that would have to wait is dropped; how many were is told as soon as lines can be written again.

use std::{
    io::{self, Write},
    os::fd::AsFd,
    sync::Mutex,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Writes each line at once, or drops it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut dropped = DROPPED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut stderr = io::stderr().lock();
        write_line(&mut stderr, line, &mut dropped);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_line(to: &mut (impl Write + AsFd), line: &[u8], dropped: &mut u64) {
    if *dropped > 0 && is_ready(to) {
        let note = format!("{dropped} log lines were dropped: nobody read them\n");
        *dropped = 0;
        let _ = to.write_all(note.as_bytes());
    }
    if *dropped > 0 || !is_ready(to) {
        *dropped += 1;
        return;
    }
    // Who can't be told can't be told that either.
    let _ = match line.split_at_checked(LONGEST) {
        Some((start, rest)) if !rest.is_empty() => to.write_all(&[start, b"\n"].concat()),
        _ => to.write_all(line),
    };
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
            write_line(&mut writer, &[b'x'; 8000], &mut dropped);
        }
        assert!((900..1000).contains(&dropped), "{dropped}");
        let lost = dropped;
        let mut read = vec![0; 60_000];
        reader.read_exact(&mut read).unwrap();
        assert!(read.split(|byte| *byte == b'\n').all(|line| line.len() <= LONGEST));
        write_line(&mut writer, b"again\n", &mut dropped);
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
        write_line(&mut writer, b"line\n", &mut 0);
    }
}
