//! What is in memory, passwords of directories for one, gets nowhere else.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use backstop_harness::Signal;

use crate::{BACKSTOP, site};

#[test]
fn no_core_file_is_written() {
    let mut backstop = site::backstop().after("ulimit -c unlimited").start();
    backstop.signal(Signal::QUIT);
    let status = backstop.wait_exit();
    assert!(status.signal().is_some() && !status.core_dumped(), "{status:?}");
}

#[test]
fn others_of_the_same_user_can_not_look_into_it() {
    const USER: u32 = 64_124;
    let backstop = site::backstop().user(USER).start();
    let read = |file: &str| {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", "cat"]);
        let output = command.arg(format!("/proc/{}/{file}", backstop.pid())).output();
        output.expect("util-linux has setpriv")
    };
    for file in ["environ", "mem", "maps"] {
        let output = read(file);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("ermission denied") && output.stdout.is_empty(), "{file}: {output:?}");
    }
    assert!(read("status").status.success(), "what anybody may know");
}

/// Who writes a password into the configuration is told so, and nobody is told the password.
#[test]
fn a_password_in_the_wrong_place_is_told_to_nobody() {
    let mut backstop = site::backstop().start();
    // The harness says by the environment where the store is, and that goes before the file.
    let run = |args: &[&str]| {
        let mut command = Command::new(BACKSTOP);
        let output = command.args(args).output().expect("it runs");
        format!("{:?}{}", output.status, String::from_utf8_lossy(&[output.stdout, output.stderr].concat()))
    };
    let right = std::fs::read_to_string(backstop.path("backstop.toml")).expect("the configuration");
    for (mistake, named) in [
        ("[store]\nurl = \"redis://backstop:HUNTER@redis.example.com\"", "password_file"),
        ("[store]\nurl = \"redis://backstop:HUNTER@redis.example.com", "invalid basic string"),
        ("[store]\nurl = \"redis://redis.example.com\"\npassword_file = \"HUNTER\"", "absolute path"),
        ("[store]\nurl = \"redis://redis.example.com\"\npassword = \"HUNTER\"", "unknown key `password`"),
        ("store = \"redis://:HUNTER@redis.example.com\"", "expected a table"),
        (
            "[directory.a]\nsql = { url = \"postgres://u:HUNTER@db/mail\", query = \"select $1\" }",
            "password_file",
        ),
        (
            "[directory.a.sql]\nurl = \"mysql://u@db/mail?password=HUNTER\"\nquery = \"select ?\"",
            "password_file",
        ),
        (
            "[directory.a.ldap]\nurls = [\"ldap://cn=a:HUNTER@ldap.example.com\"]\nbase = \"dc=a\"",
            "is no server",
        ),
        ("[directory.a.ldap]\nbind_password = \"HUNTER\"", "unknown key `bind_password`"),
        ("[directory.a.ldap]\nbind-pw 'HUNTER'", "expected"),
        ("[http]\ntoken_file = \"HUNTER\"", "absolute path"),
        ("[http]\ntoken = \"HUNTER\"", "unknown key `token`"),
        ("[log]\nhash_key_file = \"HUNTER\"", "absolute path"),
    ] {
        // A key of the whole file has to stand before its tables.
        let text = if mistake.starts_with('[') {
            format!("{right}\n{mistake}\n")
        } else {
            format!("{mistake}\n{right}")
        };
        let path = backstop.write("wrong.toml", &text);
        let path = path.to_str().expect("UTF-8");
        let mut said = String::new();
        for command in ["check", "show"] {
            said += &run(&["--config", path, "config", command]);
        }
        said += &run(&["--config", path, "serve"]);
        assert_eq!(said.matches(named).count(), 3, "{mistake}: {said}");
        backstop.write("backstop.toml", &text);
        said += &format!("{:?}", backstop.command(&["reload"]));
        backstop.signal(Signal::HUP);
        for command in [&["status"][..], &["status", "--json"]] {
            said += &format!("{:?}", backstop.command(command));
        }
        said += &backstop.http_get("/");
        assert!(!said.contains("HUNTER"), "{mistake}: {said}");
    }
    backstop.wait_for_log("hash_key_file");
    let log = backstop.log();
    assert!(!log.contains("HUNTER"), "{log}");
}

/// The environment can hold a URL as well.
#[test]
fn a_password_in_the_environment_is_told_to_nobody() {
    let mut command = Command::new(BACKSTOP);
    command.args(["config", "check"]).env("BACKSTOP__STORE__URL", "redis://:HUNTER@redis.example.com");
    let output = format!("{:?}", command.output().expect("it runs"));
    assert!(output.contains("BACKSTOP__STORE__URL") && !output.contains("HUNTER"), "{output}");
}
