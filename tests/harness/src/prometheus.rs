//! A private Prometheus and a private Alertmanager, with the files of `deploy/prometheus/`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::backstop::http_get;
use crate::dir::TempDir;
use crate::ports::{free_port, is_listening};
use crate::process::{Process, Signal};
use crate::wait::wait_until;

/// A running Prometheus that reads `deploy/prometheus/prometheus.yml`, but every second. It stops when dropped.
#[derive(Debug)]
pub struct Prometheus {
    _server: Process,
    port: u16,
    _dir: TempDir,
}

/// A running Alertmanager that reads `deploy/prometheus/alertmanager.yml`, but waits only for a second. It stops when dropped.
#[derive(Debug)]
pub struct Alertmanager {
    _server: Process,
    port: u16,
    _dir: TempDir,
}

/// One series of an answer: its labels, and its last value.
pub type Series = (BTreeMap<String, String>, f64);

/// What an Alertmanager was told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The rule's, `alertname`, and those of the series.
    pub labels: BTreeMap<String, String>,
    /// What people read, with its values put in.
    pub annotations: BTreeMap<String, String>,
}

impl Prometheus {
    /// Starts one that reads the metrics at `target`, a port of this host, goes by `rules`, and tells `alertmanager` of what
    /// fires. Waits until it answers.
    ///
    /// # Panics
    /// When it does not, or is not installed.
    #[must_use]
    #[track_caller]
    pub fn start(target: u16, rules: &str, alertmanager: &Alertmanager) -> Self {
        let dir = TempDir::new("prometheus");
        let config = changed(
            deployed("prometheus.yml"),
            &[
                ("127.0.0.1:9890", format!("127.0.0.1:{target}")),
                ("127.0.0.1:9093", format!("127.0.0.1:{}", alertmanager.port)),
                ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
                ("evaluation_interval: 15s", "evaluation_interval: 1s".to_owned()),
            ],
        );
        dir.write("prometheus.yml", config);
        dir.write("backstop.rules.yml", rules);
        let mut command = Command::new("prometheus");
        command
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg("--rules.alert.resend-delay=1s"); // so that an alert's numbers follow
        let (server, port) = serve(&dir, &mut command, "Prometheus");
        Self { _server: server, port, _dir: dir }
    }

    /// Where it answers, e.g. `http://127.0.0.1:9090`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The present answer to a query: every series with its value.
    ///
    /// # Errors
    /// What Prometheus finds wrong with the query.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn query(&self, query: &str) -> Result<Vec<Series>, String> {
        let answer = json(self.port, &format!("/api/v1/query?query={}", encoded(query)));
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let result = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        Ok(result.iter().map(|series| (labels(&series["metric"]), number(&series["value"][1]))).collect())
    }

    /// What a query that gives a rate in seconds adds up to from `since` (in seconds since 1970) until now: the area under each
    /// of its lines, as a graph would show them.
    ///
    /// # Errors
    /// What Prometheus finds wrong with the query.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn area(&self, query: &str, since: u64) -> Result<Vec<Series>, String> {
        let range = format!("start={since}&end={}&step=1", seconds());
        let answer = json(self.port, &format!("/api/v1/query_range?{range}&query={}", encoded(query)));
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let result = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let area = |series: &Value| {
            let values = series["values"].as_array().into_iter().flatten();
            values.map(|value| number(&value[1])).filter(|value| value.is_finite()).sum()
        };
        Ok(result.iter().map(|series| (labels(&series["metric"]), area(series))).collect())
    }

    /// The sum over all series of an answer; 0 when there is none.
    ///
    /// # Panics
    /// When there is no answer, or something is wrong with the query.
    #[must_use]
    #[track_caller]
    pub fn sum(&self, query: &str) -> f64 {
        let series = self.query(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        series.iter().map(|(_, value)| value).sum()
    }

    /// The values that a label has in the series that a selector finds.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    #[track_caller]
    pub fn label_values(&self, selector: &str, label: &str) -> Vec<String> {
        let answer = json(self.port, &format!("/api/v1/label/{label}/values?match[]={}", encoded(selector)));
        let values = answer["data"].as_array().cloned().unwrap_or_default();
        values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

impl Alertmanager {
    /// Starts one that sends its mail to `smarthost`, a port of this host, and waits until it answers.
    ///
    /// # Panics
    /// When it does not, or is not installed.
    #[must_use]
    #[track_caller]
    pub fn start(smarthost: u16) -> Self {
        let dir = TempDir::new("alertmanager");
        let config = changed(
            deployed("alertmanager.yml"),
            &[
                ("127.0.0.1:25", format!("127.0.0.1:{smarthost}")),
                ("group_wait: 30s", "group_wait: 1s".to_owned()),
                ("group_interval: 5m", "group_interval: 1s".to_owned()),
            ],
        );
        dir.write("alertmanager.yml", config);
        let mut command = Command::new("prometheus-alertmanager");
        command
            .arg("--config.file=alertmanager.yml")
            .arg("--storage.path=data")
            .arg("--cluster.listen-address=");
        let (server, port) = serve(&dir, &mut command, "Alertmanager");
        Self { _server: server, port, _dir: dir }
    }

    /// Every alert that it was told of, and that has not ended.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    #[track_caller]
    pub fn alerts(&self) -> Vec<Alert> {
        let answer = json(self.port, "/api/v2/alerts");
        let alerts = answer.as_array().cloned().unwrap_or_default();
        let read = |alert: &Value| Alert {
            labels: labels(&alert["labels"]),
            annotations: labels(&alert["annotations"]),
        };
        alerts.iter().map(read).collect()
    }
}

/// Starts one of the two in its directory, on a port of its own, and waits until it is ready.
#[track_caller]
fn serve(dir: &TempDir, command: &mut Command, name: &str) -> (Process, u16) {
    let port = free_port();
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).current_dir(dir.path());
    let mut server = Process::spawn(name, command, &dir.join("log"), Signal::TERM);
    wait_until(Duration::from_secs(30), &format!("{name} to be ready"), || {
        assert!(server.exited().is_none(), "{name} ended:\n{}", server.log());
        is_listening(port) && http_get(port, "/-/ready").is_ok_and(|(status, _)| status == 200)
    });
    (server, port)
}

/// A file of `deploy/prometheus/`.
fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file for a test: in place of each text another one.
#[track_caller]
fn changed(mut file: String, changes: &[(&str, String)]) -> String {
    for (old, new) in changes {
        assert!(file.contains(old), "`{old}` is not there:\n{file}");
        file = file.replace(old, new);
    }
    file
}

#[track_caller]
fn json(port: u16, path: &str) -> Value {
    let (_, body) = http_get(port, path).unwrap_or_else(|error| panic!("GET {path}: {error}"));
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("GET {path}: {error}: {body}"))
}

fn labels(of: &Value) -> BTreeMap<String, String> {
    let pairs = of.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Now, in seconds since 1970.
fn seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}

/// Numbers come as text: `"0.5"`, `"NaN"`, `"+Inf"`.
fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.trim_start_matches('+').parse().ok()).unwrap_or(f64::NAN)
}

/// As a query string has it (RFC 3986 §2.1).
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
