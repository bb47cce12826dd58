//! What a person at a terminal sees and what a program in a pipe gets: bars, colours and questions there, plain text and one
//! JSON document here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::{self, File};
use std::process::Command;

use backstop_harness::{Backstop, CommandOutput, Sink, Terminal, free_port};
use serde_json::Value;

use crate::{BACKSTOP, site};

const WIDTH: u16 = 80;

#[test]
fn a_bar_is_on_a_terminal_and_nowhere_else() {
    let backstop = site::backstop().start();
    let log = log(&backstop);
    let replay = |more: &[&str]| backstop.prepare(&[&["replay", &log], more].concat());
    let mut terminal = Terminal::start(&replay(&[]), WIDTH);
    assert_eq!(terminal.wait_exit(), 1);
    let (written, left) = (terminal.written(), terminal.screen());
    assert!(written.contains(BAR) && written.contains("% "), "{written:?}");
    assert!(left.starts_with("60000 lines,") && !left.contains(BAR), "it is gone: {left}");

    // Where it is too narrow for one there are only words, and nothing of them is left either.
    let mut terminal = Terminal::start(&replay(&[]), 20);
    assert_eq!(terminal.wait_exit(), 1);
    let (written, left) = (terminal.written(), terminal.screen());
    assert!(written.contains(CUT) && !written.contains(BAR), "{written:?}");
    assert!(left.starts_with("60000 lines,") && !left.contains(CUT), "{left}");

    let mut terminal = Terminal::start(replay(&[]).env("TERM", "dumb"), WIDTH);
    assert_eq!(terminal.wait_exit(), 1);
    assert!(!terminal.written().contains([BAR, ESCAPE]), "{:?}", terminal.written());

    let output = CommandOutput::of(&mut replay(&[]));
    assert!(output.status == 1 && output.stderr.is_empty(), "{output:?}");
    assert!(!output.stdout.contains([BAR, ESCAPE]), "{output:?}");

    // JSON that goes to another program.
    let piped = File::create(backstop.path("piped")).unwrap();
    let mut terminal = Terminal::with_stdout(&replay(&["--json"]), WIDTH, piped);
    assert_eq!((terminal.wait_exit(), terminal.written()), (1, String::new()));
    document(&fs::read_to_string(backstop.path("piped")).unwrap());
}

/// The shell's next line begins where the bar was.
#[test]
fn ctrl_c_takes_the_bar_away() {
    let backstop = site::backstop().start();
    // Standard input is the terminal, and nobody types.
    let mut terminal = Terminal::start(&backstop.prepare(&["replay", "-"]), WIDTH);
    terminal.wait_for(" read");
    terminal.enter("\u{3}");
    assert_eq!(terminal.wait_exit(), 130);
    assert_eq!(terminal.screen(), "");
}

#[test]
fn colours_are_on_a_terminal_and_nowhere_else() {
    let backstop = site::backstop().start();
    let no_such = ["check", "nobody@example.test"];
    let mut terminal = Terminal::start(&backstop.prepare(&no_such), WIDTH);
    assert_eq!(terminal.wait_exit(), 1);
    assert!(
        terminal.written().contains("\u{1b}[1m\u{1b}[31mreject\u{1b}[0m: 550"),
        "{:?}",
        terminal.written()
    );
    let plain = terminal.screen();
    let of_pipe = backstop.command(&no_such).stdout;
    let last_lines = |text: &str| text.lines().rev().take(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(last_lines(&plain), last_lines(&of_pipe), "the same words");
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut terminal = Terminal::start(backstop.prepare(&no_such).env(name, value), WIDTH);
        assert_eq!(terminal.wait_exit(), 1);
        assert!(!terminal.written().contains(ESCAPE), "{name}: {:?}", terminal.written());
    }
    for (args, words) in [
        (&["check", "anna@example.test"][..], "\u{1b}[32mcontinue\u{1b}[0m: "),
        (&["suspend", "nobody@example.test"], "\u{1b}[33mnote:\u{1b}[0m no directory knows it"),
        (&["disable"], "\u{1b}[33mnote:\u{1b}[0m a restart"),
        (&["status"], "\u{1b}[1m\u{1b}[31mDISABLED\u{1b}[0m, everything passes"),
        (&["trust", "300.1.1.1"], "\u{1b}["),
        (&["resume", "nobody"], "\u{1b}[1m\u{1b}[31mbackstop:\u{1b}[0m "),
    ] {
        let mut terminal = Terminal::start(&backstop.prepare(args), WIDTH);
        terminal.wait_exit();
        assert!(terminal.written().contains(words), "{args:?}: {:?}", terminal.written());
        let output = backstop.command(args);
        assert!(!output.stdout.contains(ESCAPE) && !output.stderr.contains(ESCAPE), "{output:?}");
    }
}

/// Whoever runs the server at a terminal has whole lines there.
#[test]
fn what_a_peer_or_a_file_says_does_not_steer_it() {
    let backstop = site::backstop().start();
    let evil = "\u{1b}[31m\u{202e}@example.test";
    for args in [&["check", evil][..], &["suspend", evil], &["check", "--offline", "--config", evil, "a@b"]] {
        let mut command = Command::new(BACKSTOP);
        let output = if args.contains(&"--config") {
            CommandOutput::of(command.args(args))
        } else {
            backstop.command(args)
        };
        let (out, err) = (&output.stdout, &output.stderr);
        assert!(!out.contains([ESCAPE, '\u{202e}']) && !err.contains([ESCAPE, '\u{202e}']), "{output:?}");
    }
}

#[test]
fn probe_asks_and_shows_what_it_does() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let prepare = |host: &str, more: &[&str]| {
        let base = ["probe", host, "--domain", "example.test", "--only", "reverse-ndr", "--rate", "60"];
        let mut command = Command::new(BACKSTOP);
        command.args(base).args(more);
        command
    };
    // No, Ctrl-D and nothing are no; yes is, and then nobody answers.
    for (typed, status, said) in [
        ("n\r", 64, "nothing was sent"),
        ("\r", 64, "nothing was sent"),
        ("\u{4}", 64, "nothing was sent"),
        ("maybe\u{4}\u{4}", 64, "nothing was sent"),
        ("yes\r", 69, "Connection refused"),
    ] {
        let mut terminal = Terminal::start(&prepare(&nobody, &[]), WIDTH);
        terminal.wait_for("[y/N] ");
        terminal.enter(typed);
        assert_eq!(terminal.wait_exit(), status, "{typed:?}: {}", terminal.screen());
        let screen = terminal.screen();
        let last = screen.rfind("\nbackstop: ").map(|at| &screen[at..]);
        assert!(last.is_some_and(|last| last.replace('\n', "").contains(said)), "{typed:?}: {screen}");
    }
    // Ctrl-C at the question sends nothing either.
    let mut terminal = Terminal::start(&prepare(&nobody, &[]), WIDTH);
    terminal.wait_for("[y/N] ");
    terminal.enter("\u{3}");
    terminal.wait_for("^C");

    let server = Sink::start();
    let host = format!("127.0.0.1:{}", server.port());
    let mut terminal = Terminal::start(&prepare(&host, &["--yes"]), WIDTH);
    assert_eq!(terminal.wait_exit(), 1, "{}", terminal.screen());
    let (written, left) = (terminal.written(), terminal.screen());
    assert!(written.contains("reverse-ndr ") && written.contains(" 1/2 "), "{written:?}");
    assert!(left.ends_with("\nvulnerable") && !left.contains(BAR), "{left}");
    assert!(written.contains("\u{1b}[31mvulnerable\u{1b}[0m"), "{written:?}");
    // The question of somebody who wants JSON is no part of it.
    let piped = tempfile::NamedTempFile::new().unwrap();
    let mut terminal = Terminal::with_stdout(&prepare(&host, &["--json"]), WIDTH, piped.reopen().unwrap());
    terminal.wait_for("[y/N] ");
    terminal.enter("y\r");
    assert_eq!(terminal.wait_exit(), 1);
    assert!(!terminal.written().contains(BAR), "{:?}", terminal.written());
    assert_eq!(document(&fs::read_to_string(piped.path()).unwrap())["verdict"], "vulnerable");
}

/// Each command that has `--json`, and nothing but one document comes of it, whose fields are in docs/.
#[test]
fn json_is_one_document_with_documented_fields() {
    let backstop = site::backstop().start();
    let log = log(&backstop);
    let empty = backstop.path("empty.log").display().to_string();
    fs::write(&empty, "").unwrap();
    let server = Sink::start();
    let host = format!("127.0.0.1:{}", server.port());
    let mut runs: Vec<(&str, Vec<&str>, i32)> = vec![
        ("check", vec!["anna@example.test"], 0),
        ("check", vec!["nobody@example.test", "--offline"], 1),
        ("detect", vec![], 0),
        ("config check", vec![], 0),
        ("config show", vec![], 0),
        ("replay", vec![&log], 1),
        ("replay", vec![&empty], 65),
        (
            "probe",
            vec![&host, "--domain", "example.test", "--only", "reverse-ndr", "--rate", "6000", "--yes"],
            1,
        ),
        ("status", vec![], 0),
        ("report", vec![], 0),
        ("suspend", vec!["bob@example.test", "--for", "1h", "--reason", "unpaid", "--text", "Call us"], 0),
        ("suspended", vec![], 0),
        ("resume", vec!["bob@example.test"], 0),
        ("resume", vec!["bob@example.test"], 1),
        ("trust", vec!["192.0.2.7"], 0),
        ("trusted", vec![], 0),
        ("block", vec!["192.0.2.8", "--reason", "guesses"], 0),
        ("blocked", vec![], 0),
        ("release", vec!["192.0.2.8"], 0),
        ("release", vec!["192.0.2.9"], 1),
        ("disable", vec!["--for", "1h", "--reason", "a test"], 0),
        ("status", vec![], 0),
        ("enable", vec![], 0),
        ("enable", vec![], 1),
        ("reload", vec![], 0),
    ];
    let mut fields = BTreeSet::new();
    let tried: BTreeSet<&str> = runs.iter().map(|(command, ..)| *command).collect();
    for (command, args, expected) in runs.drain(..) {
        let args: Vec<&str> = command.split(' ').chain(args).chain(["--json"]).collect();
        let output = if command == "probe" {
            CommandOutput::of(Command::new(BACKSTOP).args(&args))
        } else {
            // A colour that is forced is none of a document's.
            CommandOutput::of(backstop.prepare(&args).env("CLICOLOR_FORCE", "1"))
        };
        let expected = if command == "detect" { output.status } else { expected };
        assert_eq!(output.status, expected, "{args:?}: {output:?}");
        let found = document(&output.stdout);
        names(command, &found, &mut fields);
        let complains = output.status > 2;
        assert!(
            complains == output.stderr.starts_with("\u{1b}[1m\u{1b}[31mbackstop:"),
            "{args:?}: {output:?}"
        );
    }
    // What a command without a server says is on standard error, and there is no half of a document.
    drop(backstop);
    let output = CommandOutput::of(
        Command::new(BACKSTOP)
            .args(["status", "--json"])
            .env("BACKSTOP__CONTROL__SOCKET", "/nowhere/control.sock"),
    );
    assert_eq!((output.status, output.stdout.as_str()), (69, ""), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");

    let (with, without) = commands();
    assert_eq!(tried, with.iter().map(String::as_str).collect(), "commands with --json");
    let without: Vec<&str> = without.iter().map(String::as_str).collect();
    assert_eq!(without, ["completions", "man", "serve"], "commands that print no facts");
    let docs = documentation();
    let missing: Vec<_> = fields.iter().filter(|(_, field)| !docs.contains(field)).collect();
    assert!(missing.is_empty(), "fields of --json that no table in docs/ names: {missing:?}");
}

/// A log of a Postfix that delivered to somebody who is unknown now.
fn log(backstop: &Backstop) -> String {
    let mut log = String::new();
    for number in 0..20_000 {
        let id = format!("4{number:06X}");
        for line in [
            format!("smtpd[1]: {id}: client=unknown[198.51.100.7]"),
            format!("qmgr[2]: {id}: from=<s@elsewhere.test>, size=10, nrcpt=1 (queue active)"),
            format!(
                "smtp[3]: {id}: to=<gone{}@example.test>, relay=x, delay=1, status=sent (250 ok)",
                number % 9
            ),
        ] {
            writeln!(log, "Nov 21 07:27:57 mx postfix/{line}").expect("a string takes it");
        }
    }
    backstop.write("maillog", &log).display().to_string()
}

#[track_caller]
fn document(text: &str) -> Value {
    assert!(!text.contains(ESCAPE) && text.ends_with('\n'), "{text:?}");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON document: {error}: {text}"))
}

/// Every name of a field, but for those that are data.
fn names(command: &str, value: &Value, fields: &mut BTreeSet<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                fields.insert((command.to_owned(), name.clone()));
                // `config show` prints the admin's own values.
                if !(command == "config show" && name == "value") && name != "greylist" {
                    names(command, value, fields);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| names(command, value, fields)),
        _ => {}
    }
}

/// The commands that have `--json`, and those that don't.
fn commands() -> (BTreeSet<String>, BTreeSet<String>) {
    let mut found: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
    let mut left: Vec<(String, clap::Command)> = vec![(String::new(), backstop::cli::command())];
    while let Some((path, command)) = left.pop() {
        let path_of = |below: &clap::Command| format!("{path} {}", below.get_name()).trim().to_owned();
        left.extend(command.get_subcommands().map(|below| (path_of(below), below.clone())));
        if !command.has_subcommands() {
            let has = command.get_arguments().any(|argument| argument.get_id() == "json");
            found.entry(has).or_default().insert(path);
        }
    }
    (found.remove(&true).unwrap_or_default(), found.remove(&false).unwrap_or_default())
}

/// All words in backticks of the tables in docs/.
fn documentation() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).expect("there are docs") {
        let text = fs::read_to_string(entry.expect("it can be read").path()).unwrap_or_default();
        for line in text.lines().filter(|line| line.starts_with('|')) {
            for word in line.split('`').skip(1).step_by(2) {
                words.extend(word.split('.').map(|word| word.trim_end_matches("[]").to_owned()));
            }
        }
    }
    words
}

/// Before the end of a path that is too long for a bar.
const CUT: char = '\u{2026}';
/// Of what a bar is made.
const BAR: char = '\u{2591}';
const ESCAPE: char = '\u{1b}';
