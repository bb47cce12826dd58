//! Lines of text, for people and `grep`: when, the level, what happened, and `key=value` fields.
//!
//! Under an attack there are many: the buffer is used again, the second is written once, and a value that can be read as it
//! is, is copied. All others are made visible, each by itself. Never fails: a value that can't tell what it is is cut there.

use std::{
    cell::RefCell,
    fmt,
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::{
    stderr::Stderr,
    visible::{Form, is_plain, visible},
};

/// Writes events to standard error.
#[derive(Debug)]
pub(super) struct Text {
    stderr: Stderr,
    /// For a terminal.
    has_colours: bool,
}

impl Text {
    pub(super) fn new() -> Self {
        let stderr = io::stderr();
        let has_colours = io::IsTerminal::is_terminal(&stderr)
            && anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
        Self { stderr: Stderr::new(Form::Text), has_colours }
    }
}

impl<S: Subscriber> Layer<S> for Text {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let write = |line: &mut Line| {
            line.tell(event, SystemTime::now(), self.has_colours);
            self.stderr.write_line(&line.text);
            line.text.shrink_to(KEPT);
        };
        let written = LINE.try_with(|line| line.try_borrow_mut().map(|mut line| write(&mut line)).is_ok());
        // A value that logs while it is shown has a line of its own, and so has the end of a thread.
        if written != Ok(true) {
            write(&mut Line::new());
        }
    }
}

/// A line, and what is known of the next one.
struct Line {
    text: Vec<u8>,
    /// Since 1970, of which `date` is.
    second: Option<u64>,
    date: String,
}

impl Line {
    const fn new() -> Self {
        Self { text: Vec::new(), second: None, date: String::new() }
    }

    fn tell(&mut self, event: &Event<'_>, now: SystemTime, has_colours: bool) {
        self.text.clear();
        let (dim, reset) = if has_colours { (DIM, RESET) } else { ("", "") };
        self.text.extend_from_slice(dim.as_bytes());
        self.time(now);
        self.text.extend_from_slice(reset.as_bytes());
        let (level, colour) = match *event.metadata().level() {
            Level::ERROR => (" ERROR", "\x1b[31m"),
            Level::WARN => ("  WARN", "\x1b[33m"),
            Level::INFO => ("  INFO", "\x1b[32m"),
            Level::DEBUG => (" DEBUG", "\x1b[34m"),
            Level::TRACE => (" TRACE", "\x1b[35m"),
        };
        if has_colours {
            let (blank, level) = level.split_at(1);
            for part in [blank, colour, level, reset] {
                self.text.extend_from_slice(part.as_bytes());
            }
        } else {
            self.text.extend_from_slice(level.as_bytes());
        }
        event.record(&mut Fields { text: &mut self.text, has_colours });
        self.text.push(b'\n');
    }

    /// As RFC 3339 has it, with microseconds; what was before 1970 was then.
    fn time(&mut self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        if self.second != Some(second) {
            let time = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
            self.date = time.unwrap_or(Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%S").to_string();
            self.second = Some(second);
        }
        self.text.extend_from_slice(self.date.as_bytes());
        let (mut digits, mut micros) = (*b".000000Z", since.subsec_micros());
        for digit in digits[1..7].iter_mut().rev() {
            // Below ten.
            *digit += (micros % 10) as u8;
            micros /= 10;
        }
        self.text.extend_from_slice(&digits);
    }
}

/// What comes behind the level.
struct Fields<'l> {
    text: &'l mut Vec<u8>,
    has_colours: bool,
}

impl Fields<'_> {
    /// A blank, the name and `=`; of the message the blank alone. Says whether it is that.
    fn name(&mut self, field: &Field) -> bool {
        let name = field.name();
        if name == MESSAGE {
            self.text.push(b' ');
            return true;
        }
        // As a keyword of Rust is written that is a name.
        let name = name.strip_prefix("r#").unwrap_or(name);
        if self.has_colours {
            for part in [" ", ITALIC, name, RESET, DIM, "=", RESET] {
                self.text.extend_from_slice(part.as_bytes());
            }
        } else {
            self.text.reserve(name.len() + 2);
            self.text.push(b' ');
            self.text.extend_from_slice(name.as_bytes());
            self.text.push(b'=');
        }
        false
    }

    /// Whatever is in it.
    fn value(&mut self, value: fmt::Arguments<'_>) {
        let begin = self.text.len();
        // Writing to a vector does not fail.
        let _ = self.text.write_fmt(value);
        let shown = self.text.get(begin..).unwrap_or_default();
        if !is_plain(shown) {
            let shown = visible(&String::from_utf8_lossy(shown), Form::Text).into_owned();
            self.text.truncate(begin);
            self.text.extend_from_slice(shown.as_bytes());
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.value(format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let is_message = self.name(field);
        match (is_message, is_simple(value.as_bytes())) {
            (true, true) => self.text.extend_from_slice(value.as_bytes()),
            (true, false) => self.value(format_args!("{value}")),
            (false, true) => {
                self.text.reserve(value.len() + 2);
                self.text.push(b'"');
                self.text.extend_from_slice(value.as_bytes());
                self.text.push(b'"');
            }
            (false, false) => self.value(format_args!("{value:?}")),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.text.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        let (mut digits, mut begin, mut rest) = ([b'0'; LONGEST_NUMBER], LONGEST_NUMBER, value);
        while begin > 0 && (rest > 0 || begin == LONGEST_NUMBER) {
            begin -= 1;
            // Below ten.
            digits[begin] += (rest % 10) as u8;
            rest /= 10;
        }
        self.text.extend_from_slice(&digits[begin..]);
    }
}

/// Whether a text stands between quotes, and in a message, as it is: printable ASCII without `"` and `\`. May deny it of one
/// that does, which costs time alone.
fn is_simple(text: &[u8]) -> bool {
    match text.last_chunk() {
        None => {
            let mut word = [b' '; WORD];
            word[..text.len()].copy_from_slice(text);
            is_simple_word(&word)
        }
        Some(last) => text.as_chunks().0.iter().all(is_simple_word) && is_simple_word(last),
    }
}

/// All bytes at a time: of one that is less than another, the difference has the highest bit.
fn is_simple_word(word: &[u8; WORD]) -> bool {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; WORD])
    }
    let word = u64::from_ne_bytes(*word);
    let less = |word: u64, than: u8| word.wrapping_sub(all(than)) & !word;
    let is = |byte: u8| less(word ^ all(byte), 1);
    let odd = word | less(word, b' ') | is(b'"') | is(b'\\') | is(0x7f);
    odd & all(0x80) == 0
}

thread_local! {
    static LINE: RefCell<Line> = const { RefCell::new(Line::new()) };
}

const WORD: usize = 8;
/// Digits of 2⁶⁴ − 1.
const LONGEST_NUMBER: usize = 20;
/// Bytes of the buffer that a thread keeps.
const KEPT: usize = 8192;
/// The field that `tracing` has without a name.
const MESSAGE: &str = "message";
/// ECMA-48 §8.3.117, SGR.
const DIM: &str = "\x1b[2m";
const ITALIC: &str = "\x1b[3m";
const RESET: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use proptest::prelude::*;
    use tracing::{debug, error, info, trace, warn};
    use tracing_subscriber::{fmt::time::FormatTime, layer::SubscriberExt};

    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        let mut line = Line::new();
        for (since, expected) in [
            (Duration::ZERO, "1970-01-01T00:00:00.000000Z"),
            (Duration::from_micros(1), "1970-01-01T00:00:00.000001Z"),
            (Duration::new(951_782_400, 999_999_999), "2000-02-29T00:00:00.999999Z"),
            (Duration::new(1_795_371_449, 105_454_321), "2026-11-22T18:17:29.105454Z"),
            (Duration::new(253_402_300_799, 0), "9999-12-30T22:00:00.000000Z"),
            (Duration::from_secs(0), "1970-01-01T00:00:00.000000Z"),
        ] {
            line.text.clear();
            line.time(UNIX_EPOCH + since);
            assert_eq!(str::from_utf8(&line.text), Ok(expected));
        }
        line.text.clear();
        line.time(UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(line.text, b"1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn a_refusal() {
        let refuse = || {
            info!(
                session = 1999_u64,
                stage = "rcpt",
                enforced = true,
                client = "198.18.0.1",
                recipient = "<a\"\u{202e}@example.test>",
                code = 550_u16,
                wait = None::<&str>,
                r#in = -1,
                "{}",
                "reject"
            );
        };
        let time = "2026-11-22T18:17:29.105454Z";
        assert_eq!(
            ours(false, refuse),
            format!(
                "{time}  INFO reject session=1999 stage=\"rcpt\" enforced=true client=\"198.18.0.1\" \
                 recipient=\"<a\\\"\\u{{202e}}@example.test>\" code=550 in=-1\n"
            )
        );
        let begin = format!("\u{1b}[2m{time}\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m a\\u{{1b}}[31m ");
        let name = |name: &str| format!("\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m");
        assert_eq!(
            ours(true, || error!(x = "y", n = 1, "a\u{1b}[31m")),
            format!("{begin}{}\"y\" {}1\n", name("x"), name("n"))
        );
    }

    /// As with a value that logs while it is shown.
    #[test]
    fn a_line_within_a_line_is_no_panic() {
        LINE.with(|line| {
            let held = line.borrow_mut();
            tracing::subscriber::with_default(tracing_subscriber::registry().with(Text::new()), || {
                warn!("a test writes this while another line is written");
            });
            drop(held);
        });
    }

    proptest! {
        /// The formatter of `tracing_subscriber`, made visible as a whole, is what this must be the same as.
        #[test]
        fn the_same_as_by_the_formatter_for_all(
            text in ANY, message in ANY, shown in ANY, number: u64, signed: i64, float: f64, flag: bool, level in 0..5,
        ) {
            let write = || match level {
                0 => error!(text, number, shown = %shown, "{message}"),
                1 => warn!(signed, text, flag, r#type = ?shown, none = None::<u64>, "{message}"),
                2 => info!(message, text, shown = shown.as_str(), wait = Some(text.as_str())),
                3 => debug!(float, text = &*text, small = number as u8),
                _ => trace!(%shown, wide = u128::from(number) << 64, list = ?[&text, &shown]),
            };
            prop_assert_eq!(ours(false, write), theirs(write));
        }
    }

    /// What this layer makes of an event.
    fn ours(has_colours: bool, write: impl FnOnce()) -> String {
        struct Kept(bool, Arc<Mutex<String>>);
        impl<S: Subscriber> Layer<S> for Kept {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                let mut line = Line::new();
                line.tell(event, now(), self.0);
                self.1.lock().unwrap().push_str(str::from_utf8(&line.text).unwrap());
            }
        }
        let kept = Arc::default();
        let layer = Kept(has_colours, Arc::clone(&kept));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), write);
        kept.lock().unwrap().clone()
    }

    fn theirs(write: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl Write for Kept {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(line)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        struct Fixed;
        impl FormatTime for Fixed {
            fn format_time(&self, to: &mut tracing_subscriber::fmt::format::Writer<'_>) -> fmt::Result {
                to.write_str("2026-11-22T18:17:29.105454Z")
            }
        }
        let kept = Kept::default();
        let written = kept.clone();
        let layer = tracing_subscriber::fmt::layer().with_target(false).with_ansi(false).with_timer(Fixed);
        let layer = layer.with_ansi_sanitization(false).with_writer(move || written.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), write);
        let line = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let line = line.strip_suffix('\n').expect("an event is a line");
        visible(line, Form::Text).into_owned() + "\n"
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::new(1_795_371_449, 105_454_321)
    }

    /// Mostly what can be read, and some of all that can't.
    const ANY: &str =
        "([ -~]{0,60}|[a\"\\\\\u{0}-\u{1f}\u{7f}-\u{9f}\u{ad}\u{301}\u{202a}-\u{202e}\u{feff}ü\\PC]{0,20})";
}
