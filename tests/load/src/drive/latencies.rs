//! Times of answers, all of them: percentiles are exact.

use std::time::Duration;

/// Times of answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// All of another one.
    pub fn take(&mut self, other: Latencies) {
        self.0.extend(other.0);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time within which `percent` of 100 answers came, e.g. 50 or 99 (by nearest rank); `None` without answers.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied()
    }

    /// How many took at least so long.
    #[must_use]
    pub fn at_least(&self, time: Duration) -> usize {
        self.0.iter().filter(|taken| **taken >= time).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact() {
        let ms = Duration::from_millis;
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(50.0), None);
        (1..=100).rev().for_each(|time| latencies.add(ms(time)));
        for (percent, expected) in [(0.0, 1), (1.0, 1), (50.0, 50), (50.1, 51), (99.0, 99), (100.0, 100)] {
            assert_eq!(latencies.percentile(percent), Some(ms(expected)), "{percent}");
        }
        assert_eq!(latencies.at_least(ms(40)), 61);
        assert_eq!(latencies.count(), 100);
    }
}
