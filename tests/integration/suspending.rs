//! Suspensions by command, in front of a real Postfix.

use std::time::Duration;

use backstop_harness::{Backstop, Postfix, Smtp, wait_until};
use serde_json::{Value, json};

use crate::site;
use crate::standing::answer;

const CLIENT: &str = "203.0.113.9";

#[test]
fn a_suspended_recipient_is_refused_until_he_is_resumed() {
    let (backstop, postfix) = site();
    let mut open = session(&postfix);
    assert_eq!(open.rcpt("<anna@example.test>").code, 250, "{}", open.transcript());

    let output = backstop.command(&["suspend", "Anna@Example.Test"]);
    assert_eq!(
        (output.status, output.stdout.as_str()),
        (0, "anna@example.test is suspended\n"),
        "{output:?}"
    );
    // The command has returned: it counts, in open sessions as well, for sub-addresses, and for insiders.
    for recipient in ["<anna@example.test>", "<ANNA@example.test>", "<anna+lists@example.test>"] {
        let reply = open.rcpt(recipient);
        let told = (reply.code, reply.enhanced.as_deref(), reply.text.as_str());
        let expected = (550, Some("5.2.1"), "Mailbox suspended [suspended-recipient]");
        assert!(
            told.0 == expected.0 && told.1 == expected.1 && told.2.ends_with(expected.2),
            "{}",
            open.transcript()
        );
    }
    assert_eq!(answer(&postfix, "192.0.2.1", "<anna@example.test>"), 550);
    assert_eq!(open.rcpt("<bob@example.test>").code, 250, "{}", open.transcript());
    assert_eq!(open.rcpt("<anna@mx.example.test>").code, 250, "another domain");

    let output = backstop.command(&["resume", "anna@example.test"]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "anna@example.test is no longer suspended\n"));
    assert_eq!(open.rcpt("<anna@example.test>").code, 250, "{}", open.transcript());
    let output = backstop.command(&["resume", "anna@example.test"]);
    assert_eq!(
        (output.status, output.stdout.as_str()),
        (1, "anna@example.test was not suspended by command\n")
    );
}

#[test]
fn a_whole_domain_can_be_suspended() {
    let (backstop, postfix) = site();
    assert_eq!(backstop.command(&["suspend", "@virtual.test"]).status, 0);
    for (recipient, code) in [
        ("<anna@virtual.test>", 550),
        ("<whoever@virtual.test>", 550),
        ("<postmaster@virtual.test>", 250),
        ("<anna@example.test>", 250),
    ] {
        assert_eq!(answer(&postfix, CLIENT, recipient), code, "{recipient}");
    }
    assert_eq!(backstop.command(&["resume", "@Virtual.Test."]).status, 0);
    assert_eq!(answer(&postfix, CLIENT, "<anna@virtual.test>"), 250);
}

/// A text of its own goes into the reply as it is, and never more than that.
#[test]
fn a_suspension_may_have_words_of_its_own() {
    let (backstop, postfix) = site();
    let odd = "100% of \\the <owners> [say] so; \"ask\" them";
    let longest = "x".repeat(200);
    for text in [odd, &longest] {
        assert_eq!(backstop.command(&["suspend", "anna@example.test", "--text", text]).status, 0, "{text}");
        let mut smtp = session(&postfix);
        let reply = smtp.rcpt("<anna@example.test>");
        let told = format!("{text} [suspended-recipient]");
        assert!(reply.code == 550 && reply.text.ends_with(&told), "{}", smtp.transcript());
        let checked = json(&backstop.command(&["check", "anna@example.test", "--json"]).stdout);
        assert_eq!(checked["reply"], json!(format!("550 5.2.1 {told}")));
    }
    for text in ["", " ", "two\r\nlines", "naïve", &"x".repeat(201)] {
        let output = backstop.command(&["suspend", "bob@example.test", "--text", text]);
        assert_eq!(output.status, 64, "{text:?}: {output:?}");
        assert!(output.stderr.contains("1 to 200 printable ASCII characters"), "{output:?}");
    }
    assert_eq!(answer(&postfix, CLIENT, "<bob@example.test>"), 250);
}

#[test]
fn a_suspension_ends_by_itself() {
    let (backstop, postfix) = site();
    let output = backstop.command(&["suspend", "anna@example.test", "--for", "3s"]);
    assert!(output.stdout.starts_with("anna@example.test is suspended until 20"), "{output:?}");
    assert_eq!(answer(&postfix, CLIENT, "<anna@example.test>"), 550);
    wait_until(Duration::from_secs(20), "the end of the suspension", || {
        answer(&postfix, CLIENT, "<anna@example.test>") == 250
    });
    assert_eq!(json(&backstop.command(&["suspended", "--json"]).stdout)["total"], 0);
}

#[test]
fn suspensions_are_listed_and_explained() {
    let (backstop, _postfix) = site();
    let args = [
        "suspend",
        "anna@example.test",
        "--until",
        "2100-01-01T00:00Z",
        "--reason",
        "unpaid",
        "--text",
        "Call us",
    ];
    assert_eq!(backstop.command(&args).status, 0);
    assert_eq!(backstop.command(&["suspend", "@virtual.test"]).status, 0);
    let listed = json(&backstop.command(&["suspended", "--json"]).stdout);
    assert_eq!(listed["total"], 2);
    let (domain, anna) = (&listed["suspensions"][0], &listed["suspensions"][1]);
    assert_eq!(
        (&domain["what"], &domain["until"], &domain["by"]),
        (&json!("@virtual.test"), &Value::Null, &json!("root"))
    );
    assert_eq!(
        (&anna["what"], &anna["until"], &anna["reason"], &anna["text"]),
        (&json!("anna@example.test"), &json!(4_102_444_800_u64), &json!("unpaid"), &json!("Call us"))
    );
    let text = backstop.command(&["suspended"]).stdout;
    assert!(text.starts_with("@virtual.test  since 20"), "{text}");
    assert!(text.contains("  by root  unpaid  tells: Call us\n"), "{text}");
    let check = backstop.command(&["check", "anna@example.test"]);
    assert_eq!(check.status, 1, "{check:?}");
    for words in [
        "suspended anna@example.test: suspended (",
        "anna@example.test is suspended by command since 20",
        " until 2100-01-01T00:00:00Z, by root: unpaid [by command: embedded:",
        "reject: 550 5.2.1 Call us [suspended-recipient]\n",
    ] {
        assert!(check.stdout.contains(words), "{words}: {check:?}");
    }
    let trail =
        "what=\"anna@example.test\" until=\"2100-01-01T00:00:00Z\" reason=\"unpaid\" outcome=\"done\"";
    assert!(backstop.log().contains(trail), "{}", backstop.log());
    assert!(backstop.command(&["status"]).stdout.contains("suspensions by command: 2\n"));
}

#[test]
fn what_has_no_effect_is_told() {
    let (backstop, _postfix) = site();
    for (what, note) in [
        ("nobody@example.test", "note: no directory knows it"),
        ("anna@elsewhere.test", "note: elsewhere.test is not local"),
        ("@elsewhere.test", "note: elsewhere.test is not local"),
        ("postmaster@example.test", "note: it is never refused"),
    ] {
        let output = backstop.command(&["suspend", what]);
        assert!(output.status == 0 && output.stdout.contains(note), "{what}: {output:?}");
    }
    let output = backstop.command(&["suspend", "anna@example.test"]);
    assert_eq!(output.stdout, "anna@example.test is suspended\n", "no note: {output:?}");
    let output = backstop.command(&["suspend", "anna@example.test"]);
    assert!(output.stdout.contains("it was before"), "{output:?}");
    // one that a file suspends as well
    assert_eq!(backstop.command(&["suspend", "unpaid@example.test"]).status, 0);
    let output = backstop.command(&["resume", "unpaid@example.test"]);
    assert!(
        output.stdout.contains("refused all the same: the address is in suspensions.files"),
        "{output:?}"
    );
}

/// What is said to a server that can write nothing down ends with it: whoever says it has to know.
#[test]
fn where_nothing_can_be_kept_each_command_says_so() {
    let backstop = site::backstop().env("BACKSTOP__STORE__URL", "embedded:/dev/null/store").start();
    for args in [["suspend", "anna@example.test"], ["block", CLIENT], ["trust", CLIENT]] {
        let output = backstop.command(&args);
        let note =
            "note: it is in force, but not written down: store embedded:/dev/null/store: Not a directory";
        assert!(output.status == 0 && output.stdout.contains(note), "{output:?}");
    }
    let output = backstop.command(&["suspended"]);
    assert!(output.stdout.starts_with("anna@example.test  since "), "{output:?}");
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_write() {
    let (backstop, _postfix) = site();
    for (args, words) in [
        (&["suspend", "anna"][..], "write user@example.com, or @example.com for the whole domain"),
        (&["suspend", "example.test"], "write user@example.com, or @example.com for the whole domain"),
        (&["suspend", "a b@example.test"], "unexpected"),
        (&["suspend", "@"], "names no domain: empty"),
        (&["suspend", "anna@example.test", "--until", "2001-01-01"], "lies in the future"),
        (&["suspend", "anna@example.test", "--until", "tomorrow"], "a time is written like"),
        (&["suspend", "anna@example.test", "--until", "2100-01-01", "--for", "1h"], "cannot be used with"),
        (&["suspend", "anna@example.test", "--reason", "\u{1b}[2J"], "a reason is one line"),
        (&["resume", "anna"], "write user@example.com"),
        (&["suspend"], "<ADDRESS|@DOMAIN>"),
    ] {
        let output = backstop.command(args);
        assert_eq!((output.status, output.stdout.as_str()), (64, ""), "{args:?}: {output:?}");
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
    }
    assert_eq!(
        json(&backstop.command(&["suspended", "--json"]).stdout),
        json!({ "total": 0, "suspensions": [] })
    );
}

fn site() -> (Backstop, Postfix) {
    let backstop = site::backstop().start();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main(&format!("relay_domains = {}", site::DOMAINS.join(" ")))
        .start();
    (backstop, postfix)
}

/// A session of an outsider, with a sender.
fn session(postfix: &Postfix) -> Smtp {
    let mut smtp = crate::standing::from(postfix, CLIENT);
    smtp.mail("<sender@elsewhere.test>");
    smtp
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
