//! What the program says of itself: help, manual pages, completions; all from one source.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use backstop_harness::{CommandOutput, TempDir};

use crate::BACKSTOP;

/// sysexits(3)
const KNOWN: [&str; 14] = ["0", "1", "2", "64", "65", "66", "69", "70", "71", "73", "74", "75", "77", "78"];

#[test]
fn each_command_s_help_tells_its_exit_statuses() {
    for path in leaves() {
        let help = backstop(&[path.clone(), vec!["--help".to_owned()]].concat());
        assert_eq!(help.status, 0, "{path:?}: {help:?}");
        let text = help.stdout;
        let (_, statuses) = text.split_once("Exit status:\n").unwrap_or_else(|| {
            panic!(
                "the help of {path:?} tells no exit status: give it an `after_help` of cli/help.rs\n{text}"
            )
        });
        let statuses: Vec<&str> =
            statuses.lines().map(|line| line.split_whitespace().next().unwrap_or("")).collect();
        for status in ["0", "64"] {
            assert!(statuses.contains(&status), "{path:?}: {status} is missing\n{text}");
        }
        let reads = !["completions", "man", "probe"].contains(&path[0].as_str());
        assert!(!reads || statuses.contains(&"78"), "{path:?}: 78 is missing\n{text}");
        let asks = ["config", "serve", "detect", "completions", "man", "replay", "probe"];
        if !asks.contains(&path[0].as_str()) {
            assert!(statuses.contains(&"69") && statuses.contains(&"77"), "{path:?}\n{text}");
        }
        assert!(statuses.iter().all(|status| KNOWN.contains(status)), "{path:?}: {statuses:?}");
        // Every option is explained, and a sentence fits a line of help.
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{path:?}\n{text}");
    }
}

#[test]
fn every_argument_is_explained() {
    let mut command = backstop::cli::command();
    command.build();
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        left.extend(command.get_subcommands().cloned());
    }
}

/// Commands of docs/operations.md are those that there are, and the statuses there have a meaning in some help.
#[test]
fn every_command_and_status_is_documented() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
    let mut text = String::new();
    for entry in fs::read_dir(docs).expect("there are docs") {
        text += &fs::read_to_string(entry.expect("it can be read").path()).unwrap_or_default();
    }
    for path in leaves() {
        let command = path.join(" ");
        assert!(text.contains(&format!("backstop {command}")), "`backstop {command}` is in no page of docs/");
    }
    let operations = fs::read_to_string(format!("{docs}/operations.md")).expect("it is there");
    let (_, table) = operations.split_once("## Exit statuses").expect("it has a table");
    let (table, _) = table.split_once("\n## ").expect("more follows");
    let listed: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |").map(|(status, _)| status))
        .filter(|status| status.parse::<u8>().is_ok())
        .collect();
    let root = backstop(&["--help".to_owned()]).stdout;
    let (_, told) = root.split_once("Exit status:\n").expect("it tells");
    let told: BTreeSet<&str> = told.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(listed, told, "docs/operations.md and `backstop --help`");
}

/// man(1), groff(1) with all warnings, and mandoc(1) read the pages without a complaint.
#[test]
fn each_command_has_a_manual_page() {
    let dir = TempDir::new("man");
    let output = backstop(&["man".to_owned(), dir.path().display().to_string()]);
    assert_eq!(output.status, 0, "{output:?}");
    let mut pages: BTreeSet<String> = BTreeSet::from(["backstop".to_owned(), "backstop-config".to_owned()]);
    pages.extend(leaves().iter().map(|path| format!("backstop-{}", path.join("-"))));
    let written: BTreeSet<String> = output
        .stdout
        .lines()
        .map(|line| line.rsplit('/').next().unwrap_or(line).trim_end_matches(".1").to_owned())
        .collect();
    assert_eq!(written, pages);
    for page in &pages {
        let path = dir.join(format!("{page}.1"));
        let shown = run(Command::new("man").args(["--warnings=w", "-l"]).arg(&path).env("MANWIDTH", "80"));
        assert!(shown.status == 0 && shown.stderr.is_empty(), "{page}: {shown:?}");
        for words in ["NAME", "SYNOPSIS", "EXIT STATUS"] {
            let is_parent = page == "backstop-config" && words == "EXIT STATUS";
            assert!(shown.stdout.contains(words) || is_parent, "{page}: {words}\n{}", shown.stdout);
        }
        let groff = run(Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(&path));
        assert!(groff.status == 0 && groff.stderr.is_empty(), "{page}: {groff:?}");
        let mandoc = run(Command::new("mandoc").args(["-Tlint", "-Werror"]).arg(&path));
        assert_eq!((mandoc.status, mandoc.stdout.as_str()), (0, ""), "{page}: {mandoc:?}");
    }
    // What the help says, the page says: one source.
    let page = run(Command::new("man").arg("-l").arg(dir.join("backstop-block.1")).env("MANWIDTH", "200"));
    for words in ["At most 30 days", "it is blocked", "Whole networks belong into client.denied."] {
        assert!(page.stdout.to_lowercase().contains(&words.to_lowercase()), "{words}\n{}", page.stdout);
    }
    let first = backstop(&["man".to_owned()]);
    assert_eq!(first.stdout, fs::read_to_string(dir.join("backstop.1")).expect("it was written"));
    let output = backstop(&["man".to_owned(), dir.join("nowhere").display().to_string()]);
    assert!(output.status == 74 && output.stderr.contains("nowhere/backstop.1: No such file"), "{output:?}");
}

#[test]
fn bash_completes() {
    let dir = TempDir::new("completions");
    let output = backstop(&["completions".to_owned(), "bash".to_owned()]);
    assert_eq!(output.status, 0, "{output:?}");
    let script = dir.write("backstop", &output.stdout);
    let complete = |words: &str| {
        let ask = format!(
            "set -eu; source {}; complete -p backstop >/dev/null; COMP_WORDS=({words}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _backstop backstop \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\" || true; echo \"${{COMPREPLY[*]}}\"",
            script.display()
        );
        let output = run(Command::new("bash").args(["--norc", "-c", &ask]));
        assert!(output.status == 0 && output.stderr.is_empty(), "{words}: {output:?}");
        output.stdout.trim_end().to_owned()
    };
    assert_eq!(complete("backstop dis"), "disable");
    assert_eq!(complete("backstop susp"), "suspend suspended");
    assert_eq!(complete("backstop disable --ac"), "--across-restarts");
    assert_eq!(complete("backstop config s"), "show");
    for shell in ["zsh", "fish"] {
        let output = backstop(&["completions".to_owned(), shell.to_owned()]);
        assert!(output.status == 0 && output.stdout.contains("across-restarts"), "{shell}: {output:?}");
    }
    let output = backstop(&["completions".to_owned(), "csh".to_owned()]);
    assert!(output.status == 64 && output.stderr.contains("possible values: bash"), "{output:?}");
}

/// The commands that do something, by their words.
fn leaves() -> Vec<Vec<String>> {
    fn below(command: &clap::Command, path: &[String], found: &mut Vec<Vec<String>>) {
        for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let path = [path, &[command.get_name().to_owned()]].concat();
            if command.has_subcommands() {
                below(command, &path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    below(&backstop::cli::command(), &[], &mut found);
    assert!(found.len() > 15, "{found:?}");
    found
}

#[track_caller]
fn backstop(args: &[String]) -> CommandOutput {
    run(Command::new(BACKSTOP).args(args).env("COLUMNS", "100"))
}

#[track_caller]
fn run(command: &mut Command) -> CommandOutput {
    CommandOutput::of(command.stdin(Stdio::null()))
}
