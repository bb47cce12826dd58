//! What deploy/container has: Dockerfiles by hadolint's judgement, compose.yaml by the Compose specification, and that what both name is there.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use backstop_harness::{Backstop, Redis};
use serde_json::Value;

use crate::BACKSTOP;

#[test]
fn hadolint_has_no_objection() {
    for name in ["Dockerfile", "postfix/Dockerfile"] {
        let output = hadolint(&read(name));
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let output = hadolint("FROM debian\nRUN cd /tmp && sudo apt-get install curl\n");
    assert!(!output.status.success(), "it objects to nothing");
}

#[test]
fn compose_is_what_the_specification_has() {
    let text = read("compose.yaml");
    compose(&text).expect("compose.yaml is one");
    for (right, wrong) in [
        ("cap_drop: [ALL]", "cap_drop: ALL"),
        ("read_only: true", "read_olny: true"),
        ("condition: service_healthy", "condition: healthy"),
        ("stop_grace_period: 45s", "stop_grace_period: soon"),
    ] {
        assert!(text.contains(right), "{right}");
        compose(&text.replace(right, wrong)).expect_err(wrong);
    }
}

/// Services, volumes and files that are named are there.
#[test]
fn compose_names_what_there_is() {
    let compose = compose(&read("compose.yaml")).expect("compose.yaml is one");
    let services = compose["services"].as_object().expect("services");
    let mut mounts = 0;
    for (name, service) in services {
        let others = match &service["depends_on"] {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            Value::Object(names) => names.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        assert!(others.iter().all(|other| services.contains_key(*other)), "{name}: {others:?}");
        for volume in service["volumes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let (from, _) = volume.split_once(':').expect("FROM:TO");
            let is_there = if from.starts_with('.') {
                Path::new(CONTAINER).join(from).exists()
            } else {
                compose["volumes"].as_object().is_some_and(|volumes| volumes.contains_key(from))
            };
            assert!(is_there, "{name}: {volume}");
            mounts += 1;
        }
        let build = &service["build"];
        if let Some(context) = build.as_str().or_else(|| build["context"].as_str()) {
            let dockerfile = build["dockerfile"].as_str().unwrap_or("Dockerfile");
            assert!(Path::new(CONTAINER).join(context).join(dockerfile).exists(), "{name}: {build}");
        }
    }
    assert!(services.len() == 5 && mounts >= 8, "{services:#?}");
}

/// Files that the Dockerfile copies are in the repository, or made by deploy/package.
#[test]
fn the_dockerfile_copies_what_there_is() {
    let text = read("Dockerfile");
    let copied: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--from") && *rest != ". .")
        })
        .flat_map(|rest| rest.split(' ').rev().skip(1))
        .collect();
    assert!(copied.len() >= 4, "{copied:?}");
    let package =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/package")).expect("it is there");
    for path in copied {
        let is_made = path
            .strip_prefix("target/package")
            .is_some_and(|name| package.contains(&format!("$stage{name}")));
        assert!(is_made || Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{path}");
    }
}

/// compose.yaml's own configuration, with a Redis: it watches, and knows whom the list has.
#[test]
fn composes_backstop_starts() {
    let redis = Redis::start();
    let config = read("backstop/backstop.toml");
    for line in ["redis://redis\"", "/etc/backstop/recipients\"", "\"/var/lib/backstop\""] {
        assert!(config.contains(line), "{line}");
    }
    let config =
        config.replace("/etc/backstop/", "{dir}/").replace("\"/var/lib/backstop\"", "\"{dir}/state\"");
    let builder = Backstop::builder(BACKSTOP).env("BACKSTOP__STORE__URL", &redis.url());
    let backstop = builder.file("recipients", &read("backstop/recipients")).config(&config).start();
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("mode: monitor") && status.contains("directory inside (file): up"), "{status}");
    assert_eq!(backstop.metric("backstop_store_up", &[]), 1.0);
    let unknown = backstop.command(&["check", "nosuchuser@example.org"]);
    assert_eq!(unknown.status, 1, "{unknown:?}");
}

fn hadolint(dockerfile: &str) -> Output {
    feed(Command::new(format!("{PYTHON}/hadolint")).arg("-"), dockerfile)
}

/// As JSON; or why it is none.
fn compose(text: &str) -> Result<Value, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/packaging/compose.py");
    let output = feed(Command::new(format!("{PYTHON}/python")).arg(script), text);
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).expect("JSON"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn feed(command: &mut Command, text: &str) -> Output {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("it is there (tests/install)");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("it is read");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(CONTAINER).join(name)).expect("it is shipped")
}

const CONTAINER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/container");
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/harness/python/bin");
