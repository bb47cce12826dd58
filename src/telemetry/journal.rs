//! The journal of systemd, by its own protocol: each field by itself, and all of them in the message, as a person reads them.
//!
//! Never waits: a line that the journal does not take at once is dropped; how many were is told as soon as it takes lines
//! again. A value may hold whatever it likes: lengths are sent, not separators.

use std::{
    fmt::{self, Write},
    io,
    os::unix::net::UnixDatagram,
    sync::atomic::{AtomicU64, Ordering},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::visible::{Form, visible};

/// Writes events into the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    dropped: AtomicU64,
}

impl Journal {
    /// # Errors
    /// If there is no journal.
    pub(super) fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // Only to see whether it is there: one that is started anew has a new socket at the same place.
        UnixDatagram::unbound()?.connect(SOCKET)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, dropped: AtomicU64::new(0) })
    }

    fn write(&self, line: &[u8]) {
        let lost = self.dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let mut note = Line::new(Level::WARN);
            note.put(
                "MESSAGE",
                format!("{lost} log lines were dropped: the journal did not take them").as_bytes(),
            );
            if self.socket.send_to(&note.0, SOCKET).is_err() {
                self.dropped.fetch_add(lost + 1, Ordering::Relaxed);
                return;
            }
        }
        if self.socket.send_to(line, SOCKET).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields {
            line: Line::new(*event.metadata().level()),
            message: String::new(),
            rest: String::new(),
        };
        event.record(&mut fields);
        let Fields { mut line, message, rest } = fields;
        line.put("MESSAGE", format!("{message}{rest}").as_bytes());
        self.write(&line.0);
    }
}

/// An entry in the journal's native protocol.
struct Line(Vec<u8>);

impl Line {
    fn new(level: Level) -> Self {
        let mut line = Self(Vec::with_capacity(512));
        // syslog(3)
        let priority = match level {
            Level::ERROR => b"3",
            Level::WARN => b"4",
            Level::INFO => b"6",
            _ => b"7",
        };
        line.put("PRIORITY", priority);
        line.put("SYSLOG_IDENTIFIER", b"backstop");
        line
    }

    /// `NAME`, a line end, the length, the value, a line end: so it may hold line ends.
    fn put(&mut self, name: &str, value: &[u8]) {
        let value = String::from_utf8_lossy(value.get(..LONGEST).unwrap_or(value));
        let value = visible(&value, Form::Text);
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

struct Fields {
    line: Line,
    message: String,
    /// The other fields, as in a line of text.
    rest: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: &str, shown: fmt::Arguments<'_>) {
        // Letters, digits and underscores alone; ours are.
        let name = format!("BACKSTOP_{}", field.name().to_ascii_uppercase().replace('.', "_"));
        self.line.put(&name, value.as_bytes());
        // Writing to a string does not fail.
        let _ = write!(self.rest, " {}={shown}", field.name());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.add(field, &text, format_args!("{text}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, value, format_args!("{value:?}"));
        }
    }
}

const SOCKET: &str = "/run/systemd/journal/socket";
/// Bytes of a value; more are cut. All of them fit into what a datagram may hold.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// JOURNAL_NATIVE_PROTOCOL, "Data Format": a value with its length in 64 bits, little-endian.
    #[test]
    fn a_value_can_not_begin_another_field() {
        let mut line = Line(Vec::new());
        line.put("BACKSTOP_SENDER", b"a\nMESSAGE=x");
        assert_eq!(line.0, b"BACKSTOP_SENDER\n\x0c\0\0\0\0\0\0\0a\\nMESSAGE=x\n");
        line.0.clear();
        line.put("X", &[b'y'; 100_000]);
        assert_eq!(line.0.len(), 2 + 8 + LONGEST + 1);
    }
}
