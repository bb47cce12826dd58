//! Where refusals wait for the task that takes them in.
//!
//! Handing one over takes a lock that is free and copies some texts into a buffer: it never waits, and allocates only when the
//! buffer grows. There are several lanes, so that somebody who has one in hand drives nobody away. Failure: when all are
//! full, or somebody is at each of them just now, a refusal is not taken.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError, TryLockError},
};

use super::{
    Refusal, Rule, Whom,
    text::{push, push_address},
};

/// The lanes, filled from the first to the last.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: [Mutex<Batch>; LANES],
}

/// What became of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handed {
    /// It waits.
    Over,
    /// Likewise, and with it half of the queue is full: somebody should look.
    AtHalf,
    /// There was no room.
    Not,
}

/// Refusals in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Batch {
    waiting: Vec<Waiting>,
    /// The texts of all of them, one behind the other.
    texts: String,
}

/// A refusal in the form in which lists take it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted<'a> {
    pub(super) at: u64,
    pub(super) rule: Rule<&'a str>,
    pub(super) client: Option<IpAddr>,
    pub(super) sender: &'a str,
    pub(super) recipient: &'a str,
    pub(super) is_insider: bool,
    pub(super) is_good: bool,
}

#[derive(Debug)]
struct Waiting {
    at: u64,
    /// With the end of the domain in the texts.
    rule: Rule<usize>,
    client: Option<IpAddr>,
    /// The end of the sender, which begins where the domain ends.
    sender: usize,
    /// The end of the recipient, likewise.
    recipient: usize,
    is_insider: bool,
    is_good: bool,
}

impl Queue {
    /// Hands a refusal over. Never waits.
    pub(super) fn push(&self, refusal: &Refusal<'_>) -> Handed {
        for (number, lane) in self.lanes.iter().enumerate() {
            let mut batch = match lane.try_lock() {
                Ok(batch) => batch,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // Somebody else has it just now.
                Err(TryLockError::WouldBlock) => continue,
            };
            if batch.waiting.len() < LANE {
                batch.push(refusal);
                let is_first = batch.waiting.len() == 1;
                return if is_first && number == LANES / 2 { Handed::AtHalf } else { Handed::Over };
            }
        }
        Handed::Not
    }

    /// What waits in one of the lanes.
    pub(super) fn take(&self, lane: usize) -> Batch {
        let batch = self.lanes.get(lane).map(|lane| lane.lock().unwrap_or_else(PoisonError::into_inner));
        batch.map(|mut batch| std::mem::take(&mut *batch)).unwrap_or_default()
    }
}

impl Batch {
    pub(super) fn push(&mut self, refusal: &Refusal<'_>) {
        let Refusal { at, rule, client, sender, recipient, is_insider, is_good } = *refusal;
        let Self { waiting, texts } = self;
        texts.push_str(rule.domain);
        let rule = rule.of(texts.len());
        push(texts, sender);
        let sender = texts.len();
        match recipient {
            Whom::Address(address) => push_address(texts, address),
            Whom::Text(text) => push(texts, text),
        }
        waiting.push(Waiting { at, rule, client, sender, recipient: texts.len(), is_insider, is_good });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Noted<'_>> {
        let mut begin = 0;
        self.waiting.iter().map(
            move |&Waiting { at, rule, client, sender, recipient, is_insider, is_good }| {
                let text = |from, to| self.texts.get(from..to).unwrap_or_default();
                let domain = text(begin, rule.domain);
                let (sender, recipient, end) =
                    (text(rule.domain, sender), text(sender, recipient), recipient);
                begin = end;
                Noted { at, rule: rule.of(domain), client, sender, recipient, is_insider, is_good }
            },
        )
    }
}

/// More than there are likely to be threads that hand something over at the same time.
pub(super) const LANES: usize = 8;
/// Refusals in a lane.
const LANE: usize = super::QUEUE / LANES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{address::Address, policy::Reason};

    fn refusal<'a>(sender: &'a [u8], recipient: Whom<'a>) -> Refusal<'a> {
        let rule =
            Rule { reason: Reason::UnknownRecipient, domain: ".test", is_permanent: true, enforced: false };
        let client = Some(IpAddr::from([203, 0, 113, 9]));
        Refusal { at: 7, rule, client, sender, recipient, is_insider: true, is_good: false }
    }

    #[test]
    fn what_comes_out_is_what_went_in_bounded() {
        let [plain, quoted] = ["joe@a.test", r#""a b"@a.test"#].map(|text| Address::parse(text).unwrap());
        let (long, far) = ([b'x'; 300], Address::parse(format!("{}@a.test", "y".repeat(300))).unwrap());
        let given = [
            (&b"<s@b.test>"[..], Whom::Address(&plain), "<s@b.test>", "joe@a.test"),
            (b"", Whom::Address(&quoted), "", r#""a b"@a.test"#),
            (b"\xff", Whom::Text(b""), "\u{fffd}", ""),
            (b"<>", Whom::Text("<\u{e4}>".as_bytes()), "<>", "<\u{e4}>"),
        ];
        let mut batch = Batch::default();
        for (sender, recipient, ..) in given {
            batch.push(&refusal(sender, recipient));
        }
        batch.push(&refusal(&long, Whom::Address(&far)));
        let told: Vec<_> = batch.iter().collect();
        for (noted, (_, _, sender, recipient)) in told.iter().zip(given) {
            assert_eq!((noted.sender, noted.recipient, noted.rule.domain), (sender, recipient, ".test"));
            assert_eq!((noted.at, noted.client), (7, Some(IpAddr::from([203, 0, 113, 9]))));
            assert_eq!((noted.is_insider, noted.is_good, noted.rule.enforced), (true, false, false));
        }
        let last = told.last().unwrap();
        assert_eq!((told.len(), last.sender.len(), last.recipient.len()), (5, 259, 259));
        assert!(last.sender.ends_with("x\u{2026}") && last.recipient.ends_with("y\u{2026}"));
    }

    #[test]
    fn who_is_at_a_lane_drives_nobody_away() {
        let queue = Queue::default();
        let held = queue.lanes[0].lock().unwrap();
        assert_eq!(queue.push(&refusal(b"", Whom::Text(b"a"))), Handed::Over);
        drop(held);
        assert!(queue.take(0).is_empty());
        assert_eq!(queue.take(1).iter().map(|noted| noted.recipient.to_owned()).collect::<Vec<_>>(), ["a"]);
        let all: Vec<_> = queue.lanes.iter().map(|lane| lane.lock().unwrap()).collect();
        assert_eq!(queue.push(&refusal(b"", Whom::Text(b"a"))), Handed::Not);
        drop(all);
    }

    #[test]
    fn somebody_is_called_once_each_time_that_it_is_half_full() {
        let queue = Queue::default();
        for _ in 0..3 {
            let handed: Vec<_> =
                (0..super::super::QUEUE + 5).map(|_| queue.push(&refusal(b"", Whom::Text(b"a")))).collect();
            let count = |what| handed.iter().filter(|handed| **handed == what).count();
            assert_eq!((count(Handed::AtHalf), count(Handed::Not)), (1, 5));
            assert_eq!(handed[super::super::QUEUE / 2], Handed::AtHalf);
            assert_eq!(
                (0..LANES).map(|lane| queue.take(lane).iter().count()).sum::<usize>(),
                super::super::QUEUE
            );
        }
    }
}
