//! `backstop check` says what the MTA would be told: the running server, and the configuration alone.

use std::time::Duration;

use backstop_harness::{Backstop, Postfix, Reply, Smtp, TempDir, free_port, wait_until};
use serde_json::{Value, json};

use crate::{BACKSTOP, site};

#[test]
fn check_agrees_with_what_the_client_is_told() {
    let backstop = site::backstop().env("BACKSTOP__CLIENT__DYNAMIC__REVERSE_DNS", "false").start();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main(&format!("relay_domains = {} foreign.test", site::DOMAINS.join(" ")))
        .main("mynetworks = 0.0.0.0/0\nallow_untrusted_routing = yes")
        .start();
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("client.test");
    smtp.xclient("ADDR=198.51.100.7 NAME=mail.elsewhere.test");
    smtp.ehlo("mail.elsewhere.test");
    smtp.mail("<sender@elsewhere.test>");
    for (address, reason, status) in [
        ("anna@example.test", "ok", 0),
        ("ANNA+news@example.test", "ok", 0),
        ("nobody@example.test", "unknown-recipient", 1),
        ("unpaid@example.test", "suspended-recipient", 1),
        ("whoever@suspended.test", "suspended-recipient", 1),
        ("whoever@catchall.test", "ok", 0),
        ("nobody@foreign.test", "not-local", 0),
        ("postmaster@example.test", "exempt", 0),
        ("victim%foreign.test@example.test", "relay-syntax", 1),
    ] {
        let reply = smtp.rcpt(&format!("<{address}>"));
        assert_eq!(reply.ok(), status == 0, "{address}: {reply}");
        assert!(reply.ok() || reply.text.ends_with(&format!("[{reason}]")), "{address}: {reply}");
        for offline in [&[][..], &["--offline"]] {
            let client = ["check", address, "--client", "198.51.100.7", "--from", "sender@elsewhere.test"];
            let output = backstop.command(&[&client[..], offline].concat());
            assert_eq!(output.status, status, "{address} {offline:?}: {output:?}");
            assert!(output.stdout.contains(reason), "{address} {offline:?}: {output:?}");
        }
    }
}

/// One question of each kind, put three ways: by a client to a real Postfix, to the server, and to nobody but the
/// configuration. All have one answer, and the last two explain it alike.
#[test]
fn the_same_is_told_online_offline_and_to_the_client() {
    let dir = TempDir::new("databases");
    let table = "create table mailbox (address text primary key, suspended int);\n\
                 insert into mailbox values ('anna@kept.test', 0), ('unpaid@kept.test', 1), ('anna@live.test', 0);";
    let mut sqlite = std::process::Command::new("sqlite3");
    assert!(sqlite.arg(dir.join("mail.db")).arg(table).status().expect("it is installed").success());
    let milter = format!("inet:127.0.0.1:{}", free_port());
    let domains = "example.test caught.test broken.test kept.test live.test partial.test";
    let postfix = Postfix::builder()
        .milter(&milter)
        .main(&format!("relay_domains = {domains}\nmynetworks = 127.0.0.0/8\nallow_untrusted_routing = yes"))
        .start();
    let backstop = Backstop::builder(BACKSTOP)
        .listen(&milter)
        .env("MAIL_CONFIG", &postfix.config_directory().display().to_string())
        .file("people", "anna@example.test\nunpaid@example.test\nbob@example.test\n")
        .file("suspended", "unpaid@example.test\n")
        .file("broken", "")
        .file("dynamic", "203.0.113.0/24\n")
        .config(&CONFIG.replace("{db}", &dir.join("mail.db").display().to_string()))
        .start();
    wait_until(Duration::from_secs(20), "the listing", || {
        backstop.metric("backstop_directory_addresses", &[("directory", "kept")]) == 2.0
    });
    for (address, client, reason) in [
        ("anna@example.test", OUTSIDER, "ok"),
        ("anna+lists@example.test", OUTSIDER, "ok"),
        ("nobody@example.test", OUTSIDER, "unknown-recipient"),
        ("nobody@example.test", "127.0.0.2", "unknown-recipient"),
        ("unpaid@example.test", OUTSIDER, "suspended-recipient"),
        ("unpaid+lists@example.test", OUTSIDER, "suspended-recipient"),
        ("postmaster@example.test", OUTSIDER, "exempt"),
        ("whoever@caught.test", OUTSIDER, "ok"),
        ("whoever@partial.test", OUTSIDER, "no-directory"),
        ("whoever@broken.test", OUTSIDER, "directory-unavailable"),
        ("victim%foreign.test@example.test", OUTSIDER, "relay-syntax"),
        ("bait@example.test", OUTSIDER, "spam-trap"),
        ("anna@example.test", "198.51.100.200", "denied-client"),
        ("anna@example.test", "203.0.113.9", "dynamic-client"),
        ("anna@kept.test", OUTSIDER, "ok"),
        ("unpaid@kept.test", OUTSIDER, "suspended-recipient"),
        ("nobody@kept.test", OUTSIDER, "unknown-recipient"),
        ("anna@live.test", OUTSIDER, "ok"),
    ] {
        let ask = |more: &[&str]| {
            let question =
                ["check", address, "--client", client, "--from", "sender@elsewhere.test", "--json"];
            let output = backstop.command(&[&question[..], more].concat());
            let answer: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
            (output.status, answer)
        };
        let ((status, online), (_, offline)) = (ask(&[]), ask(&["--offline"]));
        let case = format!("{address} from {client}: {online:#} {offline:#}");
        assert_eq!((&online["reason"], &offline["reason"]), (&json!(reason), &json!(reason)), "{case}");
        assert_eq!(online["verdict"], offline["verdict"], "{case}");
        assert_eq!(online["reply"], offline["reply"], "{case}");
        assert_eq!(ageless(&online, false), ageless(&offline, true), "{case}");

        let told = told(&postfix, client, address);
        assert_eq!(told.ok(), status == 0, "{told}: {case}");
        if status != 0 {
            assert_eq!(json!(told.to_string()), online["reply"], "{case}");
        }
    }

    // Nobody is called unknown by a database that never found anybody, and another process has not seen whom it found.
    assert_eq!(backstop.command(&["check", "nobody@live.test"]).status, 1);
    let output = backstop.command(&["check", "nobody@live.test", "--offline"]);
    assert!(output.status == 2 && output.stdout.contains("nobody was found yet"), "{output:?}");

    // What only the server knows.
    assert_eq!(backstop.command(&["suspend", "bob@example.test", "--text", "Gone fishing"]).status, 0);
    let online = backstop.command(&["check", "bob@example.test"]);
    let reply = told(&postfix, OUTSIDER, "bob@example.test").to_string();
    assert_eq!(reply, "550 5.2.1 Gone fishing [suspended-recipient]");
    assert!(online.status == 1 && online.stdout.contains(&format!("reject: {reply}\n")), "{online:?}");
    assert!(online.stdout.contains(" by root [by command: embedded:"), "{online:?}");
    assert!(online.stdout.contains("/store, as of now]"), "{online:?}");
    let offline = backstop.command(&["check", "bob@example.test", "--offline"]);
    assert_eq!(offline.status, 0, "{offline:?}");
    for told in [
        "[by command: not looked at, the server knows them]",
        "note: without the server it was not looked at",
    ] {
        assert!(offline.stdout.contains(told), "{told}: {offline:?}");
    }
}

/// Whatever an answer comes from is named, with its age.
#[test]
fn every_answer_has_a_source_and_an_age() {
    let backstop = site::backstop().env("BACKSTOP__CLIENT__DENIED", r#"["198.51.100.0/24"]"#).start();
    let check = |address, client| backstop.command(&["check", address, "--client", client]).stdout;
    for (address, client, told) in [
        ("nobody@example.test", "203.0.113.9", "      [suspensions.files: {dir}/suspended, read "),
        ("nobody@example.test", "203.0.113.9", "      [by command: embedded:{dir}/store, as of now]"),
        ("nobody@example.test", "203.0.113.9", "      [embedded:{dir}/store, asked now]"),
        ("nobody@example.test", "203.0.113.9", "      [DNS, asked "),
        (
            "unpaid@example.test",
            "203.0.113.9",
            "      the address is in suspensions.files [suspensions.files: {dir}/suspended, read ",
        ),
        ("nobody@example.test", "203.0.113.9", "nobody@example.test is absent [{dir}/addresses, read "),
        ("anna@example.test", "192.0.2.7", "      192.0.2.0/24 in client.trusted\n"),
        ("anna@example.test", "198.51.100.7", "      198.51.100.0/24 in client.denied\n"),
    ] {
        let (output, dir) = (check(address, client), backstop.path(""));
        let told = told.replace("{dir}", dir.display().to_string().trim_end_matches('/'));
        assert!(output.contains(&told), "{told}: {output}");
    }
    let nobody = backstop.command(&["check", "anna@example.test"]).stdout;
    assert!(nobody.contains("standing: nothing: no client was named"), "{nobody}");
}

/// What the client is told of the recipient: the first refusal, or the answer to RCPT.
fn told(postfix: &Postfix, client: &str, address: &str) -> Reply {
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("client.test");
    smtp.xclient(&format!("ADDR={client} NAME=[UNAVAILABLE]"));
    smtp.ehlo("mail.elsewhere.test");
    let reply = smtp.mail("<sender@elsewhere.test>");
    if reply.ok() { smtp.rcpt(&format!("<{address}>")) } else { reply }
}

/// The steps without how long they took and how old the answers are. Without the server what is in its store is not
/// looked at, and what it remembers of live directories and the DNS is asked for: that is all the difference there may be.
pub(crate) fn ageless(answer: &Value, is_offline: bool) -> Vec<Value> {
    let steps = answer["steps"].as_array().expect("it has steps").iter().map(|step| {
        let mut step = step.clone();
        step["micros"] = Value::Null;
        let lines = step["evidence"].as_array().expect("a list").iter();
        let lines = lines.map(|line| ageless_line(line.as_str().expect("words")));
        let mut lines: Vec<String> = lines.collect();
        let is_left_out = |what| is_offline && step["question"] == what;
        let is_skipped = lines.iter().any(|line| line == "[by command: not looked at");
        assert_eq!(is_skipped, is_left_out("suspended") && step["answer"] == "not suspended", "{step}");
        lines.retain(|line| !line.starts_with("[by command: "));
        if step["question"] == "standing" {
            let is_nobody = step["answer"] == "nothing: no client was named";
            let is_skipped = step["answer"] == "not looked at, the server knows it";
            assert_eq!(is_skipped, is_left_out("standing") && !is_nobody, "{step}");
            (step["answer"], lines) = (Value::Null, Vec::new());
        }
        step["evidence"] = lines.into();
        step
    });
    steps.collect()
}

/// Without the age that ends it: `x: anna@example.test exists [/etc/backstop/recipients`.
fn ageless_line(line: &str) -> String {
    match line.rsplit_once('[').filter(|_| line.ends_with(']')) {
        Some((before, origin)) => {
            let source = origin.split_once(", ").map_or("asked", |(source, _)| source);
            let source = if source.starts_with("asked ") { "asked" } else { source };
            format!("{before}[{source}")
        }
        None => line.to_owned(),
    }
}

const OUTSIDER: &str = "198.51.100.7";

const CONFIG: &str = r#"
[domains]
names = ["example.test", "caught.test", "broken.test", "kept.test", "live.test"]

[recipients]
delimiters = "+"
catch_all = ["caught.test"]

[directory.people]
domains = ["example.test", "caught.test"]
[directory.people.file]
path = "{dir}/people"

[directory.broken]
domains = ["broken.test"]
[directory.broken.file]
path = "{dir}/broken"

[directory.kept]
domains = ["kept.test"]
[directory.kept.sql]
url = "sqlite:{db}"
query = "select * from mailbox where address = ?1"
source = "replica"
listing = "select * from mailbox where address like '%@kept.test'"

[directory.live]
domains = ["live.test"]
[directory.live.sql]
url = "sqlite:{db}"
query = "select * from mailbox where address = ?1"

[suspensions]
files = ["{dir}/suspended"]

[client]
denied = ["198.51.100.200"]
[client.dynamic]
enforce = "rcpt"
reverse_dns = false
networks = ["{dir}/dynamic"]

[defence.traps]
addresses = ["bait@example.test"]
"#;
