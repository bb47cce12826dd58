//! The time at the start of a log line: RFC 3339, or the traditional one without a year (RFC 3164 §4.1.2).

use std::time::Duration;

use jiff::{Timestamp, civil, tz::TimeZone};

/// Reads stamps of the lines of one file.
#[derive(Debug)]
pub(super) struct Stamps {
    zone: TimeZone,
    /// Nothing in the file is younger: the end of its last change, or now.
    latest: Timestamp,
    /// Lines of the same second come in a row.
    last: Option<(Box<[u8]>, Timestamp)>,
}

impl Stamps {
    pub(super) fn new(zone: TimeZone, latest: Timestamp) -> Self {
        Self { zone, latest, last: None }
    }

    /// The time, and what follows it behind a blank. `None`: the line does not begin with one.
    pub(super) fn split<'l>(&mut self, line: &'l str) -> Option<(Timestamp, &'l str)> {
        let text = match line.as_bytes().first()? {
            b'0'..=b'9' => line.split_once(' ')?.0,
            _ => line.get(..TRADITIONAL)?,
        };
        let rest = line.get(text.len()..)?.strip_prefix(' ')?;
        if let Some((last, at)) = &self.last
            && **last == *text.as_bytes()
        {
            return Some((*at, rest));
        }
        let at = match text.as_bytes().first()? {
            b'0'..=b'9' => text.parse().ok()?,
            _ => self.traditional(text)?,
        };
        self.last = Some((text.as_bytes().into(), at));
        Some((at, rest))
    }

    /// `Nov 22 07:27:57`, `Nov  2 07:27:57`: the latest such time that is not ahead.
    fn traditional(&self, text: &str) -> Option<Timestamp> {
        let (month, rest) = text.split_at_checked(3)?;
        let month = MONTHS.iter().position(|name| *name == month)? + 1;
        let day = rest.get(1..3)?.trim_start().parse().ok()?;
        let mut clock = rest.get(4..)?.split(':').map(str::parse::<i8>);
        let mut number = || clock.next()?.ok();
        let (hour, minute, second) = (number()?, number()?, number()?);
        let latest = self.latest + SKEW;
        let year = latest.to_zoned(self.zone.clone()).year();
        // 29 February is in one year of four, or of eight.
        (year - 8..=year).rev().find_map(|year| {
            let at =
                civil::DateTime::new(year, i8::try_from(month).ok()?, day, hour, minute, second, 0).ok()?;
            let at = self.zone.to_ambiguous_timestamp(at).compatible().ok()?;
            (at <= latest).then_some(at)
        })
    }
}

/// `Nov 22 07:27:57`
const TRADITIONAL: usize = 15;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The clock of the host that wrote may be ahead of ours, and its zone another.
const SKEW: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_read() {
        let berlin = TimeZone::get("Europe/Berlin").expect("it is known");
        let latest: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let mut stamps = Stamps::new(berlin, latest);
        for (line, expected) in [
            ("2026-02-28T07:27:57.123456+01:00 mx a: b", Some(("2026-02-28T06:27:57.123456Z", "mx a: b"))),
            ("2026-02-28T07:27:57Z mx", Some(("2026-02-28T07:27:57Z", "mx"))),
            ("Feb 28 07:27:57 mx a: b", Some(("2026-02-28T06:27:57Z", "mx a: b"))),
            ("Feb 28 07:27:57 mx a: c", Some(("2026-02-28T06:27:57Z", "mx a: c"))),
            ("Mar  1 13:00:00 mx", Some(("2026-03-01T12:00:00Z", "mx"))),
            // a clock that is ahead by hours, and last year
            ("Mar  2 12:00:00 mx", Some(("2026-03-02T11:00:00Z", "mx"))),
            ("Mar  3 12:00:00 mx", Some(("2025-03-03T11:00:00Z", "mx"))),
            ("Dec 31 23:59:59 mx", Some(("2025-12-31T22:59:59Z", "mx"))),
            ("Feb 29 00:00:00 mx", Some(("2024-02-28T23:00:00Z", "mx"))),
            // the hour that summer time leaves out
            ("Mar 30 02:30:00 mx", Some(("2025-03-30T01:30:00Z", "mx"))),
            ("Mär  1 13:00:00 mx", None),
            ("Feb 30 00:00:00 mx", None),
            ("Feb 28 24:00:00 mx", None),
            ("Feb 28 07:27:57", None),
            ("2026-02-28 07:27:57 mx", None),
            ("2026-02-28T07:27:57Z", None),
            ("", None),
            ("x", None),
        ] {
            let found = stamps.split(line).map(|(at, rest)| (at.to_string(), rest));
            let expected = expected.map(|(at, rest): (&str, _)| (at.to_owned(), rest));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_year_is_the_latest_possible() {
        let mut stamps = Stamps::new(TimeZone::UTC, "2026-01-01T00:30:00Z".parse().unwrap());
        let (at, _) = stamps.split("Dec 31 23:50:00 mx x").unwrap();
        assert_eq!(at.to_string(), "2025-12-31T23:50:00Z");
    }
}
