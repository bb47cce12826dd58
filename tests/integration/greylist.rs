//! The greylist on real mail servers: who queues comes through, from whichever address of its network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use backstop_harness::{
    BackstopBuilder, Dns, Fault, Postfix, Reply, SASL_PASSWORD, SASL_USER, Sendmail, Sink, Smtp, wait_until,
};

use crate::site;

/// A second Postfix has a message for two of our users in its queue, and tries again by itself, from another address of its
/// network.
#[test]
fn a_real_queue_comes_again_and_passes() {
    let dns = Dns::start();
    let backstop = greylisting(&dns, "3s").start();
    let sink = Sink::start();
    let ours = Postfix::builder().milter(&backstop.for_postfix()).next_hop(sink.port()).start();
    let mut theirs = elsewhere(&ours).start();
    theirs.sendmail(
        "sender@elsewhere.test",
        &["anna@example.test", "bob@example.test"],
        "Subject: patience\n\nHello.\n",
    );
    // The second one's line is the last of a delivery: what is still under way would be left for much later.
    theirs.wait_for_log("to=<bob@example.test>");
    let moved = theirs.command("postconf", &["-e", "smtp_bind_address = 127.0.0.6"]).status();
    assert!(moved.is_ok_and(|status| status.success()));
    theirs.reload();
    let message = sink.wait_for("Subject: patience");
    assert!(message.data.contains("[127.0.0.6]"), "it has moved: {}", message.data);
    assert_eq!(message.rcpts, ["anna@example.test", "bob@example.test"], "both waited, and passed, together");
    theirs.wait_for_empty_queue();
    assert!(theirs.maillog().contains("450 4.7.1 Greylisted, try again later [greylisted]"));
    let outcomes = backstop.metric_by("backstop_greylist_total", &[], "outcome");
    assert_eq!((outcomes.get("first"), outcomes.get("returned")), (Some(&2.0), Some(&2.0)), "{outcomes:?}");
    assert!(
        backstop.log().contains("wait=\"3s\""),
        "the log says how long it is held up: {}",
        backstop.log()
    );

    // From then on it does not wait.
    theirs.sendmail("sender@elsewhere.test", &["anna@example.test"], "Subject: known\n\nHello.\n");
    sink.wait_for("Subject: known");
    assert_eq!(backstop.metric("backstop_greylist_total", &[("outcome", "known")]), 1.0);
    assert_eq!(backstop.metric("backstop_greylist_total", &[("outcome", "first")]), 2.0);
}

/// A provider that tries again from another of its servers.
#[test]
fn a_pool_that_changes_its_address_within_a_network_passes() {
    let dns = Dns::start();
    let backstop = greylisting(&dns, "3s").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let sender = "<prvs=1234abcdef=sender@elsewhere.test>";
    let (mut smtp, reply) = rcpt(&postfix, "198.51.100.7", sender, "<anna@example.test>");
    is_greylisted(&reply, &smtp);
    // Another day's tag, another of the user's addresses: the same sender and mailbox.
    let check = ["check", "anna+news@example.test", "--client", "198.51.100.99"];
    let output =
        backstop.command(&[&check[..], &["--from", "prvs=9999abcdef=sender@elsewhere.test"]].concat());
    assert_eq!(output.status, 2, "{output:?}");
    assert!(output.stdout.contains("greylist: has to come again"), "{output:?}");
    assert!(
        output.stdout.contains("it was seen with this sender and recipient; it passes in "),
        "{output:?}"
    );

    let mut last = 100;
    wait_until(Duration::from_secs(30), "the pool to pass", || {
        last += 1;
        let reply;
        (smtp, reply) = rcpt(&postfix, &format!("198.51.100.{last}"), sender, "<anna@example.test>");
        if !reply.ok() {
            is_greylisted(&reply, &smtp);
        }
        reply.ok()
    });
    let (smtp, reply) = rcpt(&postfix, "203.0.113.7", sender, "<anna@example.test>");
    is_greylisted(&reply, &smtp);
    // `check` asked, and was nobody's first attempt.
    let output =
        backstop.command(&["check", "bob@example.test", "--client", "198.51.100.7", "--from", "x@y.test"]);
    assert!(output.status == 2 && output.stdout.contains("it was never seen"), "{output:?}");
    assert!(!output.stdout.contains("note:"), "{output:?}");
    let output = backstop.command(&["check", "bob@example.test", "--client", "198.51.100.7"]);
    assert!(output.status == 0 && output.stdout.contains("ask with --client and --from"), "{output:?}");
    assert_eq!(backstop.metric("backstop_greylist_total", &[("outcome", "first")]), 2.0);
}

/// As Microsoft and Google do it: each attempt from another network, and all of them have names in one domain.
#[test]
fn a_pool_with_a_confirmed_domain_passes() {
    let dns = Dns::start();
    let backstop = greylisting(&dns, "3s").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    for (client, name) in [("198.51.100.7", "mail-a.pool.test"), ("203.0.113.7", "mail-b.pool.test")] {
        dns.host(address(client), name);
    }
    // It only says so.
    dns.name_of(address("203.0.114.7"), "mail-c.pool.test");
    let sender = "<sender@customer.test>";
    let (smtp, reply) = rcpt(&postfix, "198.51.100.7", sender, "<anna@example.test>");
    is_greylisted(&reply, &smtp);
    wait_until(Duration::from_secs(30), "the pool to pass", || {
        let (smtp, reply) = rcpt(&postfix, "203.0.113.7", sender, "<anna@example.test>");
        if !reply.ok() {
            is_greylisted(&reply, &smtp);
        }
        reply.ok()
    });
    let (smtp, reply) = rcpt(&postfix, "203.0.114.7", sender, "<anna@example.test>");
    is_greylisted(&reply, &smtp);
    let outcomes = backstop.metric_by("backstop_greylist_total", &[], "outcome");
    assert_eq!((outcomes.get("first"), outcomes.get("returned")), (Some(&2.0), Some(&1.0)), "{outcomes:?}");
}

/// Of whoever came back often nothing has to wait any more: other senders, other recipients.
#[test]
fn who_came_back_often_passes_with_everything() {
    let dns = Dns::start();
    let backstop = greylisting(&dns, "1s").env("BACKSTOP__DEFENCE__GREYLIST__PASSES", "2").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let attempt = |sender: &str| rcpt(&postfix, "198.51.100.7", sender, "<anna@example.test>").1.code;
    let senders = ["<a@one.test>", "<b@two.test>"];
    assert_eq!(senders.map(attempt), [450, 450]);
    for (sender, other) in senders.into_iter().zip(["<c@three.test>", "<e@five.test>"]) {
        assert_eq!(attempt(other), 450, "one is not often");
        wait_until(Duration::from_secs(30), sender, || attempt(sender) == 250);
    }
    let (smtp, reply) = rcpt(&postfix, "198.51.100.99", "<d@four.test>", "<bob@example.test>");
    assert_eq!(reply.code, 250, "{}", smtp.transcript());
    assert_eq!(backstop.metric("backstop_greylist_total", &[("outcome", "client")]), 1.0);
    let (smtp, reply) = rcpt(&postfix, "203.0.113.7", "<d@four.test>", "<bob@example.test>");
    is_greylisted(&reply, &smtp);
}

/// Of those who look like no mail server; names as classes.rs has them.
#[test]
fn the_suspicious_are_put_off_and_servers_are_not() {
    let dns = Dns::start();
    let mode = "BACKSTOP__DEFENCE__GREYLIST__MODE";
    let backstop = greylisting(&dns, "1h").env(mode, "suspicious").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    dns.host(address("198.51.100.7"), "mail.elsewhere.test");
    dns.host(address("203.0.113.7"), "dsl-203-0-113-7.provider.test");
    dns.fault_of(address("203.0.114.7"), Some(Fault::ServFail));
    for (client, code) in [
        ("198.51.100.7", 250),
        ("203.0.113.7", 450),
        // it has no name
        ("203.0.115.7", 450),
        // could not be found out
        ("203.0.114.7", 250),
    ] {
        let (smtp, reply) = rcpt(&postfix, client, "<a@elsewhere.test>", "<anna@example.test>");
        assert_eq!(reply.code, code, "{}", smtp.transcript());
    }
}

#[test]
fn who_is_never_put_off() {
    let dns = Dns::start();
    let backstop = greylisting(&dns, "1h").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let stranger = "198.51.100.7";
    for (client, sender, recipient, code) in [
        (stranger, "<a@elsewhere.test>", "<anna@example.test>", 450),
        (stranger, "<a@elsewhere.test>", "<nobody@example.test>", 550),
        (stranger, "<a@elsewhere.test>", "<unpaid@example.test>", 550),
        (stranger, "<a@elsewhere.test>", "<postmaster@example.test>", 250),
        // bounces, and other sites' questions
        (stranger, "<>", "<anna@example.test>", 250),
        (stranger, "<double-bounce@elsewhere.test>", "<anna@example.test>", 250),
        // trusted
        ("192.0.2.7", "<a@elsewhere.test>", "<anna@example.test>", 250),
    ] {
        let (smtp, reply) = rcpt(&postfix, client, sender, recipient);
        assert_eq!(reply.code, code, "{}", smtp.transcript());
    }
    let mut smtp = from(&postfix, stranger);
    assert_eq!(smtp.auth_plain(SASL_USER, SASL_PASSWORD).code, 235, "{}", smtp.transcript());
    smtp.mail("<a@elsewhere.test>");
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
    let outcomes = backstop.metric_by("backstop_greylist_total", &[], "outcome");
    assert_eq!((outcomes.get("first"), outcomes.get("exempt")), (Some(&1.0), Some(&2.0)), "{outcomes:?}");
}

#[test]
fn in_monitor_mode_nobody_is_put_off() {
    let dns = Dns::start();
    let backstop = greylisting(&dns, "1h").env("BACKSTOP__MODE", "monitor").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let (smtp, reply) = rcpt(&postfix, "198.51.100.7", "<a@elsewhere.test>", "<anna@example.test>");
    assert_eq!(reply.code, 250, "{}", smtp.transcript());
    let watched = [("reason", "greylisted"), ("enforced", "no")];
    assert_eq!(backstop.metric("backstop_decisions_total", &watched), 1.0);
}

#[test]
fn on_sendmail() {
    let dns = Dns::start();
    let backstop = greylisting(&dns, "2s").start();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).start();
    let attempt = |last: u8| {
        let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
        let mut smtp = Smtp::connect_from(Some(from), sendmail.ipv4());
        smtp.ehlo("mail.elsewhere.test");
        smtp.mail("<sender@elsewhere.test>");
        let reply = smtp.rcpt("<anna@example.test>");
        (smtp, reply)
    };
    let (smtp, reply) = attempt(9);
    is_greylisted(&reply, &smtp);
    wait_until(Duration::from_secs(30), "Sendmail to let the client pass", || attempt(10).1.ok());
}

/// The site, where everybody from elsewhere has to come again.
fn greylisting(dns: &Dns, delay: &str) -> BackstopBuilder {
    site::backstop()
        .env("BACKSTOP__CLIENT__RESOLVER", &dns.address().to_string())
        .env("BACKSTOP__DEFENCE__GREYLIST__MODE", "all")
        .env("BACKSTOP__DEFENCE__GREYLIST__DELAY", delay)
}

/// A server somewhere else that sends from 127.0.0.5 (trusted is 127.0.0.1), and looks after its queue every other second.
fn elsewhere(ours: &Postfix) -> backstop_harness::PostfixBuilder {
    Postfix::builder()
        .main("myhostname = mx.elsewhere.test")
        .main("smtp_bind_address = 127.0.0.5")
        .main("queue_run_delay = 2s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s")
        .next_hop(ours.port())
}

fn from(postfix: &Postfix, client: &str) -> Smtp {
    let mut smtp = Smtp::connect_from(None, SocketAddr::from((Ipv4Addr::LOCALHOST, postfix.port())));
    smtp.ehlo("mail.elsewhere.test");
    smtp.xclient(&format!("ADDR={client} NAME=mail.elsewhere.test"));
    smtp.ehlo("mail.elsewhere.test");
    smtp
}

fn rcpt(postfix: &Postfix, client: &str, sender: &str, recipient: &str) -> (Smtp, Reply) {
    let mut smtp = from(postfix, client);
    assert_eq!(smtp.mail(sender).code, 250, "{}", smtp.transcript());
    let reply = smtp.rcpt(recipient);
    (smtp, reply)
}

#[track_caller]
fn is_greylisted(reply: &Reply, smtp: &Smtp) {
    let told = (reply.code, reply.enhanced.as_deref());
    assert_eq!(told, (450, Some("4.7.1")), "{}", smtp.transcript());
    assert!(reply.text.ends_with("Greylisted, try again later [greylisted]"), "{reply}");
}
