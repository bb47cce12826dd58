//! A reverse-NDR attack through a real Postfix, and everybody who has to know sees it, in the same numbers: Prometheus, an
//! alert that reaches a real Alertmanager and the postmaster, the dashboard, `backstop report`, the log, the status page.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backstop_harness::{Alert, Alertmanager, Backstop, Postfix, Prometheus, Sink, wait_until};
use milter_protocol::command::{ClientAddress, Command as Milter, Connect};
use serde_json::Value;

use crate::metrics;
use crate::mta::Mta;

use super::attacker::{Told, WAVES, relay, site, wave};
use super::{RULES, dashboard, read};

#[test]
fn it_is_seen_by_whoever_has_to_know() {
    let backstop = site();
    let postfix = relay(&backstop).start();
    let postmaster = Sink::start();
    let alertmanager = Alertmanager::start(postmaster.port());
    let prometheus = Prometheus::start(backstop.http_port(), &at_once(&read(RULES)), &alertmanager);
    let _open = open_session(&backstop);
    wait_until(SOON, "the first scrape", || prometheus.sum("backstop_enabled") == 1.0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let mut told = Told::default();
    for number in 0..WAVES {
        wave(&postfix, number, &mut told);
        broken_peer(&backstop);
        wait_until(SOON, "Prometheus to see the wave", || {
            prometheus.sum(RECIPIENTS) >= recipients(&backstop)
        });
    }
    told.is_an_attack();
    let blocked = blocked(&backstop, &told);

    prometheus_counts_it(&prometheus, &told);
    it_is_alerted(&alertmanager, &told, blocked);
    let letter = postmaster.wait_for("BackstopReverseNdrAttack");
    assert_eq!(letter.rcpts, ["postmaster@example.net"]);
    the_dashboard_shows_it(&prometheus, &told, blocked, since);
    the_report_tells_it(&backstop, &told);
    it_is_logged(&backstop, &postfix, &told);
    the_page_shows_it(&backstop, &told, blocked);

    every_panel_has_data(&prometheus);
    let (is_fine, output) = metrics::promtool(&backstop.http_get("/metrics"));
    assert!(is_fine && output.is_empty(), "{output}");
    what_the_admin_does_is_alerted(&backstop, &alertmanager);
}

fn prometheus_counts_it(prometheus: &Prometheus, told: &Told) {
    let series = prometheus.query(r#"sum by (reason) (backstop_decisions_total{stage="rcpt"}) > 0"#);
    let series = series.expect("it is a query");
    let counted: BTreeMap<String, f64> =
        series.into_iter().map(|(labels, value)| (labels["reason"].clone(), value)).collect();
    assert_eq!(counted, told.reasons);
    assert_eq!(prometheus.sum("backstop_backscatter_prevented_total"), told.times("unknown-recipient"));
}

/// The alerts of an attack, with its numbers; and nothing for which there is no reason.
fn it_is_alerted(alertmanager: &Alertmanager, told: &Told, blocked: f64) {
    let says = |alerts: &[Alert], name: &str, text: &str| {
        let mut named = alerts.iter().filter(|alert| alert.labels["alertname"] == name);
        named.any(|alert| alert.annotations["description"].starts_with(text))
    };
    wait_until(SOON, "the alerts", || {
        let alerts = alertmanager.alerts();
        says(&alerts, "BackstopHarvest", &format!("Blocked now: {blocked}."))
            && ["BackstopReverseNdrAttack", "BackstopHarvestDistributed", "BackstopDirectoryDown"]
                .iter()
                .all(|name| says(&alerts, name, ""))
    });
    // The rate of the last five minutes, in which all of it was.
    let attack = told.times("unknown-recipient") + told.times("harvest");
    wait_until(SOON, "the alert to tell the rate", || {
        let alerts = alertmanager.alerts();
        let of_attack = |alert: &&Alert| alert.labels["alertname"] == "BackstopReverseNdrAttack";
        let alert = alerts.iter().find(of_attack).expect("it fires");
        let rate = alert.annotations["description"].split(' ').next().and_then(|rate| rate.parse().ok());
        is_about(rate.unwrap_or(0.0) * 300.0, attack)
    });
    let alerts = alertmanager.alerts();
    let down = alerts.iter().find(|alert| alert.labels["alertname"] == "BackstopDirectoryDown");
    assert_eq!(down.expect("it fires").labels["directory"], "empty");
    for name in [
        "BackstopDown",
        "BackstopDisabled",
        "BackstopReloadFailed",
        "BackstopStoreDown",
        "BackstopMailPutOff",
    ] {
        assert!(alerts.iter().all(|alert| alert.labels["alertname"] != name), "{name}: {alerts:?}");
    }
}

/// The lines of the panels that an attack concerns: what is under each adds up to what the attacker was told.
fn the_dashboard_shows_it(prometheus: &Prometheus, told: &Told, blocked: f64, since: u64) {
    let seconds = f64::from(INTERVAL);
    let queries = dashboard::queries(prometheus, &format!("{INTERVAL}s"));
    let of = |kind: &str, panel: &str, target: &str| {
        let found = queries
            .iter()
            .find(|query| (&*query.kind, &*query.panel, &*query.target) == (kind, panel, target));
        &found.unwrap_or_else(|| panic!("no {kind} {panel}, {target}")).query
    };
    // Until then the last of it is not in every window.
    wait_until(SOON, "the attack to be over on the dashboard", || {
        prometheus.sum(of("stat", "Attack rate", "A")) == 0.0
    });
    let unknown = told.times("unknown-recipient");
    // The greylist takes all of them for one that comes back too early: one network, one domain of the sender, one recipient.
    let put_off = told.times("harvest") + told.times("greylisted");
    for (kind, panel, target, expected) in [
        ("stat", "Attack rate", "A", vec![("", unknown + told.times("harvest"))]),
        ("timeseries", "Attack rate", "A", vec![("", unknown)]),
        ("timeseries", "Attack rate", "B", vec![("", told.times("harvest"))]),
        ("timeseries", "Attack rate", "C", vec![("", told.times("ok"))]),
        ("timeseries", "Backscatter prevented", "A", vec![("", unknown * 60.0)]),
        (
            "timeseries",
            "Reasons",
            "A",
            told.reasons.iter().map(|(reason, times)| (&**reason, *times)).collect(),
        ),
        ("timeseries", "Verdicts", "A", vec![("reject", unknown), ("defer", put_off)]),
        ("timeseries", "Harvesters", "C", vec![("", blocked * seconds)]),
        ("timeseries", "Greylist and tarpit", "A", vec![("early", told.times("greylisted") - 1.0)]),
    ] {
        let query = of(kind, panel, target);
        let lines = prometheus.area(query, since).unwrap_or_else(|error| panic!("{panel}: {error}"));
        for (label, expected) in expected {
            let has_label = |labels: &BTreeMap<String, String>| {
                label.is_empty() || labels.values().any(|value| value == label)
            };
            let area: f64 = lines.iter().filter(|(labels, _)| has_label(labels)).map(|(_, area)| area).sum();
            assert!(is_about(area, expected), "{panel} {target} {label}: {area}, not {expected}");
        }
    }
    for (panel, expected) in
        [("Backscatter prevented", unknown), ("Harvesters blocked", blocked), ("Directories down", 1.0)]
    {
        let shown = prometheus.sum(of("stat", panel, "A"));
        assert!(is_about(shown, expected), "{panel}: {shown}, not {expected}");
    }
}

fn the_report_tells_it(backstop: &Backstop, told: &Told) {
    let output = backstop.command(&["report", "--json", "--top", "1000"]);
    assert_eq!(output.status, 0, "{output:?}");
    let report: Value = serde_json::from_str(&output.stdout).expect("it prints JSON");
    let mut counted: BTreeMap<String, f64> = BTreeMap::new();
    for count in report["decisions"].as_array().into_iter().flatten() {
        let (reason, times) = (count["reason"].as_str(), count["times"].as_f64());
        *counted.entry(reason.unwrap_or_default().to_owned()).or_default() += times.unwrap_or(0.0);
    }
    assert_eq!(counted, told.reasons, "{report:#}");
    let bots = report["networks"].as_array().into_iter().flatten();
    let times: Vec<f64> = bots
        .filter(|network| network["what"] == "203.0.113.0/24")
        .filter_map(|network| network["times"].as_f64())
        .collect();
    assert_eq!(times, [told.by_bots], "{report:#}");
    let unknown = report["unknown_recipients"].as_array().into_iter().flatten();
    let unknown: Vec<&str> = unknown.filter_map(|listed| listed["what"].as_str()).collect();
    assert!(unknown.len() > 50, "{unknown:?}");
    for address in unknown {
        assert!(told.unknown.contains(&format!("<{address}>")), "{address}");
    }
}

/// One line for each recipient that was refused or put off, with what a postmaster searches for; Postfix has as many.
fn it_is_logged(backstop: &Backstop, postfix: &Postfix, told: &Told) {
    let log = backstop.log();
    let mut logged: BTreeMap<String, f64> = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for line in log.lines().filter(|line| line.contains(" stage=\"rcpt\" ")) {
        let field = |name: &str| {
            let (_, rest) =
                line.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name}: {line}"));
            rest.split_once('"').map_or(rest, |(value, _)| value).to_owned()
        };
        assert!(line.contains(" session="), "{line}");
        let (reason, client, sender) = (field("reason"), field("client"), field("sender"));
        let is_bot = client.starts_with("203.0.113.");
        assert!(!is_bot || (sender.starts_with("<forged") && sender.ends_with("@victim.test>")), "{line}");
        if reason == "unknown-recipient" {
            assert!(unknown.insert(field("recipient")), "twice: {line}");
        }
        *logged.entry(reason).or_default() += 1.0;
    }
    let mut refused = told.reasons.clone();
    let _ = refused.remove("ok");
    assert_eq!(logged, refused);
    assert_eq!(unknown, told.unknown);
    let by_postfix = postfix.maillog().matches("milter-reject: RCPT from ").count();
    assert_eq!(by_postfix as f64, refused.values().sum::<f64>());
}

/// The status page, as a person reads it: without tags.
fn the_page_shows_it(backstop: &Backstop, told: &Told, blocked: f64) {
    let mut expected = vec![
        format!("Backscatter prevented {} bounces", told.times("unknown-recipient")),
        format!("Clients blocked {blocked} "),
        format!(" {} 203.0.113.0/24 ", told.by_bots),
    ];
    for (reason, times) in &told.reasons {
        let outcome = match reason.as_str() {
            "ok" => "passed",
            "unknown-recipient" => "refused",
            _ => "put off",
        };
        expected.push(format!(" {times} {outcome} {reason} "));
    }
    let read = || {
        let page = backstop.http_get("/").replace(',', ""); // 1,234
        let texts = page.split('<').filter_map(|part| part.split_once('>'));
        let words: Vec<&str> = texts.flat_map(|(_, text)| text.split_whitespace()).collect();
        words.join(" ")
    };
    let missing = |page: &str| -> Vec<String> {
        expected.iter().filter(|words| !page.contains(words.as_str())).cloned().collect()
    };
    // It shows what was a second ago.
    wait_until(SOON, &format!("the page to show it, which lacks {:?}", missing(&read())), || {
        missing(&read()).is_empty()
    });
}

/// Every query of the dashboard, and of its annotations.
fn every_panel_has_data(prometheus: &Prometheus) {
    let queries = dashboard::queries(prometheus, "1m");
    assert!(queries.len() > 30);
    let mut faults = Vec::new();
    for dashboard::Query { panel, query, .. } in queries {
        match prometheus.query(&query) {
            Err(error) => faults.push(format!("{panel}: {query}: {error}")),
            Ok(series) => {
                let is_lively =
                    ALL_WELL.contains(&&panel[..]) || series.iter().any(|(_, value)| *value > 0.0);
                if !is_lively || !series.iter().any(|(_, value)| value.is_finite()) {
                    faults.push(format!("{panel}: {query}: {series:?}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A reload that is refused, and the switch; the alerts end when it is put right.
fn what_the_admin_does_is_alerted(backstop: &Backstop, alertmanager: &Alertmanager) {
    let config = std::fs::read_to_string(backstop.path("backstop.toml")).expect("it is there");
    backstop.write("backstop.toml", "mode = \"enforced\"\n");
    assert_ne!(backstop.command(&["reload"]).status, 0);
    backstop.write("backstop.toml", &config);
    let disabled = backstop.command(&["disable", "--reason", "a test"]);
    assert_eq!(disabled.status, 0, "{disabled:?}");
    wait_until(SOON, "the alerts of what the admin did", || {
        let alerts = alertmanager.alerts();
        let fires = |name: &str| alerts.iter().any(|alert| alert.labels["alertname"] == name);
        fires("BackstopDisabled") && fires("BackstopReloadFailed")
    });
    assert_eq!(backstop.metric("backstop_reload_succeeded", &[]), 0.0);
    let _ = backstop.command(&["reload"]);
    assert_eq!(backstop.metric("backstop_reload_succeeded", &[]), 1.0, "and the alert ends");
}

/// An MTA whose client has said nothing yet.
fn open_session(backstop: &Backstop) -> Mta<std::net::TcpStream> {
    let mut mta = Mta::connect(backstop.milter_port());
    let address = ClientAddress::Inet(Ipv4Addr::new(192, 0, 2, 2), 4711);
    let _ = mta.send(&Milter::Connect(Connect { host: b"mail.elsewhere.test", address }));
    mta
}

/// Somebody who speaks no milter protocol.
fn broken_peer(backstop: &Backstop) {
    let mut broken = Mta::connect(backstop.milter_port());
    broken.write(&[0; 4]);
    broken.is_closed();
}

/// How many clients are blocked, by command and metric; the bots that were told so are among them.
fn blocked(backstop: &Backstop, told: &Told) -> f64 {
    let output = backstop.command(&["blocked", "--json"]);
    let blocked: Value = serde_json::from_str(&output.stdout).expect("it prints JSON");
    let clients = blocked["clients"].as_array().into_iter().flatten();
    let clients: BTreeSet<&str> = clients.filter_map(|client| client["client"].as_str()).collect();
    assert!(told.blocked.iter().all(|bot| clients.contains(&bot[..])), "{told:?} {clients:?}");
    let total = clients.len() as f64;
    assert_eq!(backstop.metric("backstop_harvesters_blocked", &[]), total);
    total
}

/// Prometheus extrapolates: from its looks, which come late on a busy machine, to the ends of the time that is asked for.
fn is_about(value: f64, expected: f64) -> bool {
    (value - expected).abs() <= expected * 0.1
}

/// The rules, but whatever is so fires at once: promtool's tests hold them to how long they wait.
fn at_once(rules: &str) -> String {
    let lines: Vec<&str> = rules.lines().filter(|line| !line.trim_start().starts_with("for: ")).collect();
    assert!(lines.len() + 10 < rules.lines().count(), "no rule waits");
    lines.join("\n")
}

fn recipients(backstop: &Backstop) -> f64 {
    backstop.metric("backstop_callbacks_total", &[("callback", "rcpt")])
}

const RECIPIENTS: &str = r#"backstop_callbacks_total{callback="rcpt"}"#;
const SOON: Duration = Duration::from_secs(60);
/// What Grafana takes for `$__rate_interval` is at least four times the time between scrapes, which is 1 s here.
const INTERVAL: u32 = 20;

/// Panels that may show nothing but zeros while all is well.
const ALL_WELL: [&str; 6] = [
    "Oldest truth",
    "Age of the truth",
    "Health",
    "Greylist and tarpit",
    "What went wrong",
    "Held back and unsaved",
];
