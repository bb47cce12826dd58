//! The alert rules: correct, tested, and each with a section of docs/alerts.md that says what to do.

use std::process::Command;

use backstop_harness::CommandOutput;

use super::{ALERTS, RULES, RULES_TEST, after, path, read};

/// amtool(1) on the example of whom to tell.
#[test]
fn amtool_finds_no_fault() {
    let file = path("deploy/prometheus/alertmanager.yml");
    let output = CommandOutput::of(Command::new("amtool").arg("check-config").arg(file));
    assert!(output.status == 0 && output.stderr.is_empty(), "{output:?}");
}

/// promtool(1) on the rules and the examples of a configuration.
#[test]
fn promtool_finds_no_fault() {
    for (command, file) in [
        (&["check", "rules"], RULES),
        (&["check", "config"], "deploy/prometheus/prometheus.yml"),
        (&["check", "config"], "deploy/container/prometheus/prometheus.yml"),
    ] {
        let output = promtool(command, file);
        assert!(output.status == 0 && output.stderr.is_empty(), "{file}: {output:?}");
    }
}

/// Each alert fires when it shall, and not when it shall not.
#[test]
fn every_alert_passes_its_tests() {
    let output = promtool(&["test", "rules"], RULES_TEST);
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);
    let tests = read(RULES_TEST);
    for alert in after(&read(RULES), "- alert: ") {
        for (end, what) in [("exp_alerts: []", "does not fire"), ("exp_alerts:\n", "fires")] {
            let wanted = format!("alertname: {alert}\n        {end}");
            assert!(tests.contains(&wanted), "{RULES_TEST} does not test when {alert} {what}");
        }
    }
}

/// An alert that nobody knows what to do about is noise.
#[test]
fn every_alert_says_what_to_do() {
    let (rules, docs) = (read(RULES), read(ALERTS));
    let alerts = after(&rules, "- alert: ");
    let mut sections = after(&docs, "## ");
    assert!(sections.remove("Setting it up"));
    assert_eq!(alerts, sections);
    for alert in alerts {
        let (_, rule) = rules.split_once(&format!("- alert: {alert}\n")).expect("it is listed");
        let rule = rule.split("- alert: ").next().expect("there is a first part");
        let runbook = format!("runbook: {ALERTS}#{}\n", alert.to_ascii_lowercase());
        for part in ["severity: ", "summary: ", "description: ", &runbook] {
            assert!(rule.contains(part), "{alert} has no {part}");
        }
        let (_, section) = docs.split_once(&format!("## {alert}\n")).expect("it is listed");
        let section = section.split("\n## ").next().expect("there is a first part");
        assert!(
            section.contains("\n    # ") || section.contains("```promql"),
            "{alert}: no command, no query"
        );
    }
}

/// The commands that it tells to run are those that there are.
#[test]
fn every_command_is_understood() {
    let docs = read(ALERTS);
    let shown = after(&docs, "# backstop ").into_iter().map(str::to_owned);
    let in_text = docs.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("backstop "));
    let in_text = in_text.filter(|code| !code.contains("ADDRESS")).map(|code| code.replace('\n', " "));
    let commands: Vec<String> = shown.chain(in_text).collect();
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        let command = command.split(" | ").next().unwrap_or_default();
        // every other part is between quotes
        let words = command.split('"').enumerate().flat_map(|(index, part)| match index % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        });
        let words: Vec<&str> = std::iter::once("backstop").chain(words).collect();
        let parsed = backstop::cli::command().try_get_matches_from(&words);
        let is_named_only = words.len() == 2; // and not shown with its arguments
        assert!(
            parsed.is_ok() || (is_named_only && is_incomplete(&parsed)),
            "{ALERTS}: backstop {command}: {}",
            parsed.unwrap_err()
        );
    }
}

fn is_incomplete<T>(parsed: &Result<T, clap::Error>) -> bool {
    parsed.as_ref().is_err_and(|error| error.kind() == clap::error::ErrorKind::MissingRequiredArgument)
}

fn promtool(command: &[&str], file: &str) -> CommandOutput {
    CommandOutput::of(Command::new("promtool").args(command).arg(path(file)))
}
