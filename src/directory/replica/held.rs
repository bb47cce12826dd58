//! Whether a complete listing is believed. Pure.
//!
//! A listing that comes up short is seldom what became of the directory: a right that was taken away, an index that is
//! being rebuilt, a table that is being filled. What it would take away then stays, until somebody accepts that, or a
//! later listing says the same again. One that names nobody at all has to be accepted.

use std::time::{Duration, Instant};

use crate::files;

/// When a listing is believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// It may take away this share of the addresses.
    pub(super) max_shrink: f64,
    /// So long after the first that was held back another one may confirm it.
    pub(super) confirmed_after: Duration,
}

/// What a complete listing does to the addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Addresses before it ended, with what it added.
    pub(super) had: u64,
    /// Those that it takes away.
    pub(super) lost: u64,
    /// Those among them that the listing before did not take away already.
    pub(super) newly: u64,
}

/// What was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Addresses with those that are held back.
    pub(super) from: u64,
    /// Addresses without them.
    pub(super) to: u64,
    /// When the first such listing ended, or this process began.
    pub(super) since: Instant,
}

/// What to hold back; `None`: the listing is believed. `held` is what is held back already.
pub(super) fn judge(survey: Survey, held: Option<Held>, limits: Limits, now: Instant) -> Option<Held> {
    let Survey { had: from, lost, newly } = survey;
    let to = from.saturating_sub(lost);
    let since = held.map_or(now, |held| held.since);
    let answer = Some(Held { from, to, since });
    if to == 0 {
        return answer;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a number, rounded down"
    )]
    let most = ((from as f64 * limits.max_shrink) as u64).max(1);
    if lost <= most {
        return None;
    }
    let is_late = now.saturating_duration_since(since) >= limits.confirmed_after;
    if held.is_some() && newly <= most && is_late { None } else { answer }
}

impl Held {
    /// In the words that are used for files.
    pub(super) fn reason(self) -> files::Held {
        match self {
            Self { to: 0, .. } => files::Held::Empty,
            Self { from, to, .. } => files::Held::Shrunk { from, to },
        }
    }

    /// Without the time: no clock of the host is to be trusted across a restart, so that the wait begins anew.
    pub(super) fn encode(self) -> Vec<u8> {
        [self.from, self.to].into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// What was held back before the last start, from `now` on.
    pub(super) fn decode(bytes: &[u8], now: Instant) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let &[from, to] = numbers else { return None };
        let [from, to] = [from, to].map(u64::from_le_bytes);
        Some(Self { from, to, since: now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_what_is_held_back() {
        let limits = Limits { max_shrink: 0.1, confirmed_after: Duration::from_secs(300) };
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let before = |since| Some(Held { from: 100, to: 50, since: at(since) });
        // Had, lost, newly lost, what is held back, minutes; believed.
        for (had, lost, newly, held, now, believed) in [
            (0, 0, 0, None, 0, false),
            (1, 0, 0, None, 0, true),
            (1, 1, 1, None, 0, false),
            (2, 1, 1, None, 0, true),
            (3, 2, 2, None, 0, false),
            (100, 10, 10, None, 0, true),
            (100, 11, 11, None, 0, false),
            (100, 50, 0, before(0), 4, false),
            (100, 50, 0, before(0), 5, true),
            (100, 60, 10, before(0), 5, true),
            (100, 61, 11, before(0), 5, false),
            (100, 5, 5, before(0), 0, true),
            (100, 100, 0, before(0), 500, false),
            (100, 50, 0, before(10), 0, false),
        ] {
            let survey = Survey { had, lost, newly };
            let judged = judge(survey, held, limits, at(now));
            assert_eq!(judged.is_none(), believed, "{survey:?} {held:?} {now}");
            if let (Some(judged), Some(held)) = (judged, held) {
                assert_eq!(judged.since, held.since, "the first one counts");
            }
        }
        let none = Limits { max_shrink: 0.0, ..limits };
        assert_eq!(judge(Survey { had: 1000, lost: 1, newly: 1 }, None, none, start), None);
        assert!(judge(Survey { had: 1000, lost: 2, newly: 2 }, None, none, start).is_some());
        let all = Limits { max_shrink: 1.0, ..limits };
        assert_eq!(judge(Survey { had: 1000, lost: 999, newly: 999 }, None, all, start), None);
        assert!(judge(Survey { had: 1000, lost: 1000, newly: 1000 }, None, all, start).is_some());
    }

    #[test]
    fn it_reads_back_what_it_wrote() {
        let now = Instant::now();
        let held = Held { from: 1, to: u64::MAX, since: now };
        assert_eq!(Held::decode(&held.encode(), now), Some(held));
        let later = now + Duration::from_secs(3600);
        assert_eq!(
            Held::decode(&held.encode(), later),
            Some(Held { since: later, ..held }),
            "it begins anew"
        );
        for bytes in [&[][..], &[0; 15], &[0; 17], &[0; 24]] {
            assert_eq!(Held::decode(bytes, now), None);
        }
    }
}
