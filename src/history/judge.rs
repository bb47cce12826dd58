//! Whether what is only watched looks safe to enforce. Pure.
//!
//! It is a matter of evidence, never of numbers alone: a thousand refused guesses say nothing against a rule, and one
//! refused customer does. It never says that something is safe for want of evidence: that is `early`.

use serde::{Deserialize, Serialize};

/// What is known of a rule that is only watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// So long the server has run while it was watched.
    pub watched_seconds: u64,
    /// How often it would have refused.
    pub times: u64,
    /// Of these, insiders: own users and hosts.
    pub insiders: u64,
    /// Of these, clients that ask for recipients that exist.
    pub good: u64,
    /// Recipients it would have refused that a directory knows by now.
    pub known_now: u64,
    /// Recipients it would have put off because a directory did not answer.
    pub no_answer: u64,
    /// No recipient was decided in all that time.
    pub is_idle: bool,
    /// It would have put off, not refused.
    pub is_deferral: bool,
    /// Not everything that it would have refused is known.
    pub is_incomplete: bool,
}

impl Evidence {
    /// That of several rules together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            watched_seconds: self.watched_seconds.max(other.watched_seconds),
            times: self.times + other.times,
            insiders: self.insiders + other.insiders,
            good: self.good + other.good,
            known_now: self.known_now + other.known_now,
            no_answer: self.no_answer + other.no_answer,
            is_idle: self.is_idle || other.is_idle,
            is_deferral: other.is_deferral && (self.is_deferral || self.times == 0),
            is_incomplete: self.is_incomplete || other.is_incomplete,
        }
    }
}

/// How it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Looks {
    /// Nothing speaks against it.
    Safe,
    /// Somebody has to look at what it would have refused.
    Look,
    /// Nothing speaks against it yet.
    Early,
}

/// How it looks, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// In a word.
    pub looks: Looks,
    /// The reasons, a sentence each.
    pub why: Vec<String>,
}

/// What speaks against enforcing it.
#[must_use]
pub fn judge(evidence: Evidence) -> Judgement {
    let Evidence { watched_seconds, times, insiders, good, known_now, .. } = evidence;
    let Evidence { no_answer, is_idle, is_deferral, is_incomplete, .. } = evidence;
    let mut why = Vec::new();
    let what = if is_deferral { "put off" } else { "refused" };
    if known_now > 0 {
        why.push(format!("{known_now} of its recipients exist by now: a directory was late, or has changed"));
    }
    if insiders > 0 {
        why.push(format!("{insiders} of {times} were from insiders, who would have been {what}"));
    }
    if good > 0 {
        why.push(format!("{good} of {times} were from clients that also write to recipients that exist"));
    }
    if no_answer > 0 {
        why.push(format!(
            "{no_answer} of {times} would have been put off because a directory did not answer"
        ));
    }
    if is_incomplete {
        why.push("not all of them could be remembered".to_owned());
    }
    if !why.is_empty() {
        return Judgement { looks: Looks::Look, why };
    }
    // A restart now and then is no gap.
    let days = (watched_seconds + DAY / 4) / DAY;
    if days < ENOUGH_DAYS {
        let hours = watched_seconds / 3600;
        let so_far = if days < 2 { format!("{hours} hours") } else { format!("{days} days") };
        let why = vec![format!(
            "this tells of {so_far} of watching; it takes {ENOUGH_DAYS} days to see a whole week"
        )];
        return Judgement { looks: Looks::Early, why };
    }
    if is_idle {
        let why = vec!["no recipient was asked for in that time: does the MTA ask?".to_owned()];
        return Judgement { looks: Looks::Early, why };
    }
    let why = match times {
        0 => format!("in {days} days it would have {what} nobody"),
        _ => format!(
            "in {days} days it would have {what} no insider, no client that writes to recipients that exist, and nobody \
             who exists now"
        ),
    };
    Judgement { looks: Looks::Safe, why: vec![why] }
}

const DAY: u64 = 24 * 60 * 60;
/// Who writes every Friday is seen.
const ENOUGH_DAYS: u64 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_against_it() {
        let week = Evidence { watched_seconds: 7 * DAY, times: 1000, ..Evidence::default() };
        for (evidence, looks, words) in [
            (week, Looks::Safe, "no insider"),
            (Evidence { times: 0, ..week }, Looks::Safe, "nobody"),
            (
                Evidence { watched_seconds: 6 * DAY, ..week },
                Looks::Early,
                "6 days of watching; it takes 7 days",
            ),
            (Evidence { watched_seconds: 7 * DAY - 3600, ..week }, Looks::Safe, "in 7 days"),
            (Evidence { watched_seconds: 7200, ..week }, Looks::Early, "2 hours of watching"),
            (Evidence::default(), Looks::Early, "0 hours of watching"),
            (Evidence { good: 1, ..week }, Looks::Look, "1 of 1000 were from clients that also"),
            (Evidence { insiders: 2, ..week }, Looks::Look, "2 of 1000 were from insiders"),
            (Evidence { known_now: 3, ..week }, Looks::Look, "3 of its recipients exist by now"),
            (Evidence { is_incomplete: true, ..week }, Looks::Look, "not all of them"),
            (Evidence { is_incomplete: true, times: 0, ..week }, Looks::Look, "not all of them"),
            (Evidence { no_answer: 9, is_deferral: true, ..week }, Looks::Look, "did not answer"),
            (Evidence { is_idle: true, times: 0, ..week }, Looks::Early, "does the MTA ask?"),
            // Evidence against it counts at once.
            (Evidence { good: 1, watched_seconds: 0, ..week }, Looks::Look, "1 of 1000"),
            (Evidence { is_deferral: true, insiders: 1, ..week }, Looks::Look, "would have been put off"),
        ] {
            let judgement = judge(evidence);
            assert_eq!(judgement.looks, looks, "{evidence:?}");
            assert!(judgement.why.iter().any(|why| why.contains(words)), "{words}: {judgement:?}");
        }
    }
}
