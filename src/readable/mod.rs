//! Facts as people read them, on a terminal as on the status page: text made safe, times, durations.
//!
//! Never decides anything, and never fails: what can't be shown is shown by its number or as `never`.

mod ip;

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp, Zoned, fmt::friendly::SpanPrinter, tz::TimeZone};

pub use ip::Ip;

/// Text with control characters, line separators and marks of reading direction made visible.
#[must_use]
pub fn safe(text: &str) -> String {
    text.chars().map(|c| if misleads(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// `1h 30m`
#[must_use]
pub fn duration(seconds: u64) -> String {
    let duration = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    let days = duration.as_hours() / 24;
    if days == 0 {
        return PRINTER.duration_to_string(&duration);
    }
    match duration - SignedDuration::from_hours(days * 24) {
        SignedDuration::ZERO => format!("{days}d"),
        rest => format!("{days}d {}", PRINTER.duration_to_string(&rest)),
    }
}

/// Seconds since 1970, in this host's time zone: `2026-12-31T18:00:00+01:00`.
#[must_use]
pub fn moment(seconds: u64) -> String {
    zoned(seconds)
        .map_or("never".to_owned(), |time| time.timestamp().display_with_offset(time.offset()).to_string())
}

/// The same without the day and the zone: `18:00:00`.
#[must_use]
pub fn clock(seconds: u64) -> String {
    zoned(seconds).map_or("never".to_owned(), |time| time.strftime("%H:%M:%S").to_string())
}

/// Seconds since 1970, now.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn zoned(seconds: u64) -> Option<Zoned> {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(|time| time.to_zoned(TimeZone::system()))
}

/// Whether a character is none that a person sees, or does more than that (UAX #9 and others).
#[must_use]
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

const PRINTER: SpanPrinter = SpanPrinter::new();

#[cfg(test)]
mod tests {
    use super::*;

    /// UAX #9: a name must not turn the rest of the line around.
    #[test]
    fn nothing_steers_who_shows_it() {
        assert_eq!(
            safe("a\u{1b}[31m\n\u{202e}b\u{2028}\u{2066}"),
            "a\\u{1b}[31m\\n\\u{202e}b\\u{2028}\\u{2066}"
        );
        assert_eq!(safe("jos\u{e9} @ b\u{fc}cher"), "jos\u{e9} @ b\u{fc}cher");
    }

    #[test]
    fn times_are_shown() {
        for (seconds, shown) in [(1, "1s"), (5400, "1h 30m"), (172_800, "2d"), (90_000, "1d 1h")] {
            assert_eq!(duration(seconds), shown);
        }
        assert!(duration(u64::MAX).ends_with('s'), "no overflow");
        assert_eq!((moment(u64::MAX), clock(u64::MAX)), ("never".to_owned(), "never".to_owned()));
        assert_eq!(clock(1_700_000_000), moment(1_700_000_000)["2023-11-14T".len()..][..8]);
    }
}
