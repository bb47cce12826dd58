//! The last three hours by the minute.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::bucket::Counted;
use crate::policy::Reason;

/// What was decided within a minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Minute {
    /// Its beginning, in seconds since 1970.
    pub at: u64,
    /// So long the server has run in it; 0: nothing is known of it.
    pub seconds: u64,
    /// Let pass, with nothing against it.
    pub passed: u64,
    /// Refused for good.
    pub refused: u64,
    /// Refused for now.
    pub deferred: u64,
    /// Let pass because that was only watched: it would have been refused, or deferred.
    pub watched: u64,
    /// Recipients in local domains, whatever became of them.
    pub asked: u64,
    /// Of these: unknown ones, traps, and whom a blocked client asked for.
    pub invented: u64,
    /// Of the invented ones: let pass, because that was only watched.
    pub let_in: u64,
}

/// The minutes of which something is known, the oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Minutes(VecDeque<Minute>);

impl Minutes {
    pub(super) fn count(&mut self, now: u64, counted: &Counted) {
        let at = now - now % MINUTE;
        // A clock that was wrong for a while leaves nothing behind that has not come yet.
        self.0.retain(|minute| minute.at <= at && minute.at + MINUTES * MINUTE > at);
        if self.0.back().is_none_or(|last| last.at < at) {
            self.0.push_back(Minute { at, ..Minute::default() });
        }
        let Some(minute) = self.0.back_mut() else { return };
        minute.seconds = (minute.seconds + counted.seconds).min(MINUTE);
        for count in &counted.counts {
            let slot = match (&*count.verdict, count.enforced) {
                ("continue", _) => &mut minute.passed,
                (_, false) => &mut minute.watched,
                ("reject", true) => &mut minute.refused,
                (_, true) => &mut minute.deferred,
            };
            *slot = slot.saturating_add(count.times);
            let (is_asked, is_invented) = (is_asked(count.reason), is_invented(count.reason));
            for (slot, counts) in [
                (&mut minute.asked, is_asked),
                (&mut minute.invented, is_invented),
                (&mut minute.let_in, is_invented && !count.enforced),
            ] {
                *slot = slot.saturating_add(if counts { count.times } else { 0 });
            }
        }
    }

    /// What was read from a file, in order.
    pub(super) fn mend(&mut self, now: u64) {
        self.0.retain(|minute| minute.at % MINUTE == 0 && minute.at <= now);
        self.0.make_contiguous().sort_by_key(|minute| minute.at);
        let old = self.0.len().saturating_sub(MINUTES as usize);
        self.0.drain(..old);
    }

    /// All of the last three hours, also those of which nothing is known; the one under way is the last.
    pub(super) fn all(&self, now: u64) -> Vec<Minute> {
        let last = now - now % MINUTE;
        let mut known = self.0.iter().copied().peekable();
        let all = (0..MINUTES).rev().map(|back| {
            let at = last.saturating_sub(back * MINUTE);
            while known.next_if(|minute| minute.at < at).is_some() {}
            known.next_if(|minute| minute.at == at).unwrap_or(Minute { at, ..Minute::default() })
        });
        all.collect()
    }
}

/// As the alert BackstopReverseNdrAttack has it.
fn is_asked(reason: Reason) -> bool {
    use Reason::{DeniedClient, MtaRefused, NotLocal, Submission};
    !matches!(reason, DeniedClient | MtaRefused | NotLocal | Submission)
}

/// Likewise.
fn is_invented(reason: Reason) -> bool {
    matches!(reason, Reason::UnknownRecipient | Reason::SpamTrap | Reason::Harvest)
}

const MINUTE: u64 = 60;
const MINUTES: u64 = 180;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{history::Count, policy::Reason};

    fn counted(verdict: &str, enforced: bool, times: u64) -> Counted {
        let count = Count { reason: Reason::Ok, verdict: verdict.to_owned(), enforced, times };
        Counted { seconds: 1, counts: vec![count], ..Counted::default() }
    }

    #[test]
    fn each_kind_has_its_own_count() {
        let mut minutes = Minutes::default();
        for (verdict, enforced, times) in [
            ("continue", true, 1),
            ("reject", true, 2),
            ("defer", true, 4),
            ("reject", false, 8),
            ("defer", false, 16),
        ] {
            minutes.count(1_000_000_030, &counted(verdict, enforced, times));
        }
        let all = minutes.all(1_000_000_059);
        assert_eq!(all.len(), 180);
        let at = 1_000_000_020;
        let mut expected = Minute { at, seconds: 5, passed: 1, refused: 2, ..Minute::default() };
        (expected.deferred, expected.watched, expected.asked) = (4, 24, 31);
        assert_eq!((all[179], all[0].at), (expected, at - 179 * 60));
        assert!(all[..179].iter().all(|minute| minute.seconds == 0 && minute.passed == 0));
        assert!(all.is_sorted_by_key(|minute| minute.at));
    }

    /// The reasons are those of the alert in deploy/prometheus/backstop.rules.yml.
    #[test]
    fn invented_recipients_have_counts_of_their_own() {
        let mut minutes = Minutes::default();
        for reason in Reason::ALL {
            for (enforced, times) in [(true, 1), (false, 10)] {
                let count = Count { reason, verdict: "reject".to_owned(), enforced, times };
                minutes.count(60, &Counted { counts: vec![count], ..Counted::default() });
            }
        }
        let last = minutes.all(60)[179];
        let asked = (Reason::ALL.len() as u64 - 4) * 11;
        assert_eq!((last.asked, last.invented, last.let_in), (asked, 33, 30));
    }

    #[test]
    fn three_hours_are_kept_and_gaps_are_empty() {
        let mut minutes = Minutes::default();
        let begin = 1_000_000_020;
        for minute in (0..400).filter(|minute| minute % 2 == 0) {
            minutes.count(begin + minute * 60, &counted("continue", true, minute));
        }
        assert!(minutes.0.len() <= 180);
        let all = minutes.all(begin + 399 * 60);
        let passed: Vec<u64> = all.iter().map(|minute| minute.passed).collect();
        let expected: Vec<u64> = (220..400).map(|minute| if minute % 2 == 0 { minute } else { 0 }).collect();
        assert_eq!(passed, expected);
        assert!(minutes.all(begin + 4000 * 60).iter().all(|minute| minute.seconds == 0));
    }

    #[test]
    fn a_clock_that_is_set_back_and_a_file_out_of_order() {
        let mut minutes = Minutes::default();
        minutes.count(2_000_000_000, &counted("continue", true, 1));
        minutes.count(1_000_000_000, &counted("continue", true, 2));
        assert_eq!(minutes.0.len(), 1);
        assert_eq!(minutes.all(1_000_000_000)[179].passed, 2);
        let minute = |at| Minute { at, seconds: 60, ..Minute::default() };
        let mut read = Minutes([960, 61, 1200, 900, 6000].map(minute).into());
        read.mend(1300);
        assert_eq!(read.0.iter().map(|minute| minute.at).collect::<Vec<_>>(), [900, 960, 1200]);
        assert_eq!(Minutes::default().all(30).len(), 180);
    }
}
