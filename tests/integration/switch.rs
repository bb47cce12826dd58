//! `backstop disable` and `enable`: mail passes at once, in open sessions as well, until it is over, and on this host alone.

use std::fs;
use std::time::Duration;

use backstop_harness::{Backstop, Postfix, Redis, Sink, TempDir, wait_until};
use serde_json::{Value, json};

use crate::mta::{Answer, Mta};
use crate::site;
use crate::standing::{answer, from};

const BLOCKED: &str = "203.0.113.9";
const DENIED: &str = "198.51.100.7";

/// In front of a real Postfix: connect, recipients and the end of a message.
#[test]
fn everything_passes_at_once_and_is_counted() {
    let backstop = site::backstop()
        .env("BACKSTOP__CLIENT__DENIED", &format!("[\"{DENIED}\"]"))
        .env("BACKSTOP__DEFENCE__TRAPS__ADDRESSES", r#"["bait@example.test"]"#)
        .start();
    let sink = Sink::start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).next_hop(sink.port()).start();
    assert_eq!(backstop.command(&["block", BLOCKED]).status, 0);
    let passing = |client: &str, recipient: &str| answer(&postfix, client, recipient) == 250;
    let refused = [
        (BLOCKED, "<anna@example.test>"),
        ("203.0.113.10", "<nobody@example.test>"),
        ("203.0.113.10", "<unpaid@example.test>"),
        ("192.0.2.1", "<nobody@example.test>"),
    ];
    let all =
        |expected: bool| refused.iter().all(|(client, recipient)| passing(client, recipient) == expected);
    assert!(all(false), "refused before");
    let mut open = from(&postfix, "203.0.113.10");
    open.mail("<sender@elsewhere.test>");
    assert_eq!(open.rcpt("<anna@example.test>").code, 250, "{}", open.transcript());
    assert_eq!(open.rcpt("<bait@example.test>").code, 550, "{}", open.transcript());

    let output = backstop.command(&["disable"]);
    let told = "disabled: everything passes until `backstop enable`\n\
                note: a restart of the server ends it; --across-restarts makes it last\n";
    assert_eq!((output.status, output.stdout.as_str()), (0, told), "{output:?}");
    assert_eq!(open.rcpt("<nobody@example.test>").code, 250, "{}", open.transcript());
    // It had named a trap: that would be refused at its end.
    assert_eq!(open.data("Subject: passes\n\nHello.\n").code, 250, "{}", open.transcript());
    sink.wait_for("Subject: passes");
    assert!(all(true), "everything passes");
    assert!(passing(DENIED, "<anna@example.test>"), "nobody is refused when he connects");
    let of = |name: &str, labels: &[(&str, &str)]| backstop.metric(name, labels);
    let reason = ("reason", "disabled");
    assert_eq!(of("backstop_enabled", &[]), 0.0);
    assert!(of("backstop_decisions_total", &[reason, ("verdict", "continue"), ("stage", "rcpt")]) >= 5.0);
    assert!(of("backstop_decisions_total", &[reason, ("stage", "connect")]) >= 1.0);
    assert!(of("backstop_decisions_total", &[reason, ("stage", "eom")]) >= 1.0);

    // A reload changes nothing of it.
    assert_eq!(backstop.command(&["reload"]).status, 0);
    assert!(passing("203.0.113.10", "<nobody@example.test>"));
    assert_eq!(of("backstop_enabled", &[]), 0.0);

    let output = backstop.command(&["enable"]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "enabled: it decides as configured\n"));
    assert!(all(false), "refused again");
    assert_eq!(of("backstop_enabled", &[]), 1.0);
    let output = backstop.command(&["enable"]);
    assert_eq!((output.status, output.stdout.as_str()), (1, "it was not disabled\n"), "{output:?}");
}

#[test]
fn it_is_told_who_disabled_it_until_when_and_why() {
    let backstop = site::backstop().start();
    assert_eq!(status(&backstop)["disabled"], Value::Null);
    let output = backstop.command(&["disable", "--for", "1h 30m", "--reason", "moving \u{1b}[2J house"]);
    assert_eq!(output.status, 64, "a reason is one line: {output:?}");
    let output = backstop.command(&["disable", "--for", "1h 30m", "--reason", "moving house"]);
    assert!(output.stdout.starts_with("disabled: everything passes until 20"), "{output:?}");
    let told = &status(&backstop)["disabled"];
    let (since, until) = (told["since"].as_u64().expect("it has"), told["until"].as_u64().expect("it has"));
    assert_eq!(until - since, 5400);
    assert_eq!(
        (&told["by"], &told["reason"], &told["across_restarts"]),
        (&json!("root"), &json!("moving house"), &json!(false))
    );
    let text = backstop.command(&["status"]).stdout;
    let line = text.lines().find(|line| line.starts_with("DISABLED, everything passes: since 20"));
    assert!(line.is_some_and(|line| line.ends_with(", by root: moving house")), "{text}");
    let log = backstop.log();
    let line = log.lines().find(|line| line.contains("disabled: everything passes")).expect("it is logged");
    assert!(line.contains("WARN") && line.contains("by=\"root\" reason=\"moving house\""), "{line}");

    // What would be answered is that it passes; what is configured can still be asked.
    let check = backstop.command(&["check", "nobody@example.test", "--client", "203.0.113.9"]);
    assert_eq!(check.status, 0, "{check:?}");
    assert!(check.stdout.contains("note: disabled: everything passes; --offline"), "{check:?}");
    assert!(check.stdout.ends_with("reason: disabled\n"), "{check:?}");
    assert_eq!(backstop.command(&["check", "nobody@example.test", "--offline"]).status, 1);

    // A second word takes the place of the first.
    let output = backstop.command(&["disable", "--json"]);
    let switched = parse(&output.stdout);
    assert_eq!((&switched["before"], &switched["disabled"]["until"]), (&json!(true), &Value::Null));
    assert_eq!(
        parse(&backstop.command(&["enable", "--json"]).stdout),
        json!({"disabled": null, "before": true})
    );
    backstop.wait_for_log("enabled again: it is decided as configured");
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let backstop = site::backstop().start();
    for (args, words) in [
        (&["disable", "--for", "0s"][..], "a second is the least"),
        (&["disable", "--for", "366d"], "365 days are the most"),
        (&["disable", "--for", "soon"], "a duration is written like"),
        (&["disable", "--reason", &"x".repeat(201)], "a reason is one line of at most 200 characters"),
        (&["disable", "now"], "unexpected argument"),
        (&["enable", "now"], "unexpected argument"),
    ] {
        let output = backstop.command(args);
        assert_eq!((output.status, output.stdout.as_str()), (64, ""), "{args:?}: {output:?}");
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
    }
    decides(&backstop);
}

#[test]
fn it_ends_by_itself() {
    let backstop = site::backstop().start();
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
    assert_eq!(backstop.command(&["disable", "--for", "2s", "--across-restarts"]).status, 0);
    mta.mail();
    assert_eq!(mta.rcpt("<nobody@example.test>"), Answer::Continue);
    let file = backstop.path("store/disabled.json");
    assert!(file.exists());
    wait_until(SOON, "the end", || backstop.metric("backstop_enabled", &[]) == 1.0);
    mta.decides();
    assert_eq!(status(&backstop)["disabled"], Value::Null);
    assert!(backstop.log().contains("enabled again"), "{}", backstop.log());
    wait_until(SOON, "nothing to be left", || !file.exists());
}

#[test]
fn a_restart_ends_it_unless_it_is_to_last() {
    let dir = TempDir::new("store");
    let store = format!("embedded:{}", dir.join("store").display());
    let start = || site::backstop().env("BACKSTOP__STORE__URL", &store).start();
    // kill -9, right behind the command
    for (command, is_disabled) in [
        (&["disable"][..], false),
        (&["disable", "--across-restarts", "--reason", "moving"], true),
        (&["disable", "--across-restarts", "--for", "1h"], true),
        (&["disable", "--for", "1h"], false),
        (&["disable", "--across-restarts"], true),
        (&["enable"], false),
    ] {
        let backstop = start();
        let output = backstop.command(command);
        assert_eq!(output.status, 0, "{command:?}: {output:?}");
        let before = status(&backstop);
        drop(backstop);
        let backstop = start();
        let after = status(&backstop);
        if is_disabled {
            assert_eq!(after["disabled"], before["disabled"], "{command:?}");
            assert_eq!(backstop.metric("backstop_enabled", &[]), 0.0);
            assert!(backstop.log().contains("disabled: everything passes"), "{}", backstop.log());
            passes(&backstop);
        } else {
            assert_eq!(after["disabled"], Value::Null, "{command:?}");
            decides(&backstop);
        }
    }
    // What is over when it starts is over. What makes no sense had been somebody's word.
    let file = dir.join("store/disabled.json");
    fs::write(&file, r#"{"since":1000,"until":2000}"#).expect("root may");
    let backstop = start();
    decides(&backstop);
    assert!(!file.exists(), "it is removed");
    drop(backstop);
    fs::write(&file, "garbage").expect("root may");
    let backstop = start();
    passes(&backstop);
    assert_eq!(backstop.command(&["enable"]).status, 0);
    decides(&backstop);
    assert!(!file.exists());
}

/// What is in force is in force, also where it can't be written down.
#[test]
fn a_disk_that_takes_nothing_is_told() {
    let backstop = site::backstop().start();
    let (store, aside) = (backstop.path("store"), backstop.path("aside"));
    fs::rename(&store, &aside).expect("root may");
    fs::write(&store, "no directory").expect("root may");
    let output = backstop.command(&["disable", "--across-restarts"]);
    assert_eq!(output.status, 69, "{output:?}");
    assert!(output.stderr.contains("it is in force, but can't be written down"), "{output:?}");
    passes(&backstop);
    assert_eq!(backstop.command(&["enable"]).status, 0, "there is nothing to remove");
    decides(&backstop);
}

/// The store may be shared; the switch is this host's, and works while the store does not.
#[test]
fn others_who_share_the_store_go_on() {
    let mut redis = Redis::start();
    let dir = TempDir::new("hosts");
    let start = |host: &str| {
        let directory = dir.join(host).display().to_string();
        let builder = site::backstop().env("BACKSTOP__STORE__URL", &redis.url());
        builder.env("BACKSTOP__STORE__DIRECTORY", &directory).start()
    };
    let (here, there) = (start("here"), start("there"));
    assert_eq!(here.command(&["disable", "--across-restarts"]).status, 0);
    passes(&here);
    decides(&there);
    drop((here, there));
    let (here, there) = (start("here"), start("there"));
    passes(&here);
    decides(&there);
    redis.freeze();
    assert_eq!(here.command(&["enable"]).status, 0);
    assert_eq!(here.command(&["disable"]).status, 0);
    passes(&here);
    redis.thaw();
}

#[track_caller]
fn passes(backstop: &Backstop) {
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.mail();
    assert_eq!(mta.rcpt("<nobody@example.test>"), Answer::Continue);
}

#[track_caller]
fn decides(backstop: &Backstop) {
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    mta.decides();
}

#[track_caller]
fn status(backstop: &Backstop) -> Value {
    parse(&backstop.command(&["status", "--json"]).stdout)
}

#[track_caller]
fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const SOON: Duration = Duration::from_secs(30);
