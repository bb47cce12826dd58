//! The pages: what Prometheus reads, and what says whether the process lives and is ready.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use backstop_harness::wait_until;
use milter_protocol::command::Command as Milter;

use crate::mta::Mta;
use crate::site;

/// promtool(1) also holds names and help texts to Prometheus' habits.
#[test]
fn promtool_finds_no_fault() {
    let backstop = site::backstop().start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
    let mut broken = Mta::connect(backstop.milter_port());
    broken.write(&[0; 4]);
    broken.is_closed();
    assert_eq!(backstop.command(&["reload"]).status, 0);
    wait_until(SOON, "an error", || backstop.metric("backstop_protocol_errors_total", &[]) == 1.0);
    let page = backstop.http_get("/metrics");
    let (status, output) = promtool(&page);
    assert!(status && output.is_empty(), "{output}");
    // and it does find faults
    let (status, output) = promtool("# TYPE a counter\na{b=\"c} 1\n");
    assert!(!status && !output.is_empty());
}

/// A series that begins with its first event hides that event from `increase`.
#[test]
fn each_kind_of_error_begins_at_zero() {
    let page = site::backstop().start().http_get("/metrics");
    for kind in
        ["cut-short", "silent", "io"].into_iter().chain(milter_protocol::session::ProtocolError::KINDS)
    {
        assert!(
            page.contains(&format!("backstop_protocol_errors_total{{kind=\"{kind}\"}} 0\n")),
            "{kind}: {page}"
        );
    }
}

/// What a page shows is what is registered, and the other way round as far as it has happened.
#[test]
fn every_family_on_the_page_is_on_the_list() {
    let backstop = site::backstop().start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
    let page = backstop.http_get("/metrics");
    let shown: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    let families = backstop::daemon::families();
    let listed: BTreeSet<&str> = families.iter().map(|family| family.name.as_str()).collect();
    assert!(shown.is_subset(&listed), "{:?}", shown.difference(&listed));
    assert!(shown.len() > 12, "{shown:?}");
    // series without labels are there from the start: an alert can tell 0 from "not scraped"
    for family in families.iter().filter(|family| family.labels.is_empty()) {
        assert!(shown.contains(family.name.as_str()), "{}", family.name);
    }
}

#[test]
fn every_family_is_documented_and_every_documented_one_is_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let documented: BTreeSet<&str> = words.filter(|word| word.starts_with("backstop_")).collect();
    let families = backstop::daemon::families();
    let missing: Vec<String> = families
        .iter()
        .filter(|family| !documented.contains(family.name.as_str()))
        .map(|family| format!("{} ({}){}", family.name, family.labels.join(", "), family.help))
        .collect();
    assert!(missing.is_empty(), "docs/metrics.md says nothing of\n{}", missing.join("\n"));
    let unknown: Vec<&&str> =
        documented.iter().filter(|word| !families.iter().any(|family| belongs(word, &family.name))).collect();
    assert!(unknown.is_empty(), "docs/metrics.md tells of what is not there: {unknown:?}");
    let labels =
        families.iter().flat_map(|family| family.labels.iter().map(move |label| (&family.name, label)));
    for (family, label) in labels {
        assert!(text.contains(label.as_str()), "docs/metrics.md does not name the label {label} of {family}");
    }
}

/// The row of each family tells its type and its labels.
#[test]
fn every_row_is_true() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));
    let text = text.expect("it is there");
    let backstop = site::backstop().start();
    let page = backstop.http_get("/metrics");
    let mut seen = BTreeSet::new();
    for family in backstop::daemon::families() {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{}` | ", family.name)));
        let row = row.unwrap_or_else(|| panic!("docs/metrics.md has no row for {}", family.name));
        let cells: Vec<&str> = row.split(" | ").collect();
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        assert_eq!(cells[2], labels, "{row}");
        let begin = format!("# TYPE {} ", family.name);
        match page.lines().find_map(|line| line.strip_prefix(&begin)) {
            Some(kind) => assert_eq!(cells[1], kind, "{row}"),
            // no series yet
            None => assert_eq!(family.name.ends_with("_total"), cells[1] == "counter", "{row}"),
        }
        assert!(family.help.ends_with('.') && family.help.len() > 20, "{family:?}");
        let _ = seen.insert(family.name);
    }
    assert!(seen.len() > 40, "{seen:?}");
}

/// The numbers move with what happens.
#[test]
fn what_happens_is_counted() {
    let backstop = site::backstop().env("BACKSTOP__LIMITS__SESSIONS", "70").start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.mail();
    let _ = mta.rcpt("<anna@example.test>");
    let _ = mta.rcpt("<nobody@example.test>");
    let _ = mta.rcpt("<unpaid@example.test>");
    let _ = mta.send(&Milter::Abort);
    let count = |name: &str, labels: &[(&str, &str)]| backstop.metric(&format!("backstop_{name}"), labels);
    wait_until(SOON, "the abort", || count("callbacks_total", &[("callback", "abort")]) == 1.0);
    for (name, labels, expected) in [
        ("sessions_total", &[][..], 1.0),
        ("sessions_open", &[], 1.0),
        ("sessions_limit", &[], 70.0),
        ("callbacks_total", &[("callback", "negotiate")], 1.0),
        ("callbacks_total", &[("callback", "rcpt")], 3.0),
        ("callback_seconds_count", &[("callback", "rcpt")], 3.0),
        ("decisions_total", &[("stage", "rcpt"), ("verdict", "continue"), ("reason", "ok")], 1.0),
        (
            "decisions_total",
            &[("verdict", "reject"), ("reason", "unknown-recipient"), ("enforced", "yes")],
            1.0,
        ),
        ("decisions_total", &[("verdict", "reject"), ("reason", "suspended-recipient")], 1.0),
        ("backscatter_prevented_total", &[], 1.0),
        ("directory_addresses", &[("directory", "people")], f64::from(site::people())),
        ("directory_up", &[("directory", "people")], 1.0),
        ("mode", &[("mode", "enforce")], 1.0),
        ("mode", &[("mode", "monitor")], 0.0),
        ("enabled", &[], 1.0),
        ("reload_succeeded", &[], 1.0),
        ("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        assert_eq!(count(name, labels), expected, "{name} {labels:?}");
    }
    drop(mta);
    wait_until(SOON, "the end", || count("sessions_open", &[]) == 0.0);
}

/// What a peer chooses never becomes a label: their number stays as it is.
#[test]
fn strangers_make_no_series() {
    let backstop = site::backstop().start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
    mta.mail();
    // One who guesses so much is blocked: that reason has a series then.
    for number in 0..30 {
        let _ = mta.rcpt(&format!("<y{number}@example.test>"));
    }
    let before = backstop.http_get("/metrics").lines().count();
    for number in 0..100 {
        let _ = mta.rcpt(&format!("<x{number}@example.test>"));
    }
    assert_eq!(backstop.http_get("/metrics").lines().count(), before);
}

#[test]
fn ready_waits_for_the_directories_and_live_does_not() {
    let backstop = site::backstop().file("addresses", "").start();
    let (status, text) = backstop.http("/ready");
    assert_eq!((status, text.as_str()), (503, "not ready, waiting for: directory people\n"));
    assert_eq!(backstop.http_get("/live"), "live\n");
    assert_eq!(backstop.metric("backstop_directory_up", &[("directory", "people")]), 0.0);
    backstop.write("addresses", "anna@example.test\n");
    wait_until(SOON, "the list", || backstop.http("/ready").0 == 200);
    assert_eq!(backstop.http_get("/ready"), "ready\n");
    wait_until(SOON, "the metric", || {
        backstop.metric("backstop_directory_up", &[("directory", "people")]) == 1.0
    });
    assert_eq!(backstop.http("/unheard-of").0, 404);
}

/// A histogram has three names on the page.
fn belongs(word: &str, family: &str) -> bool {
    let rest = word.strip_prefix(family);
    rest.is_some_and(|rest| matches!(rest, "" | "_bucket" | "_sum" | "_count"))
}

/// What promtool(1) says of a page: whether it is fine, and what it has to say.
pub(crate) fn promtool(page: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tests/install installs promtool");
    child.stdin.take().expect("it is piped").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

const SOON: Duration = Duration::from_secs(20);
