//! The last hours and the last days, each in its own row: an hour that is forgotten is still part of its day.
//!
//! Numbers are counted in both at once; what makes lists goes into the hour, and with it into its day as soon as it is over.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    bucket::{Bucket, Counted, add},
    minute::{Minute, Minutes},
    queue::Noted,
    summary::{Listed, Summary, Watched},
    top::{Entry, MOST_SAMPLES, order},
};

/// All that is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Timeline {
    /// Since when, in seconds since 1970.
    began: u64,
    hours: Row,
    days: Row,
    /// What is only watched, since when.
    watched: BTreeMap<String, u64>,
    #[serde(default)]
    minutes: Minutes,
}

/// Buckets of one length, the oldest first; shared with those who read them.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    #[serde(skip)]
    length: u64,
    buckets: VecDeque<Arc<Bucket>>,
}

impl Timeline {
    pub(super) fn new(now: u64) -> Self {
        let (watched, minutes) = (BTreeMap::new(), Minutes::default());
        Self { began: now, hours: Row::of(HOUR), days: Row::of(DAY), watched, minutes }
    }

    /// Puts in order what was read from a file.
    pub(super) fn mend(&mut self, now: u64) {
        self.began = self.began.min(now);
        (self.hours.length, self.days.length) = (HOUR, DAY);
        for row in [&mut self.hours, &mut self.days] {
            row.buckets.make_contiguous().sort_by_key(|bucket| bucket.number);
        }
        self.end_hours(now);
        self.hours.forget(now);
        self.days.forget(now);
        self.watched.values_mut().for_each(|since| *since = (*since).min(now));
        self.minutes.mend(now);
    }

    pub(super) fn count(&mut self, now: u64, counted: &Counted) {
        self.turn(now);
        for row in [&mut self.hours, &mut self.days] {
            row.last().count(counted);
        }
        self.minutes.count(now, counted);
    }

    pub(super) fn note(&mut self, now: u64, refusal: &Noted<'_>) {
        self.turn(now);
        let hour = self.hours.last();
        hour.note(refusal);
        // The clock was set back, or the hour was begun by a process that did it otherwise.
        if !hour.is_apart {
            self.days.last().note(refusal);
        }
    }

    /// It is that late.
    fn turn(&mut self, now: u64) {
        if self.hours.is_at(now) && self.days.is_at(now) {
            return;
        }
        // First the hour, as a day that is over is cut.
        self.end_hours(now);
        if self.hours.turn(now) {
            self.hours.last().is_apart = true;
        }
        self.days.turn(now);
    }

    /// Hours that are over become part of their days.
    fn end_hours(&mut self, now: u64) {
        for hour in &mut self.hours.buckets {
            if hour.is_apart && hour.number != now / HOUR {
                let hour = Arc::make_mut(hour);
                hour.is_apart = false;
                let mut days = self.days.buckets.iter_mut().rev();
                if let Some(day) = days.find(|day| day.number == day_of(hour)) {
                    Arc::make_mut(day).fold(hour);
                }
            }
        }
    }

    /// These are only watched now. What no longer is, begins anew when it is again.
    pub(super) fn watch(&mut self, now: u64, watched: &[String]) {
        self.watched.retain(|what, _| watched.contains(what));
        for what in watched {
            self.watched.entry(what.clone()).or_insert(now);
        }
    }

    /// Everything since `seconds` ago, by whole hours; what is older than those, by whole days.
    pub(super) fn summary(&self, now: u64, seconds: u64) -> Summary {
        let row = if seconds <= HOURS * HOUR { &self.hours } else { &self.days };
        let from = now.saturating_sub(seconds);
        let is_within = |number: u64, length: u64| (number + 1) * length > from;
        let buckets = || row.buckets.iter().filter(|bucket| is_within(bucket.number, row.length));
        // Nothing was there before the first bucket, nor before the beginning.
        let oldest = from / row.length;
        let kept = (now / row.length).saturating_sub(row.most() as u64 - 1);
        let since = (oldest.max(kept) * row.length).max(self.began).min(now);
        let mut summary = Summary { now, since, ..Summary::default() };
        let (mut rules, mut recipients) = (HashMap::new(), HashMap::new());
        let (mut clients, mut networks) = (HashMap::new(), HashMap::new());
        for bucket in buckets() {
            summary.running_seconds += bucket.seconds;
            summary.missed += bucket.missed;
            for count in &bucket.counts {
                add(&mut summary.decisions, count);
            }
            for (outcome, times) in &bucket.greylist {
                *summary.greylist.entry(outcome.clone()).or_default() += times;
            }
        }
        let is_missing = |hour: &&Arc<Bucket>| hour.is_apart && is_within(day_of(hour), DAY);
        let missing = self.hours.buckets.iter().filter(is_missing).take_while(|_| row.length == DAY);
        for bucket in buckets().chain(missing) {
            let mut is_crowded = bucket.rules.pour(&mut rules, MOST_SAMPLES);
            summary.is_robbed |= bucket.rules.is_robbed();
            is_crowded |= bucket.recipients.pour(&mut recipients, 1);
            is_crowded |= bucket.clients.pour(&mut clients, 1);
            is_crowded |= bucket.networks.pour(&mut networks, 1);
            summary.at_least |= is_crowded;
        }
        summary.decisions.sort_by_key(|count| (std::cmp::Reverse(count.times), count.reason, count.enforced));
        summary.rules = sorted(rules);
        summary.unknown_recipients = listed(recipients, MOST_RECIPIENTS);
        summary.clients = listed(clients, MOST_LISTED);
        summary.networks = listed(networks, MOST_LISTED);
        summary.watched =
            self.watched.iter().map(|(what, since)| Watched { what: what.clone(), since: *since }).collect();
        summary
    }

    pub(super) fn minutes(&self, now: u64) -> Vec<Minute> {
        self.minutes.all(now)
    }

    /// How long the server has run since then, as far as days tell, and was not disabled.
    pub(super) fn deciding_since(&self, now: u64, since: u64) -> u64 {
        let days = self.days.buckets.iter();
        days.map(|day| {
            day.seconds
                .saturating_sub(day.disabled)
                .min(((day.number + 1) * DAY).min(now).saturating_sub(since))
        })
        .sum()
    }
}

impl Row {
    fn of(length: u64) -> Self {
        Self { length, buckets: VecDeque::new() }
    }

    /// Whether the last bucket is that of this time.
    fn is_at(&self, now: u64) -> bool {
        self.buckets.back().is_some_and(|last| last.number == now / self.length)
    }

    /// Makes it so; whether there is a new one. A clock that was wrong for a while leaves nothing behind that has not come yet.
    fn turn(&mut self, now: u64) -> bool {
        if self.is_at(now) {
            return false;
        }
        if let Some(last) = self.buckets.back_mut() {
            Arc::make_mut(last).close();
        }
        self.forget(now);
        if self.is_at(now) {
            return false;
        }
        self.buckets.push_back(Arc::new(Bucket::new(now / self.length)));
        self.forget(now);
        true
    }

    /// The one under way, once it has [turned](Self::turn).
    fn last(&mut self) -> &mut Bucket {
        Arc::make_mut(self.buckets.back_mut().expect("one was put there, or was there"))
    }

    fn forget(&mut self, now: u64) {
        let number = now / self.length;
        self.buckets.retain(|bucket| bucket.number <= number);
        let old = self.buckets.len().saturating_sub(self.most());
        self.buckets.drain(..old);
        let oldest = number.saturating_sub(self.most() as u64 - 1);
        self.buckets.retain(|bucket| bucket.number >= oldest);
    }

    /// The one under way, and those before it.
    fn most(&self) -> usize {
        if self.length == HOUR { HOURS as usize + 1 } else { DAYS as usize + 1 }
    }
}

fn day_of(hour: &Bucket) -> u64 {
    hour.number * HOUR / DAY
}

fn sorted<K: Ord>(all: HashMap<K, Entry>) -> Vec<(K, Entry)> {
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_unstable_by(order);
    all
}

fn listed<K: Ord + ToString>(all: HashMap<K, Entry>, most: usize) -> Vec<Listed> {
    let listed = sorted(all).into_iter().take(most).map(|(what, mut entry)| Listed {
        what: what.to_string(),
        times: entry.times,
        insiders: entry.insiders,
        good: entry.good,
        last: entry.samples.pop().unwrap_or_default(),
    });
    listed.collect()
}

const HOUR: u64 = 3600;
const HOURS: u64 = 48;
const DAY: u64 = 24 * HOUR;
const DAYS: u64 = 30;
/// Of each list.
const MOST_LISTED: usize = 200;
/// All that are kept: which of them exist by now is what matters.
const MOST_RECIPIENTS: usize = 4096;

#[cfg(test)]
mod tests;
