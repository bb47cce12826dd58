//! The dashboard: Grafana's published schema knows every key of it, and it works wherever it is imported.

use std::collections::BTreeSet;
use std::process::Command;

use backstop_harness::{CommandOutput, Prometheus, TempDir};
use serde_json::Value;

use super::{DASHBOARD, path, read};

/// One query of the dashboard, as it is sent when everything is selected.
pub(super) struct Query {
    /// The panel's title.
    pub(super) panel: String,
    /// The panel's type, e.g. `stat`.
    pub(super) kind: String,
    /// Which of the panel's queries: `A`, `B` …
    pub(super) target: String,
    pub(super) query: String,
}

/// Every query of the dashboard; `prometheus` says what the variables may be, and rates are those of `interval`.
pub(super) fn queries(prometheus: &Prometheus, interval: &str) -> Vec<Query> {
    let dashboard = dashboard();
    let mut values =
        vec![("$__rate_interval".to_owned(), interval.to_owned()), ("$__range".to_owned(), "1h".to_owned())];
    let replaced = |text: &str, values: &[(String, String)]| {
        values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    };
    for variable in
        array(&dashboard["templating"]["list"]).iter().filter(|variable| variable["type"] == "query")
    {
        let query = replaced(text(&variable["query"]), &values);
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) =
            inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values(selector, label)");
        let all = prometheus.label_values(selector, label);
        assert!(!all.is_empty(), "nothing to select: {query}");
        values.push((
            format!("${}", text(&variable["name"])),
            format!("({})", all.join("|").replace('.', "\\\\.")),
        ));
    }
    let query = |panel: &str, kind: &Value, target: &Value, query: &Value| Query {
        panel: panel.to_owned(),
        kind: text(kind).to_owned(),
        target: text(target).to_owned(),
        query: replaced(text(query), &values),
    };
    let annotations = array(&dashboard["annotations"]["list"]).iter();
    let annotations =
        annotations.map(|one| query(text(&one["name"]), &Value::Null, &Value::Null, &one["expr"]));
    let panels = panels(&dashboard);
    let targets = panels.iter().flat_map(|panel| {
        let targets = array(&panel["targets"]).iter();
        targets.map(|target| query(text(&panel["title"]), &panel["type"], &target["refId"], &target["expr"]))
    });
    annotations.chain(targets).collect()
}

#[test]
fn grafanas_schema_knows_every_key() {
    let output = check(&read(DASHBOARD));
    assert_eq!((output.status, output.stdout.as_str()), (0, ""), "{output:?}");
    // and it does find faults
    for (right, wrong) in [
        ("\"fieldConfig\"", "\"fieldconfig\""),
        ("\"fillOpacity\"", "\"fillOpacty\""),
        ("\"legendFormat\"", "\"legend\""),
        ("\"schemaVersion\"", "\"schema\""),
    ] {
        let output = check(&read(DASHBOARD).replacen(right, wrong, 1));
        assert_eq!(output.status, 1, "{wrong}: {output:?}");
    }
}

/// It names no data source of its own, and panels neither share an id nor lie on each other.
#[test]
fn it_works_on_import() {
    let dashboard = dashboard();
    assert!(dashboard.get("id").is_none(), "the id is the importing Grafana's to give");
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = text(&panel["title"]);
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: the id is taken");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
        assert!(x + w <= 24, "{title} is too wide");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title} lies on another panel");
        }
        if panel["type"] != "row" {
            assert!(!text(&panel["description"]).is_empty(), "{title} has no description");
            assert!(!array(&panel["targets"]).is_empty(), "{title} asks nothing");
        }
    }
    let variables: Vec<&str> =
        array(&dashboard["templating"]["list"]).iter().map(|variable| text(&variable["name"])).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
    let json = read(DASHBOARD);
    for line in json.lines().filter(|line| line.contains("\"uid\": ")) {
        assert!(
            line.contains("${datasource}") || line.contains("\"backstop\""),
            "a fixed data source: {line}"
        );
    }
    for line in json.lines().filter(|line| line.contains("\"expr\": ") && line.contains("backstop_")) {
        for selector in line.split("backstop_").skip(1) {
            assert!(
                selector.contains(r#"{job=~\"$job\", instance=~\"$instance\""#),
                "not all are selected: {line}"
            );
        }
    }
}

/// docs/dashboard.md has a section for each row, and in it each panel, in the order of the dashboard.
#[test]
fn every_panel_is_explained() {
    let dashboard = dashboard();
    let mut shown: Vec<(&str, Vec<&str>)> = Vec::new();
    for panel in panels(&dashboard) {
        let title = text(&panel["title"]);
        match shown.last_mut() {
            _ if panel["type"] == "row" => shown.push((title, Vec::new())),
            Some((_, titles)) => titles.push(title),
            None => panic!("{title} is in no row"),
        }
    }
    let docs = read("docs/dashboard.md");
    let mut explained = Vec::new();
    for section in docs.split("\n## ").skip(1) {
        let (heading, body) = section.split_once('\n').expect("it has a text");
        let rows = body.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let mut titles = Vec::new();
        for row in rows.filter(|row| !row.starts_with("panel | ")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let [title, tells, to_do] = cells.as_slice() else { panic!("docs/dashboard.md: {row}") };
            assert!(tells.len() > 20 && to_do.len() > 5, "docs/dashboard.md: {row}");
            titles.push(*title);
        }
        if !titles.is_empty() {
            explained.push((heading, titles));
        }
    }
    assert_eq!(explained, shown);
}

/// Reads a dashboard as Grafana's schema has it and writes it again: what got lost or changed is printed.
fn check(dashboard: &str) -> CommandOutput {
    let dir = TempDir::new("dashboard");
    let file = dir.write("dashboard.json", dashboard);
    let mut python = Command::new(path("target/harness/python/bin/python"));
    CommandOutput::of(python.arg(path("tests/integration/prometheus/grafana_schema.py")).arg(file))
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).expect("it is JSON")
}

/// The panels, also those within rows.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let outer = array(&dashboard["panels"]).iter();
    outer.flat_map(|panel| std::iter::once(panel).chain(array(&panel["panels"]))).collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
