//! Rules, dashboard and runbook use the metrics, labels and values that the code has, and no others.

use std::collections::BTreeSet;

use backstop::policy::Reason;
use backstop::telemetry::Family;

use super::{ALERTS, DASHBOARD, RULES, RULES_TEST, read};

#[test]
fn every_metric_that_is_named_is_there() {
    let families = backstop::daemon::families();
    for file in [RULES, RULES_TEST, DASHBOARD, ALERTS] {
        let text = read(file);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<&str> = words.filter(|word| word.starts_with("backstop_")).collect();
        assert!(named.len() > 8, "{file}: {named:?}");
        let unknown: Vec<&&str> = named.iter().filter(|name| family(&families, name).is_none()).collect();
        assert!(unknown.is_empty(), "{file} names what is not there: {unknown:?}");
    }
}

#[test]
fn every_label_and_value_is_there() {
    let families = backstop::daemon::families();
    let documented = read("docs/metrics.md");
    let mut reasons = BTreeSet::new();
    for file in [RULES, RULES_TEST, DASHBOARD, ALERTS] {
        for (name, label, value) in selectors(&read(file).replace("\\\"", "\"")) {
            let labels = &family(&families, &name).unwrap_or_else(|| panic!("{file}: {name}")).labels;
            if FROM_OUTSIDE.contains(&&label[..]) {
                continue;
            }
            assert!(labels.contains(&label), "{file}: {name} has no label {label}");
            for value in value.split('|') {
                if label == "reason" {
                    assert!(value.parse::<Reason>().is_ok(), "{file}: no reason {value}");
                    reasons.insert(value.to_owned());
                } else if label != "list" && label != "directory" {
                    let told = documented.contains(&format!("`{value}`"));
                    assert!(told, "{file}: docs/metrics.md knows no {label} {value} of {name}");
                }
            }
        }
    }
    assert!(reasons.len() > 5, "{reasons:?}");
}

/// Each family with something to see is on the dashboard, or in a rule; what is in neither is listed here, with the reason.
#[test]
fn every_metric_is_used() {
    let text = read(RULES) + &read(DASHBOARD);
    let used: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let families = backstop::daemon::families();
    let unused = families.iter().map(|family| family.name.as_str()).filter(|name| {
        !used.iter().any(|word| word.strip_prefix(name).is_some_and(|rest| SUFFIXES.contains(&rest)))
    });
    assert_eq!(unused.collect::<Vec<_>>(), UNUSED);
}

/// The family of a metric's name; a histogram has three names.
fn family<'a>(families: &'a [Family], name: &str) -> Option<&'a Family> {
    families
        .iter()
        .find(|family| name.strip_prefix(family.name.as_str()).is_some_and(|rest| SUFFIXES.contains(&rest)))
}

/// `(metric, label, value)` of every `metric{label="value"}` in a text.
fn selectors(text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("backstop_") {
        let Some((name, rest)) = text[at..].split_once('{') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let inner = rest.split_once('}').map_or("", |(inner, _)| inner);
        for matcher in inner.split("\",") {
            let at = matcher.find(['=', '!']).unwrap_or_else(|| panic!("{name}: {matcher}"));
            let (label, value) = matcher.split_at(at);
            let value = value.trim_start_matches(['=', '!', '~']).trim_matches('"');
            found.push((name.to_owned(), label.trim().to_owned(), value.to_owned()));
        }
    }
    found
}

const SUFFIXES: [&str; 4] = ["", "_bucket", "_sum", "_count"];
/// Prometheus' own labels, and those of buckets.
const FROM_OUTSIDE: [&str; 3] = ["job", "instance", "le"];
/// Only of interest to who looks for a cause: docs/metrics.md tells of them.
const UNUSED: [&str; 9] = [
    "backstop_directory_unverified_total",
    "backstop_dns_list_total",
    "backstop_file_entries",
    "backstop_reverse_dns_total",
    "backstop_store_entries",
    "backstop_store_evicted",
    "backstop_store_request_seconds",
    "backstop_tarpit_seconds_total",
    "backstop_tasks",
];
