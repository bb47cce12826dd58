//! What an admin may want to know of an unknown recipient: who is spelt almost like it. And the name of its domain in the
//! configuration.
//!
//! Only lists that are in memory are searched, and nothing that is found goes to a client. Failure: nothing is found.

use super::{Detected, Directories, Index, Source, block::common};
use crate::address::{Address, Domain};

impl Directories {
    /// The name or pattern under which the domain is local; as many as there are in configuration and detection. `None`: it
    /// is not. A pattern is the end of the domain, from the dot on.
    pub fn listed_as<'d>(&self, domain: &'d Domain) -> Option<&'d str> {
        let files = self.files.as_ref().map(|files| files.current());
        let files = files.as_ref().and_then(|files| files.as_deref());
        let sets = || [Some(&self.names), files, Some(&self.catch_all)].into_iter().flatten();
        let detected: &Detected = &self.detected.load();
        let name = domain.as_str();
        if sets().any(|set| set.names(domain))
            || self.charge.names(domain)
            || detected.domains.contains_key(domain)
        {
            return Some(name);
        }
        let below = || domain.ancestors().find(|above| detected.below.contains_key(*above));
        let above = sets().find_map(|set| set.above(domain));
        let above = above.or_else(|| self.charge.above(domain)).or_else(below)?.len();
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
            let mut take = |key: &[u8], distance| {
                if let Some(at) = key.iter().rposition(|&byte| byte == b'@')
                    && let Ok(local) = std::str::from_utf8(&key[..at])
                {
                    all.push((distance, format!("{local}@{domain}")));
                }
                all.len() < MOST_LOOKED_AT
            };
            match source {
                Source::List(list) => {
                    if let Some(index) = &*list.current() {
                        near.search(index, &mut take);
                    }
                }
                Source::Listed(index, _) => near.search(index, &mut take),
                Source::Replica(replica) => replica.search(&near, &mut take),
                Source::Table(_) | Source::Users(_) | Source::Remote(_) => {}
            }
        }
        all.sort_unstable();
        all.dedup();
        all.into_iter().take(most).map(|(_, similar)| similar).collect()
    }
}

/// Finds `LOCAL@DOMAIN` and `LOCAL@` where `LOCAL` is near: letters that are missing, too many or others (Levenshtein), in
/// bytes.
pub(super) struct Near {
    local: Vec<u8>,
    domain: String,
    limit: u8,
}

/// The distances between each beginning of a local part that is read and each beginning of the one sought.
struct Rows<'n> {
    near: &'n Near,
    read: Vec<u8>,
    rows: Vec<Vec<u8>>,
}

impl Near {
    fn new(address: &Address) -> Self {
        let local = address.local().as_bytes().to_vec();
        // Of a short one nearly everybody is two letters away.
        let limit = if local.len() < 5 { 1 } else { 2 };
        Self { local, domain: address.domain().as_str().to_owned(), limit }
    }

    /// All keys of an index that are near, with their distances, while `each` wants more.
    pub(super) fn search(&self, index: &Index, each: &mut dyn FnMut(&[u8], u8) -> bool) {
        for domain in ["", self.domain.as_str()] {
            let begin = format!("{domain}@");
            let (mut rows, mut walk) = (Rows::new(self), index.walk(begin.as_bytes()));
            while let Some((key, _)) = walk.next()
                && let Some(local) = key.strip_prefix(begin.as_bytes())
            {
                match rows.read(local) {
                    Ok(Some(distance)) if !each(&[local, b"@", domain.as_bytes()].concat(), distance) => {
                        return;
                    }
                    Ok(_) => {}
                    Err(read) => walk.pass(begin.len() + read),
                }
            }
        }
    }

    /// The distance of a key, if it is near.
    pub(super) fn distance(&self, key: &[u8]) -> Option<u8> {
        let at = key.iter().rposition(|&byte| byte == b'@')?;
        let (local, domain) = (&key[..at], &key[at + 1..]);
        let is_there = domain.is_empty() || domain == self.domain.as_bytes();
        if is_there { Rows::new(self).read(local).ok()? } else { None }
    }
}

impl<'n> Rows<'n> {
    fn new(near: &'n Near) -> Self {
        let first = (0..=near.local.len()).map(|length| u8::try_from(length).map_or(FAR, |far| far.min(FAR)));
        Self { near, read: Vec::new(), rows: vec![first.collect()] }
    }

    /// The distance of a local part, if it is near; or so many bytes of it that whoever begins with these is not. As the one
    /// sought is written it is unknown: whoever has that address is in another directory. A catch-all is nobody.
    fn read(&mut self, local: &[u8]) -> Result<Option<u8>, usize> {
        let limit = self.near.limit;
        self.read.truncate(common(&self.read, local));
        self.rows.truncate(self.read.len() + 1);
        for &byte in &local[self.read.len()..] {
            let row = self.next(byte);
            if byte == b'@' || row.iter().all(|&distance| distance > limit) {
                return Err(self.read.len() + 1);
            }
            self.read.push(byte);
            self.rows.push(row);
        }
        let distance = self.rows[local.len()].last().copied();
        Ok(distance.filter(|distance| !local.is_empty() && (1..=limit).contains(distance)))
    }

    /// The row behind one more byte.
    fn next(&self, byte: u8) -> Vec<u8> {
        let row = &self.rows[self.read.len()];
        let mut next = Vec::with_capacity(row.len());
        let mut left = (row[0] + 1).min(FAR);
        next.push(left);
        for (at, &expected) in self.near.local.iter().enumerate() {
            let replaced = row[at] + u8::from(expected != byte);
            left = replaced.min(row[at + 1] + 1).min(left + 1).min(FAR);
            next.push(left);
        }
        next
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
        near.search(&builder.finish(), &mut |key, _| {
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
