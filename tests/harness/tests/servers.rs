//! The harness' own servers, without Backstop: what the other tests take for granted.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use backstop_harness::{Postfix, SASL_PASSWORD, SASL_USER, Sendmail, Sink, Smtp, is_listening, wait_until};

#[test]
fn postfix_relays_to_the_sink() {
    let sink = Sink::start();
    let postfix = Postfix::builder().next_hop(sink.port()).start();

    let mut smtp = Smtp::connect(postfix.port());
    assert_eq!(smtp.banner().code, 220);
    assert!(smtp.ehlo("client.test").text.contains("XCLIENT"), "{}", smtp.transcript());
    assert_eq!(smtp.mail("<sender@elsewhere.test>").code, 250);
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250);
    let refused = smtp.rcpt("<anna@foreign.test>");
    assert_eq!((refused.code, refused.enhanced.as_deref()), (554, Some("5.7.1")), "{refused}");
    assert_eq!(smtp.data("Subject: one\n\n.dot\nend\n").code, 250);
    assert_eq!(smtp.quit().code, 221);

    let message = sink.wait_for("Subject: one");
    assert_eq!(message.mail_from, "sender@elsewhere.test");
    assert_eq!(message.rcpts, ["anna@example.test"]);
    assert!(message.data.ends_with("\n\n.dot\nend\n"), "{}", message.data);
    postfix.wait_for_empty_queue();
}

#[test]
fn postfix_lets_xclient_claim_an_address() {
    let postfix = Postfix::builder().main("mynetworks = 192.0.2.0/24 [2001:db8::]/32").start();
    for (attributes, code) in [
        ("ADDR=192.0.2.7 NAME=in.elsewhere.test", 250),
        ("ADDR=198.51.100.7 NAME=out.elsewhere.test", 554),
        ("ADDR=IPV6:2001:db8::7 NAME=six.elsewhere.test", 250),
    ] {
        let mut smtp = Smtp::connect(postfix.port());
        smtp.ehlo("client.test");
        assert_eq!(smtp.xclient(attributes).code, 220, "{}", smtp.transcript());
        smtp.ehlo("client.test");
        smtp.mail("<>");
        assert_eq!(smtp.rcpt("<anna@foreign.test>").code, code, "{}", smtp.transcript());
    }
}

#[test]
fn postfix_authenticates_and_submits() {
    let sink = Sink::start();
    let postfix = Postfix::builder().next_hop(sink.port()).submission().start();

    let mut smtp = Smtp::connect(postfix.submission_port());
    smtp.ehlo("client.test");
    assert_eq!(smtp.auth_plain(SASL_USER, "wrong").code, 535, "{}", smtp.transcript());
    assert_eq!(smtp.auth_plain(SASL_USER, SASL_PASSWORD).code, 235, "{}", smtp.transcript());
    smtp.mail("<alice@example.test>");
    assert_eq!(smtp.rcpt("<friend@foreign.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: authenticated\n\n").code, 250);
    sink.wait_for("Subject: authenticated");

    postfix.sendmail("root@example.test", &["friend@foreign.test"], "Subject: local\n\nby pickup\n");
    assert_eq!(sink.wait_for("Subject: local").rcpts, ["friend@foreign.test"]);
}

#[test]
fn postfix_bounces_what_the_next_hop_refuses() {
    let sink = Sink::knowing(&["anna@example.test"]);
    let postfix = Postfix::builder().next_hop(sink.port()).start();
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("client.test");
    let replies = smtp.pipeline(&["MAIL FROM:<victim@foreign.test>", "RCPT TO:<invented@example.test>"]);
    assert!(replies.iter().all(|reply| reply.code == 250), "{}", smtp.transcript());
    smtp.data("Subject: spam\n\n");

    let bounce = sink.wait_for("Undelivered");
    assert_eq!(bounce.mail_from, "");
    assert_eq!(bounce.rcpts, ["victim@foreign.test"]);
    assert_eq!(sink.refused(), ["invented@example.test"]);
    assert_eq!(sink.bounces().len(), 1);
}

#[test]
fn postfix_keeps_what_it_cannot_deliver() {
    let postfix = Postfix::builder().next_hop(1).start();
    postfix.sendmail("root@example.test", &["anna@example.test"], "Subject: stuck\n\n");
    wait_until(Duration::from_secs(20), "a deferred message", || {
        postfix.queue().iter().any(|message| {
            message.queue == "deferred"
                && message.sender == "root@example.test"
                && message.recipients[0].0 == "anna@example.test"
                && message.recipients[0].1.contains("Connection refused")
        })
    });
}

#[test]
fn postfix_takes_maps_services_and_a_reload() {
    let mut postfix = Postfix::builder()
        .map("hash", "relay_recipients", "anna@example.test x\n")
        .file("relay_domains", "more.test x\n")
        .main("relay_recipient_maps = hash:$config_directory/relay_recipients")
        .main("relay_domains = example.test texthash:$config_directory/relay_domains")
        .main("relay_transport = discard:")
        .start();
    let port = postfix.port();
    let rcpt = |path: &str| {
        let mut smtp = Smtp::connect(port);
        smtp.ehlo("client.test");
        smtp.mail("<>");
        smtp.rcpt(path).code
    };
    assert_eq!(rcpt("<anna@example.test>"), 250);
    assert_eq!(rcpt("<bob@example.test>"), 550);
    assert_eq!(rcpt("<bob@more.test>"), 550);
    assert_eq!(rcpt("<bob@other.test>"), 554);
    postfix.write("relay_domains", "other.test x\n");
    postfix.reload();
    let what = "other.test to be a relay domain";
    wait_until(Duration::from_secs(20), what, || rcpt("<bob@other.test>") == 550);
}

#[test]
fn one_instance_verifies_a_sender_with_another() {
    let sink = Sink::knowing(&["anna@example.test"]);
    let second = Postfix::builder().next_hop(sink.port()).main("myhostname = mx3.example.test").start();
    let first = Postfix::builder()
        .next_hop(second.port())
        .main("smtpd_sender_restrictions = reject_unverified_sender")
        .main("address_verify_poll_count = 20")
        .main("address_verify_poll_delay = 1s")
        .start();
    let mut smtp = Smtp::connect(first.port());
    smtp.ehlo("client.test");
    smtp.mail("<anyone@example.test>");
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
    let log = first.maillog();
    assert!(log.contains("from=<double-bounce@mx.example.test>"), "{log}");
    assert!(
        log.contains(&format!("to=<anyone@example.test>, relay=127.0.0.1[127.0.0.1]:{}", second.port())),
        "{log}"
    );
}

#[test]
fn stopping_a_server_frees_its_port() {
    let postfix = Postfix::builder().start();
    let port = postfix.port();
    assert!(is_listening(port));
    drop(postfix);
    assert!(!is_listening(port));

    let sendmail = Sendmail::builder().start();
    let port = sendmail.port();
    assert!(is_listening(port));
    drop(sendmail);
    assert!(!is_listening(port));
}

#[test]
fn sendmail_relays_to_the_sink() {
    let sink = Sink::start();
    let sendmail = Sendmail::builder().next_hop(sink.port()).start();

    // a client that is not localhost: Sendmail relays for that one
    let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, 9));
    let mut smtp = Smtp::connect_from(Some(from), sendmail.ipv4());
    assert_eq!(smtp.banner().code, 220);
    assert_eq!(smtp.ehlo("client9.elsewhere.test").code, 250);
    assert_eq!(smtp.mail("<sender@elsewhere.test>").code, 250);
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
    let refused = smtp.rcpt("<anna@foreign.test>");
    assert_eq!((refused.code, refused.enhanced.as_deref()), (550, Some("5.7.1")), "{refused}");
    assert_eq!(smtp.data("Subject: two\n\nbody\n").code, 250);
    smtp.quit();

    let message = sink.wait_for("Subject: two");
    assert_eq!(message.mail_from, "sender@elsewhere.test");
    assert_eq!(message.rcpts, ["anna@example.test"]);
    sendmail.wait_for_empty_queue();
    sendmail.wait_for_log("client9.elsewhere.test [127.0.0.9]");
}

#[test]
fn sendmail_authenticates_and_speaks_ipv6() {
    let sink = Sink::start();
    let sendmail = Sendmail::builder().next_hop(sink.port()).start();

    let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, 9));
    let mut smtp = Smtp::connect_from(Some(from), sendmail.ipv4());
    smtp.ehlo("client.test");
    assert_eq!(smtp.auth_plain(SASL_USER, SASL_PASSWORD).code, 235, "{}", smtp.transcript());
    smtp.mail("<alice@example.test>");
    assert_eq!(smtp.rcpt("<friend@foreign.test>").code, 250, "{}", smtp.transcript());

    let mut smtp = Smtp::connect_from(None, sendmail.ipv6());
    smtp.ehlo("client.test");
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: six\n\n").code, 250);
    sink.wait_for("Subject: six");
}
