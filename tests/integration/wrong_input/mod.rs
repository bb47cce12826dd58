//! Wrong input of every kind, for every command: one clear error that says what, where and what to do, and an exit status
//! that the command's help tells of (sysexits(3)).

mod command_line;
mod configuration;
mod full;
mod logs;
mod output;
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use backstop_harness::CommandOutput;

use crate::BACKSTOP;

/// Commands that ask the running server, each as it would be right.
const ASKING: [&[&str]; 14] = [
    &["check", "anna@example.test"],
    &["status"],
    &["report"],
    &["reload"],
    &["disable"],
    &["enable"],
    &["trust", "203.0.113.9"],
    &["block", "203.0.113.9"],
    &["release", "203.0.113.9"],
    &["trusted"],
    &["blocked"],
    &["suspend", "bob@example.test"],
    &["resume", "bob@example.test"],
    &["suspended"],
];

/// Those that need nothing but the configuration.
const READING: [&[&str]; 6] = [
    &["serve"],
    &["check", "--offline", "anna@example.test"],
    &["detect"],
    &["config", "check"],
    &["config", "show"],
    &["replay", "/dev/stdin"],
];

/// Those that need nothing.
const OTHERS: [&[&str]; 3] =
    [&["completions", "bash"], &["man"], &["probe", "127.0.0.1", "--domain", "example.test"]];

#[test]
fn no_command_is_left_out() {
    let mut root = backstop::cli::command();
    root.build();
    let names = |command: &clap::Command| {
        let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
        below.into_iter().filter(|name| name != "help")
    };
    let mut there: BTreeSet<String> = names(&root).collect();
    there.remove("config");
    there.extend(
        root.find_subcommand("config").into_iter().flat_map(names).map(|name| format!("config {name}")),
    );
    let listed = all().map(|args| words(args).join(" "));
    assert_eq!(listed.collect::<BTreeSet<_>>(), there);
}

fn all() -> impl Iterator<Item = &'static [&'static str]> {
    ASKING.into_iter().chain(READING).chain(OTHERS)
}

/// The words of the command among its arguments.
fn words<'a>(args: &[&'a str]) -> Vec<&'a str> {
    args.iter().copied().take(if args[0] == "config" { 2 } else { 1 }).collect()
}

/// The program, without what this host may have set for it.
fn backstop(args: &[&str]) -> Command {
    let mut command = Command::new(BACKSTOP);
    command.args(args).env_remove("XDG_RUNTIME_DIR");
    command
}

/// As somebody else; `program` is where he may run it.
fn as_nobody(program: &std::path::Path, args: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).args(args);
    command.env_remove("XDG_RUNTIME_DIR");
    command
}

/// Runs them beside each other, as many as there are: most of the time is spent waiting.
fn each<T: Send>(items: impl IntoIterator<Item = T>, run: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || run(item))).collect();
        let failed = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        assert_eq!(failed, 0, "see above");
    });
}

/// Whether it went wrong as it should: told once, clearly, with a status that the help of the command knows.
#[track_caller]
fn is_told(what: &str, args: &[&str], output: &CommandOutput, status: i32, told: &str) {
    let args: Vec<String> = args.iter().map(|arg| arg.chars().take(60).collect()).collect();
    let CommandOutput { stderr, .. } = output;
    let shown: String = stderr.chars().take(2000).collect();
    let what = format!("{what}: {args:?}: {}\n{shown}", output.status);
    assert_eq!(output.status, status, "{what}");
    assert!(stderr.contains(told), "{told:?} is not said. {what}");
    // A probe has told what it will send.
    let plan = stderr.strip_prefix("To ").and_then(|rest| rest.find("\nbackstop: "));
    let stderr = plan.map_or(&**stderr, |end| &stderr["To ".len() + end + 1..]);
    let errors = stderr.lines().filter(|line| line.starts_with("backstop: ") || line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "told once. {what}");
    assert!(stderr.starts_with("backstop: ") || stderr.starts_with("error: "), "{what}");
    assert!(!stderr.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{what}");
    assert!(stderr.len() < 8000, "{what}");
    let mut command = backstop::cli::command();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    for word in self::words(&words) {
        if let Some(below) = command.find_subcommand(word) {
            command = below.clone();
        }
    }
    // `config` alone is no command, and has the statuses of all.
    let root = backstop::cli::command();
    let help =
        command.get_after_help().or(root.get_after_help()).map(ToString::to_string).unwrap_or_default();
    let status = format!("\n  {status}");
    assert!(help.contains(&status), "the help does not know the status. {what}");
}

/// The most memory that the process has had by its end, in kB (proc(5), VmHWM).
pub(crate) fn peak(child: &mut Child) -> u64 {
    let mut peak = 0;
    while child.try_wait().expect("it is ours").is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = now.unwrap_or(0).max(peak);
        thread::sleep(Duration::from_millis(20));
    }
    peak
}
