//! What is known of how far a server's answers can be believed, by server and domain: a yes counts where it refuses a random
//! recipient, which is found out again every minute, when it is needed. That it takes the control recipient is remembered for
//! telling a server that is silent, never for believing it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use moka::sync::Cache;

use super::servers::Place;
use crate::{
    address::{Address, Domain, LocalPart},
    telemetry::log::line,
};

/// What was found out, for a while.
#[derive(Debug)]
pub(super) struct Vouch {
    /// The directory's name, for the log.
    directory: Arc<str>,
    /// What it made of a random recipient.
    randoms: Cache<Key, Random>,
    /// It took the control recipient not long ago.
    controls: Cache<Key, ()>,
    /// Whom it took last, and another one before.
    taken: Cache<Key, Taken>,
    /// What an admin should know.
    notices: Cache<Key, Notice>,
}

/// One server, as it answers for one domain.
pub(super) type Key = (Place, Domain);

/// What a server makes of a random recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Random {
    Refused,
    Taken,
    /// It puts him off, hangs up or does not answer in time.
    Undecided,
}

/// Recipients that a server took.
#[derive(Debug, Clone)]
struct Taken {
    last: Address,
    before: Option<Address>,
}

impl Taken {
    fn other_than(&self, recipient: &Address) -> Option<&Address> {
        if self.last == *recipient { self.before.as_ref() } else { Some(&self.last) }
    }
}

#[derive(Debug, Clone)]
enum Notice {
    /// Or may well do so.
    TakesAll(Arc<str>),
    RefusesControl(Arc<str>),
}

impl Vouch {
    pub(super) fn new(directory: &str) -> Self {
        Self {
            directory: directory.into(),
            randoms: cache(RANDOM),
            controls: cache(NOTICE),
            taken: cache(TAKEN),
            notices: cache(NOTICE),
        }
    }

    /// What it made of a random recipient when it was last asked; `None`: that was too long ago.
    pub(super) fn recall(&self, key: &Key) -> Option<Random> {
        self.randoms.get(key)
    }

    /// It took a recipient, where it refuses a random one.
    pub(super) fn took(&self, key: &Key, recipient: &Address) {
        let taken = self.taken.get(key);
        let before = taken.and_then(|taken| taken.other_than(recipient).cloned());
        self.taken.insert(key.clone(), Taken { last: recipient.clone(), before });
    }

    /// Who has to be taken beside the control recipient before a refusal of this one counts: whom it took last, of others. A
    /// server that refuses everybody to a client that asked for too many unknown recipients may still take postmaster
    /// (RFC 5321 §4.5.1). Where it took nobody but him, it is he himself.
    pub(super) fn witness(&self, key: &Key, of: &Address) -> Option<Address> {
        let taken = self.taken.get(key)?;
        Some(taken.other_than(of).unwrap_or(&taken.last).clone())
    }

    /// It took the control recipient.
    pub(super) fn control_taken(&self, key: &Key) {
        self.controls.insert(key.clone(), ());
        if let Some(Notice::RefusesControl(text)) = self.notices.get(key) {
            self.notices.invalidate(key);
            tracing::info!(directory = %self.directory, was = %line(&text), "the control recipient is taken again");
        }
    }

    /// Whether it took the control recipient when it was last asked, not long ago.
    pub(super) fn has_taken_control(&self, key: &Key) -> bool {
        self.controls.contains_key(key)
    }

    /// It refused the control recipient for good; `text`: who whom.
    pub(super) fn control_refused(&self, key: &Key, text: &str) {
        self.controls.invalidate(key);
        // The log line is that of the failure.
        self.notices.insert(key.clone(), Notice::RefusesControl(text.into()));
    }

    /// What it made of a random recipient.
    pub(super) fn random(&self, key: &Key, server: &str, random: Random) {
        self.randoms.insert(key.clone(), random);
        let noticed = matches!(self.notices.get(key), Some(Notice::TakesAll(_)));
        let domain = &key.1;
        let text = match random {
            Random::Taken => {
                format!("{server} takes any recipient in {domain}, so it can't tell who exists there")
            }
            Random::Undecided => format!(
                "{server} neither takes nor refuses a random recipient in {domain} in time, so its yes says nothing"
            ),
            Random::Refused => {
                if noticed {
                    self.notices.invalidate(key);
                    tracing::info!(
                        directory = %self.directory, server, %domain,
                        "the server refuses unknown recipients again"
                    );
                }
                return;
            }
        };
        self.notices.insert(key.clone(), Notice::TakesAll(text.into()));
        match random {
            _ if noticed => {}
            Random::Taken => tracing::warn!(
                directory = %self.directory, server, %domain,
                "the server takes any recipient: nobody can be refused by what it says"
            ),
            _ => tracing::warn!(
                directory = %self.directory, server, %domain,
                "the server does not refuse a random recipient in time: its yes says nothing (does it greylist, or delay refusals?)"
            ),
        }
    }

    /// Whether no server refuses its control recipient.
    pub(super) fn is_well(&self) -> bool {
        !self.notices.iter().any(|(_, notice)| matches!(notice, Notice::RefusesControl(_)))
    }

    /// What an admin should know; the refusals are the directory's trouble, which is told elsewhere.
    pub(super) fn notices(&self) -> Vec<String> {
        let text = |notice| match notice {
            Notice::TakesAll(text) => Some(text.to_string()),
            Notice::RefusesControl(_) => None,
        };
        let mut notices: Vec<String> = self.notices.iter().filter_map(|(_, notice)| text(notice)).collect();
        notices.sort();
        notices.truncate(SHOWN);
        notices
    }
}

/// A recipient whom nobody has. Letters and digits only: what a delimiter would separate could be somebody.
pub(super) fn invented(domain: &Domain) -> Address {
    let random = RandomState::new().hash_one(domain);
    let local =
        LocalPart::new(&format!("backstop{random:016x}")).expect("letters and digits are a local part");
    local.complete(domain)
}

fn cache<T: Clone + Send + Sync + 'static>(time: Duration) -> Cache<Key, T> {
    Cache::builder().max_capacity(MOST).time_to_live(time).build()
}

/// So long it is not asked for a random recipient again.
const RANDOM: Duration = Duration::from_secs(60);
/// So long after it was last found out a notice stands, and a server is expected to answer for the control recipient.
const NOTICE: Duration = Duration::from_secs(60 * 60);
/// So long is a witness who was taken, unless somebody else was since.
const TAKEN: Duration = Duration::from_secs(24 * 60 * 60);
/// Of each, at most.
const MOST: u64 = 10_000;
/// Notices, at most.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_recipients_differ_and_have_no_part_that_could_be_somebody() {
        let domain = Domain::parse("x.test").unwrap();
        let (one, two) = (invented(&domain), invented(&domain));
        assert_ne!(one, two);
        assert!(one.local().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(one.local().len(), "backstop".len() + 16);
        assert_eq!(one.domain(), &domain);
    }

    #[test]
    fn notices_begin_and_end() {
        let vouch = Vouch::new("x");
        let key = (Place::Unix("/run/x".into()), Domain::parse("x.test").unwrap());
        assert_eq!(vouch.recall(&key), None);
        for (random, notice) in [
            (Random::Taken, "mail takes any recipient in x.test"),
            (Random::Undecided, "mail neither takes nor refuses a random recipient in x.test"),
        ] {
            vouch.random(&key, "mail", random);
            assert_eq!(vouch.recall(&key), Some(random));
            assert!(vouch.notices()[0].contains(notice));
        }
        vouch.random(&key, "mail", Random::Refused);
        assert_eq!((vouch.recall(&key), vouch.notices().len()), (Some(Random::Refused), 0));
        assert!(vouch.is_well());
        vouch.control_refused(&key, "no postmaster");
        assert!(!vouch.is_well() && vouch.notices().is_empty());
        assert!(!vouch.has_taken_control(&key));
        vouch.control_taken(&key);
        assert!(vouch.is_well() && vouch.has_taken_control(&key));
        vouch.control_refused(&key, "no postmaster");
        assert!(!vouch.has_taken_control(&key));
    }
}
