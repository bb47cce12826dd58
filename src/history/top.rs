//! Who comes most often, in a list of bounded length that a flood of others does not empty.
//!
//! While there is room everybody is listed, and all counts are exact. In a full list a newcomer takes the place of the one
//! that was seen least, if it itself was seen more often, by a sketch of all that come, and keeps it as if it had been there
//! from the beginning. The places of those that came twice are not to be had for coming once, however many try. Whoever is
//! turned away costs a look at the sketch, and nothing is put together for it. Failure: in a full list counts are too low,
//! never too high.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher},
};

use foldhash::quality::RandomState;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{queue::Noted, sketch::Sketch, summary::Sample, text::clip};
use crate::policy::Reason;

/// The list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    from = "Written<K>",
    into = "Written<K>",
    bound(deserialize = "K: Key + Deserialize<'de>", serialize = "K: Key + Serialize")
)]
pub(super) struct Top<K: Key> {
    /// Nobody can choose what falls together.
    keys: RandomState,
    /// By their hash, which the sketch needs, too.
    entries: IndexMap<u64, (K, Entry), BuildHasherDefault<AsItIs>>,
    sketch: Option<Box<Sketch>>,
    /// Nobody in the list is of a lower rank: ranks only grow.
    least: Rank,
    /// Somebody had no place, or lost it.
    is_crowded: bool,
    /// One of them spoke against a rule.
    is_robbed: bool,
}

/// What is known of one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Seen so often, at least.
    pub(crate) times: u64,
    /// Of these, by insiders.
    pub(crate) insiders: u64,
    /// Of these, by clients that ask for recipients that exist.
    pub(crate) good: u64,
    /// The last ones, newest last; those of insiders and good clients first of all.
    pub(crate) samples: Vec<Sample>,
    /// Seen so often, roughly, before it had a place.
    #[serde(skip)]
    before: u64,
}

/// Whether it speaks against a rule, and how often it was seen.
type Rank = (bool, u64);

/// Keeps a hash for what it is.
#[derive(Debug, Clone, Default)]
struct AsItIs(u64);

/// What lists are of.
pub(super) trait Key: Hash + Eq + Ord + Clone {}

impl<K: Hash + Eq + Ord + Clone> Key for K {}

/// As it stands in the file.
#[derive(Serialize, Deserialize)]
struct Written<K> {
    entries: Vec<(K, Entry)>,
    is_crowded: bool,
    #[serde(default)]
    is_robbed: bool,
}

impl<K: Key> Top<K> {
    /// It was seen; `samples` of it are kept.
    pub(super) fn add<N>(&mut self, name: N, refusal: &Noted<'_>, samples: usize)
    where
        N: Hash + PartialEq<K> + Into<K>,
    {
        let hash = self.keys.hash_one(&name);
        match self.entries.get_mut(&hash) {
            Some((key, entry)) if name == *key => return entry.add(refusal, samples),
            // Two of 2⁶⁴: the second one has no place.
            Some(_) => return self.turn_away(refusal, samples),
            None => {}
        }
        let mut before = 0;
        if self.entries.len() >= CAPACITY {
            // Who was here before the list was full has its place: only newcomers need to be counted.
            let seen = self.sketch.get_or_insert_default().add(hash);
            let rank = (refusal.outranks(samples), seen);
            if rank <= self.least || rank <= self.find_least(samples) {
                return self.turn_away(refusal, samples);
            }
            self.is_crowded = true;
            self.is_robbed |= self.least.0;
            let is_least = |(_, (_, entry)): &(&u64, &(K, Entry))| entry.rank(samples) <= self.least;
            // The last that came is one of them, as a rule.
            if let Some(gone) = self.entries.iter().rev().find(is_least).map(|(hash, _)| *hash) {
                self.entries.swap_remove(&gone);
            }
            before = seen - 1;
        }
        self.entries.insert(hash, (name.into(), Entry { before, ..Entry::of(refusal) }));
    }

    fn turn_away(&mut self, refusal: &Noted<'_>, samples: usize) {
        self.is_crowded = true;
        self.is_robbed |= refusal.outranks(samples);
    }

    /// Of whoever has the lowest rank. It is looked for only when nobody has that which was the lowest.
    fn find_least(&mut self, samples: usize) -> Rank {
        let ranks = || self.entries.values().rev().map(|(_, entry)| entry.rank(samples));
        if ranks().all(|rank| rank > self.least) {
            self.least = ranks().min().unwrap_or_default();
        }
        self.least
    }

    /// Takes in a list that is over.
    pub(super) fn fold(&mut self, other: &Self, samples: usize) {
        (self.is_crowded, self.is_robbed) =
            (self.is_crowded || other.is_crowded, self.is_robbed || other.is_robbed);
        for (key, entry) in other.entries.values() {
            let own = self.entries.entry(self.keys.hash_one(key));
            own.or_insert_with(|| (key.clone(), Entry::default())).1.merge(entry, samples);
        }
        self.cut(CAPACITY, samples);
    }

    /// Nobody comes any more: so many are kept, with so many samples.
    pub(super) fn close(&mut self, most: usize, samples: usize) {
        self.sketch = None;
        self.cut(most, samples);
        self.entries.shrink_to_fit();
    }

    fn cut(&mut self, most: usize, samples: usize) {
        self.least = Rank::default();
        if self.entries.len() > most {
            self.is_crowded = true;
            let mut all: Vec<_> = std::mem::take(&mut self.entries).into_iter().collect();
            all.sort_unstable_by(|(_, a), (_, b)| {
                let rank = |(_, entry): &(K, Entry)| std::cmp::Reverse(entry.outranks(samples));
                rank(a).cmp(&rank(b)).then_with(|| order(a, b))
            });
            self.is_robbed |= all.get(most).is_some_and(|(_, (_, entry))| entry.outranks(samples));
            all.truncate(most);
            self.entries = all.into_iter().collect();
        }
    }

    /// All of it, into a list without bounds; whether counts there may be too low.
    pub(super) fn pour(&self, into: &mut HashMap<K, Entry>, samples: usize) -> bool {
        for (key, entry) in self.entries.values() {
            into.entry(key.clone()).or_default().merge(entry, samples);
        }
        self.is_crowded
    }

    /// Whether something is missing that speaks against a rule.
    pub(super) fn is_robbed(&self) -> bool {
        self.is_robbed
    }
}

impl<K: Key> Default for Top<K> {
    fn default() -> Self {
        Self {
            keys: RandomState::default(),
            entries: IndexMap::default(),
            sketch: None,
            least: Rank::default(),
            is_crowded: false,
            is_robbed: false,
        }
    }
}

impl<K: Key> From<Written<K>> for Top<K> {
    fn from(written: Written<K>) -> Self {
        let Written { mut entries, mut is_crowded, is_robbed } = written;
        is_crowded |= entries.len() >= CAPACITY;
        entries.truncate(CAPACITY);
        for (_, entry) in &mut entries {
            entry.samples.truncate(MOST_SAMPLES);
            for sample in &mut entry.samples {
                for text in
                    [&mut sample.client, &mut sample.sender, &mut sample.recipient, &mut sample.domain]
                {
                    *text = clip(std::mem::take(text));
                }
            }
        }
        let keys = RandomState::default();
        let entries = entries.into_iter().map(|(key, entry)| (keys.hash_one(&key), (key, entry))).collect();
        Self { keys, entries, is_crowded, is_robbed, ..Self::default() }
    }
}

impl<K: Key> From<Top<K>> for Written<K> {
    fn from(top: Top<K>) -> Self {
        let mut entries: Vec<_> = top.entries.into_values().collect();
        entries.sort_unstable_by(order);
        Self { entries, is_crowded: top.is_crowded, is_robbed: top.is_robbed }
    }
}

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are hashes");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Noted<'_> {
    /// As an entry does of which it is the only one.
    fn outranks(&self, samples: usize) -> bool {
        samples > 1 && (self.is_insider || self.is_good || self.rule.reason == Reason::DirectoryUnavailable)
    }
}

impl Entry {
    fn of(refusal: &Noted<'_>) -> Self {
        let (insiders, good) = (refusal.is_insider.into(), refusal.is_good.into());
        Self { times: 1, insiders, good, samples: vec![refusal.into()], before: 0 }
    }

    fn add(&mut self, refusal: &Noted<'_>, samples: usize) {
        self.times = self.times.saturating_add(1);
        self.insiders = self.insiders.saturating_add(refusal.is_insider.into());
        self.good = self.good.saturating_add(refusal.is_good.into());
        if self.samples.len() < samples {
            self.samples.push(refusal.into());
        } else {
            let is_worth_more = samples > 1 && (refusal.is_insider || refusal.is_good);
            let worth = |sample: &Sample| (sample.is_worth_more(samples), sample.at);
            let least = self.samples.iter().enumerate().min_by_key(|(_, sample)| worth(sample));
            match least {
                Some((at, least)) if worth(least) <= (is_worth_more, refusal.at) => {
                    self.samples[at..].rotate_left(1);
                    if let Some(last) = self.samples.last_mut() {
                        last.fill(refusal);
                    }
                }
                _ => return,
            }
        }
        self.samples.sort_by_key(|sample| sample.at);
    }

    fn merge(&mut self, other: &Self, samples: usize) {
        self.times = self.times.saturating_add(other.times);
        self.insiders = self.insiders.saturating_add(other.insiders);
        self.good = self.good.saturating_add(other.good);
        self.samples.extend(other.samples.iter().cloned());
        self.samples.sort_by_key(|sample| (sample.is_worth_more(samples), sample.at));
        let rest = self.samples.len().saturating_sub(samples);
        self.samples.drain(..rest);
        self.samples.sort_by_key(|sample| sample.at);
    }

    /// Of rules, of which several samples are kept, those against which something speaks are worth more than any number of
    /// guesses elsewhere: whoever guesses in many domains must not hide them.
    fn outranks(&self, samples: usize) -> bool {
        samples > 1 && (self.insiders > 0 || self.good > 0 || self.samples.iter().any(is_of_no_answer))
    }

    fn rank(&self, samples: usize) -> Rank {
        (self.outranks(samples), self.times.saturating_add(self.before))
    }

    /// When it was seen last.
    pub(super) fn last(&self) -> u64 {
        self.samples.last().map_or(0, |sample| sample.at)
    }
}

impl Sample {
    /// Of several, those that speak against a rule are worth more than guesses, of which there are always newer ones.
    fn is_worth_more(&self, samples: usize) -> bool {
        samples > 1 && (self.insider || self.good)
    }
}

/// A directory did not answer.
fn is_of_no_answer(sample: &Sample) -> bool {
    sample.reason == Reason::DirectoryUnavailable
}

/// The most frequent first; of these the latest.
pub(super) fn order<K: Ord>((a, one): &(K, Entry), (b, other): &(K, Entry)) -> std::cmp::Ordering {
    let rank = |entry: &Entry| std::cmp::Reverse((entry.times, entry.last()));
    rank(one).cmp(&rank(other)).then_with(|| a.cmp(b))
}

/// So many are in a list.
pub(super) const CAPACITY: usize = 256;
/// Of each.
pub(super) const MOST_SAMPLES: usize = 3;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::history::Rule;

    fn seen(at: u64) -> Noted<'static> {
        let rule = Rule { reason: Reason::UnknownRecipient, domain: "", is_permanent: true, enforced: false };
        let (sender, recipient) = ("<a@b.test>", "c@d.test");
        Noted { at, rule, client: None, sender, recipient, is_insider: false, is_good: false }
    }

    fn all<K: Key>(top: &Top<K>) -> (HashMap<K, Entry>, bool) {
        let mut all = HashMap::new();
        let is_crowded = top.pour(&mut all, 1);
        (all, is_crowded)
    }

    /// The model is a map without bounds.
    fn run(keys: impl IntoIterator<Item = u32>) -> (HashMap<u32, Entry>, bool, HashMap<u32, u64>) {
        let (mut top, mut model) = (Top::<u32>::default(), HashMap::new());
        for (at, key) in keys.into_iter().enumerate() {
            top.add(key, &seen(at as u64), 1);
            *model.entry(key).or_default() += 1;
        }
        let (all, is_crowded) = all(&top);
        (all, is_crowded, model)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn counts_are_exact_until_the_list_is_full(keys in proptest::collection::vec(0_u32..256, 0..3000)) {
            let (all, is_crowded, model) = run(keys);
            prop_assert!(!is_crowded);
            let counts: HashMap<u32, u64> = all.into_iter().map(|(key, entry)| (key, entry.times)).collect();
            prop_assert_eq!(counts, model);
        }

        #[test]
        fn counts_are_never_too_high(keys in proptest::collection::vec(0_u32..2000, 0..6000)) {
            let (all, is_crowded, model) = run(keys);
            prop_assert!(all.len() <= CAPACITY);
            prop_assert_eq!(is_crowded, model.len() > CAPACITY);
            for (key, entry) in all {
                prop_assert!(entry.times <= model[&key], "{} times {}, in truth {}", key, entry.times, model[&key]);
            }
        }
    }

    /// A guesser asks for thirty thousand addresses, each once. Those that come all the time stay.
    #[test]
    fn a_flood_of_others_drives_nobody_out() {
        let steady = 0..100_u32;
        let mut keys: Vec<u32> = steady.clone().chain(steady.clone()).collect();
        for guess in 1000..31_000 {
            keys.push(guess);
            if guess % 1000 == 0 {
                keys.extend(steady.clone());
            }
        }
        let (all, is_crowded, model) = run(keys);
        assert!(is_crowded);
        for key in steady {
            assert_eq!(all.get(&key).map(|entry| entry.times), Some(model[&key]), "{key}");
        }
    }

    /// A day of it, more than any sketch without an end has room for.
    #[test]
    fn a_flood_without_end_drives_nobody_out() {
        let mut top = Top::<u32>::default();
        for key in (0..200_u32).chain(0..200).chain(0..200).chain(1000..1_001_000) {
            top.add(key, &seen(u64::from(key)), 1);
        }
        let (all, is_crowded) = all(&top);
        assert!(is_crowded && all.len() == CAPACITY);
        let stayed = (0..200).filter(|key| all.get(key).map(|entry| entry.times) == Some(3)).count();
        assert!(stayed >= 195, "{stayed} of 200");
    }

    /// Attempts to get a place do not make a list longer, nor a count higher, whatever is in it.
    #[test]
    fn a_list_that_was_folded_into_is_a_list() {
        let (mut day, mut hour) = (Top::<u32>::default(), Top::<u32>::default());
        for key in 0..300_u32 {
            day.add(key, &seen(1), 1);
            hour.add(key + 100, &seen(2), 1);
            hour.add(key + 100, &seen(2), 1);
        }
        day.fold(&hour, 1);
        assert_eq!((day.entries.len(), day.is_crowded), (CAPACITY, true));
        for time in 1..=20 {
            for key in 500..900_u32 {
                day.add(key, &seen(3), 1);
            }
            let (all, _) = all(&day);
            assert_eq!(all.len(), CAPACITY);
            assert!(all.iter().all(|(key, entry)| entry.times <= time + if *key < 500 { 3 } else { 0 }));
        }
    }

    #[test]
    fn of_one_second_the_last_samples_are_kept() {
        let mut top = Top::<&str>::default();
        let one = |at, sender| Noted { sender, ..seen(at) };
        for (at, sender) in [(1, "a"), (1, "b"), (1, "c"), (2, "d"), (2, "e"), (3, "f"), (1, "late")] {
            top.add("key", &one(at, sender), 3);
        }
        top.add("key", &Noted { is_good: true, ..one(3, "good") }, 3);
        let mut all = HashMap::new();
        top.pour(&mut all, 3);
        let senders: Vec<&str> = all["key"].samples.iter().map(|sample| &*sample.sender).collect();
        assert_eq!((all["key"].times, senders), (8, vec!["e", "f", "good"]));
    }

    #[test]
    fn who_comes_often_gets_a_place_in_a_full_list() {
        let crowd = 1000..1256;
        let late = std::iter::repeat_n(5, 20);
        let (all, ..) = run(crowd.clone().chain(crowd).chain(late));
        // The first two times were not more than the others had.
        assert_eq!(all.get(&5).map(|entry| entry.times), Some(18));
    }

    /// A place changes hands only if somebody came more often, not each time that one of the crowd comes.
    #[test]
    fn in_a_crowd_of_equals_who_has_a_place_keeps_it() {
        let mut top = Top::<u32>::default();
        let (mut places, mut rounds) = (0, 0);
        while rounds < 20 {
            for key in 0..2000_u32 {
                let hash = top.keys.hash_one(key);
                let was_listed = top.entries.contains_key(&hash);
                top.add(key, &seen(rounds), 1);
                places += u64::from(!was_listed && top.entries.contains_key(&hash));
            }
            rounds += 1;
        }
        assert!(places < 256 + 20 * 60, "{places} places were given");
    }

    #[test]
    fn a_closed_list_keeps_the_most_frequent() {
        let mut top = Top::<u64>::default();
        for at in 0..200_u64 {
            for key in 0..=at {
                top.add(key, &seen(at), 1);
            }
        }
        top.close(64, 1);
        let (all, is_crowded) = all(&top);
        assert!(is_crowded);
        let mut kept: Vec<u64> = all.into_keys().collect();
        kept.sort_unstable();
        assert_eq!(kept, (0..64).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_samples_are_kept() {
        let mut top = Top::<&str>::default();
        for at in [5, 9, 7, 8] {
            top.add("key", &seen(at), 2);
        }
        let mut all = HashMap::new();
        top.pour(&mut all, 2);
        let at: Vec<u64> = all["key"].samples.iter().map(|sample| sample.at).collect();
        assert_eq!((at, all["key"].last()), (vec![8, 9], 9));
    }

    #[test]
    fn what_speaks_against_a_rule_is_not_hidden_by_guesses() {
        let mut top = Top::<&str>::default();
        for at in 0..100 {
            let refusal = Noted { is_insider: at == 5, is_good: at == 7, ..seen(at) };
            top.add("key", &refusal, 3);
        }
        let mut all = HashMap::new();
        top.pour(&mut all, 3);
        let at: Vec<u64> = all["key"].samples.iter().map(|sample| sample.at).collect();
        assert_eq!(at, [5, 7, 99]);
    }

    /// Guesses in three hundred domains, a thousand in each, and one insider's recipient in one more.
    #[test]
    fn what_speaks_against_one_rule_is_not_hidden_by_others() {
        let guess = |at| (0..300_u64).map(move |rule| (rule, seen(at)));
        let against = |at| (1000_u64, Noted { is_insider: true, ..seen(at) });
        for comes_first in [true, false] {
            let mut top = Top::<u64>::default();
            let first = comes_first.then(|| against(0));
            let last = (!comes_first).then(|| against(99));
            for (rule, one) in first.into_iter().chain((1..10).flat_map(guess)).chain(last) {
                top.add(rule, &one, MOST_SAMPLES);
            }
            top.close(64, MOST_SAMPLES);
            let (all, is_crowded) = all(&top);
            assert_eq!(all.get(&1000).map(|entry| entry.insiders), Some(1), "first: {comes_first}");
            assert!(is_crowded && !top.is_robbed());
        }
        let mut top = Top::<u64>::default();
        for rule in 0..300_u64 {
            top.add(rule, &Noted { is_good: true, ..seen(rule) }, MOST_SAMPLES);
        }
        assert!(top.is_robbed(), "there are more than there is room for");
    }
}
