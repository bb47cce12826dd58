//! What is in deploy/prometheus and deploy/grafana, judged by Prometheus, its tools and Grafana's schema, and held to the
//! names in the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

mod alerts;
mod attack;
mod attacker;
mod dashboard;
mod full;
mod names;
mod runbook;

/// The path of a file of the project.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A file of the project.
fn read(name: &str) -> String {
    let path = path(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What follows `start` on the lines of a text.
fn after<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(start)).collect()
}

const RULES: &str = "deploy/prometheus/backstop.rules.yml";
const RULES_TEST: &str = "deploy/prometheus/backstop.rules.test.yml";
const DASHBOARD: &str = "deploy/grafana/backstop.json";
const ALERTS: &str = "docs/alerts.md";
