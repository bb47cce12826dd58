//! The messages under way, by their queue ids.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
};

use smallvec::SmallVec;

/// Where a message came from, as far as the log has told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The client of the SMTP session that it came by.
    pub(super) client: Option<IpAddr>,
    /// The name of that address, confirmed.
    pub(super) name: Option<Box<str>>,
    /// As behind `MAIL FROM:`, without brackets.
    pub(super) sender: Option<Box<str>>,
    /// The user who has authenticated.
    pub(super) user: Option<Box<str>>,
    /// It came by SMTP from elsewhere: Backstop would have been asked.
    pub(super) is_incoming: bool,
    /// Another message of this host carries on what becomes of it.
    pub(super) is_passed_on: bool,
    /// What was told of its recipients already, as hashes.
    pub(super) told: SmallVec<[u64; 2]>,
}

/// What became of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Delivered,
    Bounced,
}

impl Origin {
    /// Whether this is told of the recipient for the first time: an alias is delivered to many, and is one recipient.
    pub(super) fn is_news(&mut self, recipient: &str, fate: Fate) -> bool {
        let mut hasher = DefaultHasher::new();
        (recipient, fate).hash(&mut hasher);
        let hash = hasher.finish();
        let is_news = !self.told.contains(&hash);
        if is_news && self.told.len() < MOST_TOLD {
            self.told.push(hash);
        }
        is_news
    }
}

/// Those whose end was not seen, up to a number: the older half of what was not mentioned lately goes first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lately: HashMap<Box<str>, Origin>,
    before: HashMap<Box<str>, Origin>,
}

impl Queue {
    /// The message with this id.
    pub(super) fn get(&mut self, id: &str) -> Option<&mut Origin> {
        if !self.lately.contains_key(id) {
            let (id, origin) = self.before.remove_entry(id)?;
            self.insert(id, origin);
        }
        self.lately.get_mut(id)
    }

    /// A message that begins: an id may be used again.
    pub(super) fn begin(&mut self, id: &str) -> &mut Origin {
        self.before.remove(id);
        self.insert(id.into(), Origin::default());
        self.lately.entry(id.into()).or_default()
    }

    /// It has left the queue.
    pub(super) fn end(&mut self, id: &str) {
        if self.lately.remove(id).is_none() {
            self.before.remove(id);
        }
    }

    fn insert(&mut self, id: Box<str>, origin: Origin) {
        if self.lately.len() >= HALF {
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(id, origin);
    }
}

/// About 200 bytes each, and no more recipients of one are kept apart.
const HALF: usize = 100_000;
const MOST_TOLD: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mentioned_stays() {
        let mut queue = Queue::default();
        queue.begin("kept").is_incoming = true;
        queue.begin("lost").is_incoming = true;
        for number in 0..HALF + HALF / 2 {
            queue.begin(&number.to_string());
            assert!(queue.get("kept").is_some_and(|origin| origin.is_incoming), "{number}");
        }
        for number in 0..HALF * 2 {
            queue.begin(&format!("again {number}"));
        }
        assert_eq!(queue.get("lost"), None);
        assert!(queue.lately.len() + queue.before.len() <= 2 * HALF);
        queue.begin("done");
        queue.end("done");
        assert_eq!(queue.get("done"), None);
    }

    #[test]
    fn a_recipient_is_told_of_once() {
        let mut origin = Origin::default();
        assert!(origin.is_news("a@x", Fate::Delivered));
        assert!(!origin.is_news("a@x", Fate::Delivered));
        assert!(origin.is_news("a@x", Fate::Bounced));
        assert!(origin.is_news("b@x", Fate::Delivered));
    }
}
