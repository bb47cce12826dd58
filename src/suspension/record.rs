//! A suspension by command as it is kept: what, since when, until when, why, by whom.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    address::{Address, AddressError, Domain, DomainError},
    policy::is_reply_text,
};

/// What is suspended, in the form in which it is compared: `user@example.com`, or `@example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One recipient, with all of his sub-addresses.
    Address(Address),
    /// Everybody in a domain; not those in domains below it.
    Domain(Domain),
}

/// Not what can be suspended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// A word that may mean either.
    #[error("{0:?} is no address; write user@example.com, or @example.com for the whole domain")]
    Form(String),
    /// Something else is wrong with the address.
    #[error("{0:?} is no address: {1}")]
    Address(String, AddressError),
    /// The text after the `@` is no domain.
    #[error("{0:?} names no domain: {1}")]
    Domain(String, DomainError),
}

/// One suspension. Times are seconds since 1970 UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The [`Subject`]; the key in the store, and not in the value.
    #[serde(skip)]
    pub what: String,
    /// The beginning.
    pub since: u64,
    /// The end; `None`: until it is taken back.
    pub until: Option<u64>,
    /// Why, for those who list suspensions.
    pub reason: Option<String>,
    /// What the sender is told in place of the usual text; fit to be a reply.
    pub text: Option<String>,
    /// The user who said so.
    pub by: Option<String>,
}

impl Subject {
    /// Reads what a command names.
    ///
    /// # Errors
    /// [`SubjectError`]
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        if let Some(domain) = text.strip_prefix('@') {
            let domain = Domain::parse(domain).map_err(|error| SubjectError::Domain(text.to_owned(), error));
            return domain.map(Self::Domain);
        }
        if !text.contains('@') {
            return Err(SubjectError::Form(text.to_owned()));
        }
        let address = Address::parse(text).map_err(|error| SubjectError::Address(text.to_owned(), error));
        address.map(Self::Address)
    }

    /// The key in the store and in memory. A local part that begins with `@` is no domain: its key has a second `@`.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Address(address) => address.key_str().to_owned(),
            Self::Domain(domain) => format!("@{domain}"),
        }
    }
}

impl Record {
    /// Reads what another process may have written: whatever is not fit for use is left out.
    pub(super) fn read(what: String, value: &[u8]) -> Self {
        let mut record: Self = serde_json::from_slice(value).unwrap_or_default();
        record.what = what;
        record.text.take_if(|text| !is_reply_text(text));
        record.reason.take_if(|reason| reason.chars().count() > MOST_REASON);
        record.by.take_if(|by| by.chars().count() > MOST_REASON);
        record
    }

    /// Whether it applies.
    pub(super) fn is_in_force(&self, now: Duration) -> bool {
        self.until.is_none_or(|until| now.as_secs() < until)
    }
}

/// For who asks why a recipient is refused.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is suspended by command since {}", self.what, Time(self.since))?;
        if let Some(until) = self.until {
            write!(f, " until {}", Time(until))?;
        }
        if let Some(by) = &self.by {
            write!(f, ", by {by}")?;
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        Ok(())
    }
}

struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()) {
            Some(time) => time.fmt(f),
            None => f.write_str("a time that no calendar has"),
        }
    }
}

/// Characters.
pub(super) const MOST_REASON: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_in_the_form_in_which_they_compare() {
        for (text, key) in [
            ("Joe@Example.COM", Some("joe@example.com")),
            ("<joe@example.com>", Some("joe@example.com")),
            ("\"john doe\"@example.com", Some("john doe@example.com")),
            ("@Example.COM.", Some("@example.com")),
            ("@münchen.example", Some("@xn--mnchen-3ya.example")),
            ("joe@[192.0.2.1]", Some("joe@[192.0.2.1]")),
            ("joe", None),
            ("example.com", None),
            ("", None),
            ("@", None),
            ("joe@", None),
            ("joe smith@example.com", None),
            ("a\r\nb@example.com", None),
        ] {
            assert_eq!(Subject::parse(text).ok().map(|subject| subject.key()).as_deref(), key, "{text:?}");
        }
    }

    /// Another program may write into a shared store.
    #[test]
    fn what_is_not_fit_for_use_is_left_out() {
        let read = |value: &str| Record::read("joe@example.com".to_owned(), value.as_bytes());
        let plain = Record { what: "joe@example.com".to_owned(), ..Record::default() };
        for value in
            ["", "garbage", "[]", "{\"text\": \"a\\r\\n250 ok\"}", "{\"text\": \"\"}", "{\"since\": \"x\"}"]
        {
            assert_eq!(read(value), plain, "{value}");
        }
        assert_eq!(read(&format!("{{\"reason\": \"{}\"}}", "x".repeat(201))), plain);
        let full = Record {
            since: 1_800_000_000,
            until: Some(1_900_000_000),
            reason: Some("unpaid".to_owned()),
            text: Some("Ask the owner".to_owned()),
            by: Some("root".to_owned()),
            ..plain
        };
        assert_eq!(read(&serde_json::to_string(&full).unwrap()), full);
        assert_eq!(
            full.to_string(),
            "joe@example.com is suspended by command since 2027-01-15T08:00:00Z until 2030-03-17T17:46:40Z, by root: unpaid"
        );
    }

    #[test]
    fn a_suspension_ends() {
        let record = Record { until: Some(100), ..Record::default() };
        assert!(record.is_in_force(Duration::from_secs(99)));
        assert!(!record.is_in_force(Duration::from_secs(100)));
        assert!(Record::default().is_in_force(Duration::MAX));
    }
}
