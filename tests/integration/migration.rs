//! docs/migration.md: the files of others are read as they are, and what the chapter shows is what comes.

use std::fs;
use std::process::Command;

use backstop_harness::{CommandOutput, TempDir};

use crate::BACKSTOP;

#[test]
fn a_table_of_postfix() {
    let section = section("## Tables of Postfix");
    let (_, table) = section.split_once("```\n# ").expect("it shows one");
    let table = table.split("```").next().expect("there is a first part");
    let table = format!("# {table}");
    assert!(table.contains("REJECT") && table.contains("@lists.example.org"), "{table}");
    shows_what_comes(&section, &[("/etc/postfix/relay_recipients", &table)]);
}

/// In any case, and with the line ends of Windows.
#[test]
fn files_of_toriss() {
    let section = section("## Files of Toriss");
    shows_what_comes(
        &section,
        &[
            ("/etc/backstop/TORISS_DOMAINS.TXT", "Example.COM\r\n"),
            ("/etc/backstop/TORISS_LOCALS.TXT", "Anna@Example.com\r\nunpaid@example.com\r\n"),
            ("/etc/backstop/toriss_suspensions.txt", "Unpaid@example.com\r\n"),
        ],
    );
}

/// Writes the section's configuration and files, runs its commands, and looks for each line that they are shown to print.
#[track_caller]
fn shows_what_comes(section: &str, files: &[(&str, &str)]) {
    let dir = TempDir::new("migration");
    let (_, config) = section.split_once("```toml\n").expect("it has a configuration");
    let mut config = config.split("```").next().expect("there is a first part").to_owned();
    for (path, content) in files {
        let name = path.rsplit('/').next().expect("there is a last part");
        let ours = dir.write_backdated(name, content);
        assert!(config.contains(path), "{path}: {config}");
        config = config.replace(path, &ours.display().to_string());
    }
    let config = dir.write("backstop.toml", config);
    let mut output: Option<CommandOutput> = None;
    let mut commands = 0;
    for line in section.lines().filter_map(|line| line.strip_prefix("    ")) {
        if let Some(command) = line.strip_prefix("# backstop ") {
            let mut run = Command::new(BACKSTOP);
            run.args(command.split(' ')).arg("--config").arg(&config);
            output = Some(CommandOutput::of(run.env("BACKSTOP__DOMAINS__DETECT", "false")));
            commands += 1;
        } else if line != "…" {
            let output = output.as_ref().expect("a command comes first");
            let line = line.replace("/etc/backstop/backstop.toml", &config.display().to_string());
            assert!(output.stdout.lines().any(|told| told == line), "`{line}` is not in {output:?}");
        }
    }
    assert!(commands >= 2, "{section}");
}

/// A section of the chapter.
fn section(heading: &str) -> String {
    let chapter = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/migration.md");
    let chapter = fs::read_to_string(chapter).expect("the chapter is there");
    let (_, section) = chapter.split_once(&format!("\n{heading}\n")).expect("it has that section");
    section.split("\n## ").next().expect("there is a first part").to_owned()
}
