//! What the server remembers of its decisions, with what it knows now: who exists by now, whose name is spelt like it, and
//! what speaks against enforcing what is only watched.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::message::Directory;
use crate::{
    address::{Address, Domain},
    directory::Directories,
    history::{Evidence, History, Rule, Summary, Watched, judge},
    policy::{Reason, RecipientFact, Rules, Verdict},
    server::Snapshot,
};

pub use crate::history::{Count, Judgement, Listed, Looks, Sample};

/// What was decided since a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When it was made, in seconds since 1970 UTC.
    pub now: u64,
    /// The beginning of what it tells, likewise; later than was asked for where no more is known.
    pub since: u64,
    /// So long the server has run since then.
    pub running_seconds: u64,
    /// `enforce` or `monitor`, now.
    pub mode: String,
    /// By reason, verdict, and whether they were enforced; the most frequent first.
    pub decisions: Vec<Count>,
    /// Refusals that came too fast: they are counted above, and missing below.
    pub missed: u64,
    /// The counts of recipients, clients and networks may be too low: there were more than there is room for.
    pub at_least: bool,
    /// Refusals that were enforced, by reason and domain.
    pub refused: Vec<Refused>,
    /// Refusals that were only watched, by reason and domain, and how they look.
    pub would_refuse: Vec<WouldRefuse>,
    /// What is only watched now, and how it looks to enforce it.
    pub watching: Vec<Watching>,
    /// Recipients that nobody has, the most frequent first.
    pub unknown_recipients: Vec<UnknownRecipient>,
    /// Clients that were refused anything, IPv6 by /64.
    pub clients: Vec<Listed>,
    /// The same by /24 and /48.
    pub networks: Vec<Listed>,
    /// What the greylist found, by the outcomes of `backstop_greylist_total`.
    pub greylist: BTreeMap<String, u64>,
    /// How each directory is now.
    pub directories: Vec<Directory>,
}

/// A reason in a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// As it is configured or was detected; empty where no recipient was asked for.
    pub domain: String,
    /// `reject` or `defer`.
    pub verdict: String,
    /// How often.
    pub times: u64,
    /// Three of them, newest last; those of insiders and of clients that write to recipients that exist first of all.
    pub samples: Vec<Sample>,
}

/// A reason in a domain where it was only watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldRefuse {
    /// What would have been refused.
    #[serde(flatten)]
    pub rule: Refused,
    /// Of these, by insiders.
    pub insiders: u64,
    /// Of these, by clients that also write to recipients that exist.
    pub good: u64,
    /// Recipients of these that a directory knows by now.
    pub known_now: Vec<String>,
    /// How it looks to enforce it; nothing if it is enforced by now.
    pub judgement: Option<Judgement>,
}

/// A mode, domain or reason that is only watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// `mode`, `domain:NAME` or `reason:NAME`.
    pub what: String,
    /// In seconds since 1970 UTC.
    pub since: u64,
    /// So often it would have refused.
    pub times: u64,
    /// How it looks to enforce it.
    #[serde(flatten)]
    pub judgement: Judgement,
}

/// A recipient that nobody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownRecipient {
    /// How often, and by whom.
    #[serde(flatten)]
    pub listed: Listed,
    /// A directory knows it by now.
    pub exists_now: bool,
    /// Who is spelt almost like it, in directories whose addresses are in memory.
    pub similar: Vec<String>,
}

/// The report of the last so many seconds. `directories`: how they are.
pub async fn report(
    snapshot: &Snapshot,
    history: &History,
    seconds: u64,
    directories: Vec<Directory>,
) -> Report {
    let summary = history.summary(seconds).await;
    let (unknown_recipients, known_now) = unknown(&snapshot.directories, &summary.unknown_recipients).await;
    let (is_idle, is_incomplete) = (is_idle(&summary), is_incomplete(&summary));
    let watched = |rule: &Rule| watched_since(&snapshot.rules, &summary, rule);
    let (mut refused, mut would_refuse) = (Vec::new(), Vec::new());
    let mut sums: Vec<Evidence> = vec![Evidence::default(); summary.watched.len()];
    for (at, sum) in sums.iter_mut().enumerate() {
        sum.watched_seconds = history.deciding_since(summary.watched[at].since.max(summary.since)).await;
        (sum.is_idle, sum.is_incomplete) = (is_idle, is_incomplete);
        // Also of rules that are not remembered any more.
        let of_it = known_now.iter().filter(|known| {
            let rule = Rule {
                reason: known.last.reason,
                domain: known.last.domain.clone(),
                is_permanent: true,
                enforced: false,
            };
            is_watched_by(&snapshot.rules, &summary.watched[at].what, &rule)
        });
        sum.known_now = of_it.count() as u64;
    }
    for (rule, entry) in &summary.rules {
        let told = Refused {
            reason: rule.reason,
            domain: rule.domain.clone(),
            verdict: if rule.is_permanent { "reject" } else { "defer" }.to_owned(),
            times: entry.times,
            samples: entry.samples.clone(),
        };
        if rule.enforced {
            refused.push(told);
            continue;
        }
        let is_of_rule =
            |known: &&Listed| (known.last.reason, &known.last.domain) == (rule.reason, &rule.domain);
        let known_now = known_now.iter().filter(is_of_rule).map(|known| known.what.clone());
        let known_now: Vec<String> = known_now.collect();
        let evidence = Evidence {
            watched_seconds: 0,
            times: entry.times,
            insiders: entry.insiders,
            good: entry.good,
            known_now: known_now.len() as u64,
            no_answer: if rule.reason == Reason::DirectoryUnavailable { entry.times } else { 0 },
            is_idle,
            is_deferral: !rule.is_permanent,
            is_incomplete,
        };
        for (watched, sum) in summary.watched.iter().zip(&mut sums) {
            if is_watched_by(&snapshot.rules, &watched.what, rule) {
                *sum = sum.and(Evidence { known_now: 0, ..evidence });
            }
        }
        let judgement = match watched(rule) {
            Some(since) => {
                let watched_seconds = history.deciding_since(since.max(summary.since)).await;
                Some(judge(Evidence { watched_seconds, ..evidence }))
            }
            None => None,
        };
        let (insiders, good) = (entry.insiders, entry.good);
        would_refuse.push(WouldRefuse { rule: told, insiders, good, known_now, judgement });
    }
    let watching = summary.watched.iter().zip(sums).map(|(watched, sum)| Watching {
        what: watched.what.clone(),
        since: watched.since,
        times: sum.times,
        judgement: judge(sum),
    });
    Report {
        now: summary.now,
        since: summary.since,
        running_seconds: summary.running_seconds,
        mode: if snapshot.rules.monitor { "monitor" } else { "enforce" }.to_owned(),
        watching: watching.collect(),
        decisions: summary.decisions,
        missed: summary.missed,
        at_least: summary.at_least,
        refused,
        would_refuse,
        unknown_recipients,
        clients: first(summary.clients),
        networks: first(summary.networks),
        greylist: summary.greylist,
        directories,
    }
}

/// What these rules only watch, by the names of [`Watched::what`].
#[must_use]
pub fn watched(rules: &Rules) -> Vec<String> {
    let mode = rules.monitor.then(|| MODE.to_owned());
    let domains = rules.monitor_domains.iter().map(|pattern| format!("{DOMAIN}{pattern}"));
    let reasons = rules.monitor_reasons.iter().map(|reason| format!("{REASON}{reason}"));
    mode.into_iter().chain(domains).chain(reasons).collect()
}

/// Since when the rule is only watched; `None`: it is not.
fn watched_since(rules: &Rules, summary: &Summary, rule: &Rule) -> Option<u64> {
    let of_rule = |watched: &&Watched| is_watched_by(rules, &watched.what, rule);
    summary.watched.iter().filter(of_rule).map(|watched| watched.since).min()
}

fn is_watched_by(rules: &Rules, what: &str, rule: &Rule) -> bool {
    if let Some(reason) = what.strip_prefix(REASON) {
        return reason == rule.reason.as_str();
    }
    if let Some(name) = what.strip_prefix(DOMAIN) {
        // A pattern is watched where any domain below it is.
        let domain =
            if rule.domain.starts_with('.') { format!("x{}", rule.domain) } else { rule.domain.clone() };
        let Ok(domain) = Domain::parse(&domain) else { return false };
        let mut patterns = rules.monitor_domains.iter();
        return patterns.any(|pattern| pattern.to_string() == name && pattern.matches(&domain));
    }
    what == MODE
}

/// Nothing was decided: that nobody would have been refused says nothing.
fn is_idle(summary: &Summary) -> bool {
    summary.decisions.iter().all(|count| count.reason == Reason::Disabled)
}

/// Some that were only watched were forgotten, and might speak against it.
fn is_incomplete(summary: &Summary) -> bool {
    let watched = |count: &&Count| !count.enforced && count.verdict != Verdict::Continue.as_str();
    let counted: u64 = summary.decisions.iter().filter(watched).map(|count| count.times).sum();
    let listed = summary.rules.iter().filter(|(rule, _)| !rule.enforced).map(|(_, entry)| entry.times);
    summary.is_robbed || (summary.missed > 0 && counted > listed.sum())
}

/// The first of them; and all that were only watched and exist by now. Looks in memory; servers are not asked.
async fn unknown(directories: &Arc<Directories>, listed: &[Listed]) -> (Vec<UnknownRecipient>, Vec<Listed>) {
    let (mut unknown, mut known) = (Vec::new(), Vec::new());
    for (at, listed) in listed.iter().cloned().enumerate() {
        // There may be thousands.
        tokio::task::coop::consume_budget().await;
        let exists_now = match Address::parse(&listed.what) {
            Ok(address) => {
                let found = directories.find_within(Duration::ZERO, &address, false).await;
                matches!(found.fact, RecipientFact::Exists(_))
            }
            Err(_) => false,
        };
        if exists_now && !listed.last.enforced {
            known.push(listed.clone());
        }
        if at < MOST {
            unknown.push(UnknownRecipient { listed, exists_now, similar: Vec::new() });
        }
    }
    let directories = Arc::clone(directories);
    let given = unknown.clone();
    // Large lists take their time.
    let searched = tokio::task::spawn_blocking(move || {
        for unknown in &mut unknown {
            if let (false, Ok(address)) = (unknown.exists_now, Address::parse(&unknown.listed.what)) {
                unknown.similar = directories.similar(&address, MOST_SIMILAR);
            }
        }
        unknown
    });
    (searched.await.unwrap_or(given), known)
}

fn first(mut listed: Vec<Listed>) -> Vec<Listed> {
    listed.truncate(MOST);
    listed
}

const MODE: &str = "mode";
const DOMAIN: &str = "domain:";
const REASON: &str = "reason:";
/// Of each list.
const MOST: usize = 100;
/// Who is spelt like it.
const MOST_SIMILAR: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::DomainPattern;

    #[test]
    fn what_watches_a_rule() {
        let patterns = ["example.test", ".example.org"].map(|name| DomainPattern::parse(name).unwrap());
        let rules = Rules {
            monitor: true,
            monitor_domains: patterns.to_vec(),
            monitor_reasons: [Reason::Greylisted].into(),
            ..Rules::default()
        };
        assert_eq!(
            watched(&rules),
            ["mode", "domain:example.test", "domain:.example.org", "reason:greylisted"]
        );
        for (what, domain, expected) in [
            ("mode", "", true),
            ("domain:example.test", "example.test", true),
            ("domain:example.test", "mx.example.test", false),
            ("domain:example.test", "", false),
            ("domain:.example.org", "a.example.org", true),
            ("domain:.example.org", ".example.org", true),
            ("domain:.example.org", "example.org", false),
            // no longer in the configuration
            ("domain:example.net", "example.net", false),
            ("reason:greylisted", "example.net", false),
            ("reason:unknown-recipient", "example.net", true),
        ] {
            let domain = domain.to_owned();
            let rule = Rule { reason: Reason::UnknownRecipient, domain, is_permanent: true, enforced: false };
            assert_eq!(is_watched_by(&rules, what, &rule), expected, "{what} {}", rule.domain);
        }
    }

    #[test]
    fn what_was_forgotten_may_speak_against_it() {
        let count = |enforced, times| Count {
            reason: Reason::UnknownRecipient,
            verdict: "reject".to_owned(),
            enforced,
            times,
        };
        let summary = |missed, is_robbed| Summary {
            missed,
            is_robbed,
            decisions: vec![count(true, 900), count(false, 3)],
            ..Summary::default()
        };
        assert!(!is_incomplete(&summary(0, false)));
        assert!(is_incomplete(&summary(0, true)));
        assert!(is_incomplete(&summary(1, false)), "three that were watched, and none of them is listed");
        let enforced = Summary { decisions: vec![count(true, 900)], ..summary(1, false) };
        assert!(!is_incomplete(&enforced), "what was watched is none of it");
    }

    #[test]
    fn a_server_that_nobody_asks_or_that_is_disabled_tells_nothing() {
        let passed = |reason| Count { reason, verdict: "continue".to_owned(), enforced: true, times: 9 };
        for (decisions, expected) in [
            (vec![], true),
            (vec![passed(Reason::Disabled)], true),
            (vec![passed(Reason::Disabled), passed(Reason::Ok)], false),
        ] {
            assert_eq!(is_idle(&Summary { decisions, ..Summary::default() }), expected);
        }
    }
}
