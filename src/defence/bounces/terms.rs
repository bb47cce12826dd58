//! What senders are remembered by. Who is looked up by other terms than he was noted by is not found, though he wrote. Pure.

use std::time::Duration;

use crate::address::Delimiters;

/// What was configured, and found of the MTA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// For how long.
    pub(super) remember: Duration,
    /// What begins a sub-address, which is left out: each character once, in order.
    delimiters: String,
    /// Nobody is known to write unseen, or under another name.
    pub(super) sees_all: bool,
}

impl Terms {
    pub(super) fn new(remember: Duration, delimiters: &Delimiters, sees_all: bool) -> Self {
        let mut characters: Vec<char> = delimiters.as_str().chars().collect();
        characters.sort_unstable();
        characters.dedup();
        Self { remember, delimiters: characters.into_iter().collect(), sees_all }
    }

    /// To be kept, for [`Terms::finds_what_was_kept_by`].
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        format!("{} {}", self.remember.as_secs(), self.delimiters).into_bytes()
    }

    /// Whether all who wrote within `remember`, and were kept by those terms, are found by these.
    pub(super) fn finds_what_was_kept_by(&self, kept: &[u8]) -> bool {
        let kept = str::from_utf8(kept).ok().and_then(|kept| kept.split_once(' '));
        kept.is_some_and(|(remember, delimiters)| {
            remember.parse().is_ok_and(|remember: u64| remember >= self.remember.as_secs())
                && delimiters == self.delimiters
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_kept_by_other_terms_is_not_found() {
        let terms = |days: u64, delimiters: &str| {
            Terms::new(Duration::from_secs(days * 24 * 60 * 60), &Delimiters::new(delimiters), true)
        };
        for (kept, now, expected) in [
            (terms(14, "+"), terms(14, "+"), true),
            (terms(14, "+"), terms(7, "+"), true),
            // Who wrote three weeks ago was forgotten.
            (terms(14, "+"), terms(30, "+"), false),
            // mary-ann@ is mary@ now, or was.
            (terms(14, "+"), terms(14, "+-"), false),
            (terms(14, "+-"), terms(14, "+"), false),
            (terms(14, "-+"), terms(14, "+-+"), true),
            (terms(14, ""), terms(14, ""), true),
            (terms(14, " "), terms(14, " "), true),
        ] {
            assert_eq!(now.finds_what_was_kept_by(&kept.to_bytes()), expected, "{kept:?} {now:?}");
        }
        for junk in [&b""[..], b"1209600", b"x +", b"\xff +"] {
            assert!(!terms(14, "+").finds_what_was_kept_by(junk), "{junk:?}");
        }
    }
}
