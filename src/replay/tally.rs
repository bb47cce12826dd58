//! What a replay comes to, in bounded memory.

use std::{cmp::Reverse, collections::HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::judge::Answer;

/// Recipients and how often each was told of.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rows: HashMap<Box<str>, Row>,
    recipients: Recipients,
}

/// Some of the recipients that were found, with their sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipients {
    /// How often, in all: a message for two recipients counts twice.
    pub times: u64,
    /// How many different recipients that were; about so many, if there were more than 100,000.
    pub recipients: u64,
    /// Those that were told of most often.
    pub top: Vec<Row>,
}

/// One recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// As the client wrote it.
    pub recipient: String,
    /// How often.
    pub times: u64,
    /// When last.
    pub last: Timestamp,
    /// What would be answered now; nothing where it would pass.
    pub reply: Option<String>,
    /// Why, from the closed list.
    pub reason: String,
    /// `false` in monitor mode: it would pass all the same.
    pub enforced: bool,
}

impl Tally {
    pub(super) fn count(&mut self, recipient: &str, at: Timestamp, answer: Answer) {
        self.recipients.times += 1;
        if let Some(row) = self.rows.get_mut(recipient) {
            row.times += 1;
            row.last = row.last.max(at);
            return;
        }
        self.recipients.recipients += 1;
        if self.rows.len() >= MOST {
            self.forget();
        }
        let Answer { reason, reply, enforced, .. } = answer;
        let (reason, recipient) = (reason.as_str().to_owned(), recipient.to_owned());
        let row = Row { recipient, times: 1, last: at, reply, reason, enforced };
        self.rows.insert(row.recipient.as_str().into(), row);
    }

    /// The `most` that were told of most often; of those that were equally often, the last.
    pub(super) fn finish(self, most: usize) -> Recipients {
        let mut top: Vec<Row> = self.rows.into_values().collect();
        top.sort_by(|a, b| {
            let key = |row: &Row| (Reverse(row.times), Reverse(row.last));
            key(a).cmp(&key(b)).then_with(|| a.recipient.cmp(&b.recipient))
        });
        top.truncate(most);
        Recipients { top, ..self.recipients }
    }

    /// Half of them goes: those that were told of least, and longest ago. One that comes again counts as new.
    fn forget(&mut self) {
        let key = |row: &Row| (row.times, row.last);
        let mut keys: Vec<_> = self.rows.values().map(key).collect();
        let median = *keys.select_nth_unstable(MOST / 2).1;
        self.rows.retain(|_, row| key(row) > median);
    }
}

/// About 300 bytes each.
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Reason, Verdict};

    fn answer() -> Answer {
        let reply = Some("550 5.1.1 No such user here".to_owned());
        Answer { verdict: Verdict::Reject, reason: Reason::UnknownRecipient, reply, enforced: true }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_most_frequent_come_first() {
        let mut tally = Tally::default();
        for (recipient, second) in [("a@x", 9), ("b@x", 1), ("b@x", 5), ("b@x", 3), ("c@x", 10), ("d@x", 10)]
        {
            tally.count(recipient, at(second), answer());
        }
        let found = tally.finish(3);
        let top: Vec<_> = found.top.iter().map(|row| (&*row.recipient, row.times, row.last)).collect();
        assert_eq!(top, [("b@x", 3, at(5)), ("c@x", 1, at(10)), ("d@x", 1, at(10))]);
        assert_eq!((found.times, found.recipients), (6, 4));
    }

    #[test]
    fn a_flood_of_others_does_not_hide_them() {
        let mut tally = Tally::default();
        for number in 0..3 * MOST {
            tally.count(&format!("{number}@x"), at(1), answer());
            if number % 100 == 0 {
                tally.count("often@x", at(2), answer());
            }
            assert!(tally.rows.len() <= MOST);
        }
        let found = tally.finish(1);
        assert_eq!((&*found.top[0].recipient, found.top[0].times), ("often@x", 3 * MOST as u64 / 100));
    }
}
