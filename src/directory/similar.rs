//! What an admin may want to know of an unknown recipient: who is spelt almost like it. And the name of its domain in the
//! configuration.
//!
//! Only lists that are in memory are searched, and nothing that is found goes to a client. Failure: nothing is found.

use fst::Automaton;

use super::{Detected, Directories, Source, index::stored};
use crate::address::{Address, Domain};

impl Directories {
    /// The name or pattern under which the domain is local; as many as there are in configuration and detection. `None`: it
    /// is not. A pattern is the end of the domain, from the dot on.
    pub fn listed_as<'d>(&self, domain: &'d Domain) -> Option<&'d str> {
        let files = self.files.as_ref().map(|files| files.current());
        let files = files.as_ref().and_then(|files| files.as_deref());
        let of_directories = self.configured.iter().filter_map(|configured| configured.domains.as_ref());
        let sets =
            [Some(&self.names), files, Some(&self.catch_all)].into_iter().flatten().chain(of_directories);
        let name = domain.as_str();
        let mut above: Option<usize> = None;
        for set in sets {
            if set.names(domain) {
                return Some(name);
            }
            above = above.or_else(|| set.above(domain).map(|above| above.as_str().len()));
        }
        let detected: &Detected = &self.detected.load();
        if detected.domains.contains_key(domain) {
            return Some(name);
        }
        let below = || domain.ancestors().find(|above| detected.below.contains_key(*above)).map(str::len);
        let above = above.or_else(below)?;
        name.get(name.len().checked_sub(above + 1)?..)
    }

    /// Recipients whose local part is one or two letters from this one's, the nearest first, at most `most`.
    pub fn similar(&self, address: &Address, most: usize) -> Vec<String> {
        let domain = address.domain();
        let detected = self.detected.load();
        let configured = self.in_charge(domain, self.lists(domain)).map(|directory| &directory.source);
        let found = detected.get(domain).into_iter().flat_map(|found| found.directories.iter());
        let near = Near::new(address);
        let mut all = Vec::new();
        for source in configured.chain(found.map(|directory| &directory.source)) {
            let mut take = |key: &[u8]| {
                if let Some(distance) = near.distance(key)
                    && let Some(at) = key.iter().rposition(|&byte| byte == b'@')
                    && let Ok(local) = std::str::from_utf8(&key[..at])
                {
                    all.push((distance, format!("{local}@{domain}")));
                }
                all.len() < MOST_LOOKED_AT
            };
            match source {
                Source::List(list) => {
                    if let Some(index) = &*list.current() {
                        index.search(&near, &mut take);
                    }
                }
                Source::Listed(index, _) => index.search(&near, &mut take),
                Source::Replica(replica) => replica.search(&near, &mut take),
                Source::Table(_) | Source::Users(_) | Source::Remote(_) => {}
            }
        }
        all.sort_unstable();
        all.dedup();
        all.into_iter().take(most).map(|(_, similar)| similar).collect()
    }
}

/// Accepts `LOCAL@DOMAIN` and `LOCAL@`, as an index stores them, where `LOCAL` is near: letters that are missing, too many or
/// others (Levenshtein), in bytes.
pub(super) struct Near {
    local: Vec<u8>,
    /// The domain and `@`.
    domain: Vec<u8>,
    limit: u8,
}

/// How far a key was read.
#[derive(Clone)]
pub(super) enum State {
    /// So much of the domain was read.
    Domain(usize),
    /// The distances of what was read to each beginning of the local part.
    Local(Vec<u8>),
    /// It is somebody else.
    Other,
}

impl Near {
    fn new(address: &Address) -> Self {
        let local = address.local().as_bytes().to_vec();
        // Of a short one nearly everybody is two letters away.
        let limit = if local.len() < 5 { 1 } else { 2 };
        let domain = format!("{}@", address.domain().as_str()).into_bytes();
        Self { local, domain, limit }
    }

    fn distance(&self, key: &[u8]) -> Option<u8> {
        self.found(&stored(key).iter().fold(State::Domain(0), |state, &byte| self.step(&state, byte)))
    }

    /// Whether a key is near.
    pub(super) fn accepts(&self, key: &[u8]) -> bool {
        self.distance(key).is_some()
    }

    /// The distance of what was read. As it is written it is unknown: whoever has that address is in another directory. Of
    /// a catch-all nothing was read.
    fn found(&self, state: &State) -> Option<u8> {
        let State::Local(row) = state else { return None };
        let is_any = row.first().is_some_and(|&read| read > 0);
        row.last().copied().filter(|distance| is_any && (1..=self.limit).contains(distance))
    }
}

impl Automaton for Near {
    type State = State;

    fn start(&self) -> State {
        State::Domain(0)
    }

    fn is_match(&self, state: &State) -> bool {
        self.found(state).is_some()
    }

    fn can_match(&self, state: &State) -> bool {
        !matches!(state, State::Other)
    }

    fn accept(&self, state: &State, byte: u8) -> State {
        self.step(state, byte)
    }
}

impl Near {
    fn begin(&self) -> State {
        State::Local(
            (0..=self.local.len())
                .map(|length| u8::try_from(length).map_or(FAR, |far| far.min(FAR)))
                .collect(),
        )
    }

    fn step(&self, state: &State, byte: u8) -> State {
        match state {
            // In any domain.
            State::Domain(0) if byte == b'@' => self.begin(),
            State::Domain(read) if self.domain.get(*read) == Some(&byte) => match read + 1 {
                read if read == self.domain.len() => self.begin(),
                read => State::Domain(read),
            },
            State::Local(_) if byte == b'@' => State::Other,
            State::Local(row) => {
                let mut next = Vec::with_capacity(row.len());
                let mut left = row.first().map_or(FAR, |distance| (distance + 1).min(FAR));
                next.push(left);
                for (at, &expected) in self.local.iter().enumerate() {
                    let replaced = row[at] + u8::from(expected != byte);
                    left = replaced.min(row[at + 1] + 1).min(left + 1).min(FAR);
                    next.push(left);
                }
                if next.iter().all(|&distance| distance > self.limit) {
                    State::Other
                } else {
                    State::Local(next)
                }
            }
            State::Domain(..) | State::Other => State::Other,
        }
    }
}

/// More than any limit.
const FAR: u8 = 9;
/// So many are looked at for one recipient.
const MOST_LOOKED_AT: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        directory::{Builder, Entry},
        policy::Attributes,
    };

    fn found(known: &[&str], unknown: &str) -> Vec<String> {
        let mut builder = Builder::default();
        for known in known {
            builder.add(&Entry::parse(known.as_bytes()).unwrap(), Attributes::default());
        }
        let near = Near::new(&Address::parse(unknown).unwrap());
        let mut found = Vec::new();
        builder.finish().search(&near, &mut |key| {
            found.push(String::from_utf8_lossy(key).into_owned());
            true
        });
        found
    }

    #[test]
    fn one_or_two_letters() {
        let known = [
            "john.smith@example.test",
            "joan.smith@example.test",
            "john.smith@other.test",
            "johnsmit",
            "anna@example.test",
            "@example.test",
        ];
        for (unknown, expected) in [
            ("jon.smith@example.test", &["joan.smith@example.test", "john.smith@example.test"][..]),
            ("jhon.smith@example.test", &["joan.smith@example.test", "john.smith@example.test"]),
            ("john.smithson@example.test", &[]),
            ("john.smith@other.test", &["johnsmit@"]),
            ("ann@example.test", &["anna@example.test"]),
            ("an@example.test", &[]),
            ("hanna@example.test", &["anna@example.test"]),
            ("hannah@example.test", &["anna@example.test"]),
            ("x@example.test", &[]),
        ] {
            assert_eq!(found(&known, unknown), expected, "{unknown}");
        }
    }

    /// The distance by its definition.
    fn distance(a: &[u8], b: &[u8]) -> usize {
        match (a, b) {
            ([], rest) | (rest, []) => rest.len(),
            ([x, a_rest @ ..], [y, b_rest @ ..]) => {
                let same = distance(a_rest, b_rest) + usize::from(x != y);
                same.min(distance(a_rest, b) + 1).min(distance(a, b_rest) + 1)
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_the_distance_by_definition(unknown in "[ab]{1,7}", known in "[abc]{1,7}") {
            let address = format!("{known}@x.test");
            let limit = if unknown.len() < 5 { 1 } else { 2 };
            let exact = distance(unknown.as_bytes(), known.as_bytes());
            let expected = if (1..=limit).contains(&exact) { vec![address.clone()] } else { vec![] };
            prop_assert_eq!(found(&[&address], &format!("{unknown}@x.test")), expected);
        }
    }
}
