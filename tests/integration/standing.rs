//! Clients that an admin blocks, trusts for a time, and releases, in front of a real Postfix whose clients claim their
//! addresses by XCLIENT.

use std::time::Duration;

use backstop_harness::{Backstop, Postfix, SASL_PASSWORD, SASL_USER, Smtp, wait_until};
use serde_json::{Value, json};

use crate::site;

const CLIENT: &str = "203.0.113.9";

#[test]
fn a_blocked_client_learns_nothing() {
    let (backstop, postfix) = site();
    let mut open = from(&postfix, CLIENT);
    open.mail("<sender@elsewhere.test>");
    assert_eq!(open.rcpt("<anna@example.test>").code, 250, "{}", open.transcript());

    let output = backstop.command(&["block", CLIENT, "--for", "2h", "--reason", "it guesses"]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "203.0.113.9 is blocked for 2h\n"), "{output:?}");

    // Known, unknown and suspended: the same answer, in the session that is open as well.
    // He has asked for nobody, so he is told nothing of unknown recipients.
    let blocked = "Blocked for a time, try again later [harvest]";
    for recipient in ["<bob@example.test>", "<nobody@example.test>", "<unpaid@example.test>"] {
        let mut smtp = from(&postfix, CLIENT);
        smtp.mail("<sender@elsewhere.test>");
        let reply = smtp.rcpt(recipient);
        assert_eq!((reply.code, reply.text.as_str()), (421, blocked), "{}", smtp.transcript());
    }
    let reply = open.rcpt("<bob@example.test>");
    assert_eq!((reply.code, reply.enhanced.as_deref()), (421, Some("4.7.0")), "{}", open.transcript());
    assert_eq!(backstop.metric("backstop_decisions_total", &[("reason", "harvest")]), 4.0);

    // Not the neighbour, not who must always be reached, not mail for others, nor who authenticates there.
    assert_eq!(answer(&postfix, "203.0.113.8", "<anna@example.test>"), 250);
    assert_eq!(answer(&postfix, CLIENT, "<postmaster@example.test>"), 250);
    assert_eq!(answer(&postfix, CLIENT, "<abuse@example.test>"), 550, "unknown, but not blocked");
    assert_eq!(answer(&postfix, CLIENT, "<anyone@elsewhere.test>"), 554, "Postfix refuses to relay");
    let mut user = from(&postfix, CLIENT);
    assert_eq!(user.auth_plain(SASL_USER, SASL_PASSWORD).code, 235, "{}", user.transcript());
    user.mail("<alice@example.test>");
    assert_eq!(user.rcpt("<anna@example.test>").code, 250, "{}", user.transcript());

    let output = backstop.command(&["release", CLIENT]);
    assert_eq!(output.stdout, "203.0.113.9 is neither blocked nor trusted any longer\n", "{output:?}");
    assert_eq!(answer(&postfix, CLIENT, "<anna@example.test>"), 250);
    assert_eq!(answer(&postfix, CLIENT, "<nobody@example.test>"), 550);
    assert_eq!(backstop.command(&["release", CLIENT]).status, 1);
}

#[test]
fn of_an_ipv6_address_the_network_is_blocked() {
    let (backstop, postfix) = site();
    let output = backstop.command(&["block", "2001:db8:1:2::9"]);
    assert_eq!(output.stdout, "2001:db8:1:2::/64 is blocked for 1h\n", "{output:?}");
    for (client, code) in
        [("IPV6:2001:db8:1:2::9", 421), ("IPV6:2001:db8:1:2:3:4:5:6", 421), ("IPV6:2001:db8:1:3::9", 250)]
    {
        assert_eq!(answer(&postfix, client, "<anna@example.test>"), code, "{client}");
    }
    assert_eq!(backstop.command(&["release", "2001:db8:1:2::/64"]).status, 0);
    assert_eq!(answer(&postfix, "IPV6:2001:db8:1:2::9", "<anna@example.test>"), 250);
}

#[test]
fn who_is_trusted_for_a_time_is_an_insider_until_it_is_over() {
    let (backstop, postfix) = site();
    assert_eq!(backstop.command(&["block", CLIENT]).status, 0);
    assert_eq!(answer(&postfix, CLIENT, "<anna@example.test>"), 421);
    let output = backstop.command(&["trust", CLIENT, "--for", "3s"]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "203.0.113.9 is trusted for 3s\n"), "{output:?}");
    assert_eq!(answer(&postfix, CLIENT, "<anna@example.test>"), 250);
    assert_eq!(answer(&postfix, CLIENT, "<nobody@example.test>"), 550, "nobody is above that");
    assert_eq!(answer(&postfix, "203.0.113.8", "<anna@example.test>"), 250);
    wait_until(Duration::from_secs(20), "the end of the trust", || {
        answer(&postfix, CLIENT, "<anna@example.test>") == 421
    });
    // a block says when it has no effect
    assert_eq!(backstop.command(&["trust", CLIENT]).status, 0);
    let output = backstop.command(&["block", CLIENT]);
    assert!(output.stdout.contains("note: it is trusted for a time"), "{output:?}");
    // released, it is neither
    assert_eq!(backstop.command(&["release", CLIENT]).status, 0);
    assert_eq!(json(&backstop, &["trusted", "--json"])["total"], 0);
    assert_eq!(json(&backstop, &["blocked", "--json"])["total"], 0);
}

#[test]
fn standings_are_listed_and_explained() {
    let (backstop, _postfix) = site();
    for list in ["trusted", "blocked"] {
        let output = backstop.command(&[list]);
        assert_eq!((output.status, output.stdout.as_str()), (0, ""), "{output:?}");
    }
    assert_eq!(backstop.command(&["block", CLIENT, "--for", "1w", "--reason", "it guesses"]).status, 0);
    assert_eq!(backstop.command(&["block", "2001:db8::1"]).status, 0);
    assert_eq!(backstop.command(&["trust", "198.51.100.7"]).status, 0);
    let blocked = json(&backstop, &["blocked", "--json"]);
    assert_eq!(blocked["total"], 2);
    let clients = blocked["clients"].as_array().expect("a list");
    let names: Vec<_> = clients.iter().map(|client| (&client["client"], &client["reason"])).collect();
    let expected = [(&json!("2001:db8::/64"), &json!("")), (&json!(CLIENT), &json!("it guesses"))];
    assert_eq!(names, expected);
    assert!(clients[1]["seconds_left"].as_u64().is_some_and(|left| (600_000..=604_800).contains(&left)));
    let text = backstop.command(&["blocked"]).stdout;
    assert!(
        text.lines()
            .any(|line| line.starts_with("203.0.113.9  for 6d 23h ") && line.ends_with("  it guesses")),
        "{text}"
    );
    let text = backstop.command(&["trusted"]).stdout;
    assert!(text.starts_with("198.51.100.7  for 29m ") && text.lines().count() == 1, "{text}");
    let status = backstop.command(&["status"]).stdout;
    assert!(
        status.contains("clients trusted for a time: 1, blocked: 2; suspensions by command: 0\n"),
        "{status}"
    );
    let output = backstop.command(&["check", "anna@example.test", "--client", CLIENT]);
    assert_eq!(output.status, 2, "{output:?}");
    for words in [
        "standing: blocked (",
        "      it guesses\n",
        "defer: 421 4.7.0 Blocked for a time, ",
        "reason: harvest\n",
    ] {
        assert!(output.stdout.contains(words), "{words}: {output:?}");
    }
    let output = backstop.command(&["check", "anna@example.test", "--client", "198.51.100.7"]);
    assert!(output.status == 0 && output.stdout.contains("trusted for a time, an insider"), "{output:?}");
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_write() {
    let (backstop, _postfix) = site();
    for (args, words) in [
        (&["block", "127.0.0.1"][..], "is this host itself"),
        (&["trust", "::1"], "is this host itself"),
        (&["trust", "0.0.0.0"], "is the address of no client"),
        (&["block", "255.255.255.255"], "is the address of no client"),
        (&["trust", CLIENT, "--for", "8d"], "at most 7 days"),
        (&["block", CLIENT, "--for", "31d"], "at most 30 days"),
        (&["block", CLIENT, "--for", "forever"], "a duration is written like"),
        (&["block", CLIENT, "--for", "0s"], "a second is the least"),
        (&["block", CLIENT, "--reason", "two\nlines"], "a reason is one line"),
        (&["block", "203.0.113.0/24"], "whole networks belong into client.denied"),
        (&["block", "mail.example.org"], "an IP address is needed"),
        (&["trust", "203.0.113.0/24"], "invalid IP address"),
        (&["release", ""], "an IP address is needed"),
        (&["block"], "<IP>"),
    ] {
        let output = backstop.command(args);
        assert_eq!((output.status, output.stdout.as_str()), (64, ""), "{args:?}: {output:?}");
        assert!(output.stderr.contains(words), "{args:?}: {output:?}");
    }
    assert_eq!(json(&backstop, &["blocked", "--json"]), json!({ "total": 0, "clients": [] }));
    // what has no effect is done, and told
    let output = backstop.command(&["block", "192.0.2.1"]);
    assert!(output.status == 0 && output.stdout.contains("note: it is in a trusted network"), "{output:?}");
}

fn site() -> (Backstop, Postfix) {
    let backstop = site::backstop().start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    (backstop, postfix)
}

/// A session of a client with this address, as XCLIENT writes it.
pub(crate) fn from(postfix: &Postfix, client: &str) -> Smtp {
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("client.elsewhere.test");
    assert_eq!(smtp.xclient(&format!("ADDR={client} NAME=[UNAVAILABLE]")).code, 220, "{}", smtp.transcript());
    smtp.ehlo("client.elsewhere.test");
    smtp
}

/// What such a client is answered to one recipient.
pub(crate) fn answer(postfix: &Postfix, client: &str, recipient: &str) -> u16 {
    let mut smtp = from(postfix, client);
    smtp.mail("<sender@elsewhere.test>");
    smtp.rcpt(recipient).code
}

#[track_caller]
fn json(backstop: &Backstop, args: &[&str]) -> Value {
    let output = backstop.command(args);
    assert_eq!(output.status, 0, "{args:?}: {output:?}");
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}
