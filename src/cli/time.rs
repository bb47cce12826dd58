//! Times as people write and read them.

use std::time::Duration;

use jiff::{
    Span, SpanRelativeTo, Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

pub(super) use crate::readable::{duration as show_duration, moment as show_moment};

/// A duration: `90s`, `30m`, `1h 30m`, `2d`, `1w`. A day has 24 hours.
pub(super) fn duration(text: &str) -> Result<Duration, WrongTime> {
    let span: Span = text.parse().map_err(|_| WrongTime::Duration)?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| WrongTime::Duration)?;
    let duration = Duration::try_from(duration).map_err(|_| WrongTime::Duration)?;
    if duration < Duration::from_secs(1) { Err(WrongTime::Short) } else { Ok(duration) }
}

/// A moment, as seconds since 1970 UTC: `2026-12-31`, `2026-12-31 18:00` in this host's time zone, or `2026-12-31T18:00Z`.
pub(super) fn moment(text: &str) -> Result<u64, WrongTime> {
    moment_in(text, TimeZone::system())
}

/// Not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WrongTime {
    #[error("a duration is written like 90s, 30m, 1h 30m or 2d")]
    Duration,
    #[error("a second is the least")]
    Short,
    #[error("a time is written like 2026-12-31, \"2026-12-31 18:00\" or 2026-12-31T18:00Z")]
    Moment,
}

fn moment_in(text: &str, zone: TimeZone) -> Result<u64, WrongTime> {
    let instant = text.parse::<Timestamp>().ok();
    let civil = || {
        // A date may be read as a time as well: midnight, when it begins.
        let time = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(Into::into)).ok()?;
        time.to_zoned(zone).ok().map(|zoned| zoned.timestamp())
    };
    let time = instant.or_else(civil).ok_or(WrongTime::Moment)?;
    u64::try_from(time.as_second()).map_err(|_| WrongTime::Moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, seconds, shown) in [
            ("1s", 1, "1s"),
            ("90s", 90, "1m 30s"),
            ("30m", 1800, "30m"),
            ("1h", 3600, "1h"),
            ("1h 30m", 5400, "1h 30m"),
            ("1h30m", 5400, "1h 30m"),
            ("2d", 172_800, "2d"),
            ("1w", 604_800, "7d"),
            ("1d 1h", 90_000, "1d 1h"),
            ("PT30M", 1800, "30m"),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(show_duration(seconds), shown, "{text}");
        }
        for text in ["", "30", "m", "-30m", "30m ago", "1 month", "1y", "forever", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("0s"), Err(WrongTime::Short));
    }

    #[test]
    fn moments_are_read() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        for (text, seconds) in [
            ("1970-01-02T00:00:00Z", 86_400),
            ("1970-01-02T00:00Z", 86_400),
            ("1970-01-02T02:00+02:00", 86_400),
            ("1970-01-02", 86_400 - 7200),
            ("1970-01-02 12:00", 86_400 + 36_000),
            ("1970-01-02T12:00:30", 86_400 + 36_030),
        ] {
            assert_eq!(moment_in(text, zone.clone()), Ok(seconds), "{text}");
        }
        for text in ["", "tomorrow", "2026", "2026-13-01", "1969-01-01", "12:00", "30m"] {
            assert_eq!(moment_in(text, zone.clone()), Err(WrongTime::Moment), "{text}");
        }
    }
}
