//! Spam traps: to the client a trap is an unknown recipient like any other, but the message that names one is refused for
//! everybody.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use backstop_harness::{BackstopBuilder, Postfix, Sendmail, Sink, Smtp};

use crate::site;

#[test]
fn on_postfix() {
    let backstop = baited().start();
    let sink = Sink::start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).next_hop(sink.port()).start();
    trapped(&sink, (Ipv4Addr::LOCALHOST, postfix.port()).into());
    let refused =
        |stage| backstop.metric("backstop_decisions_total", &[("reason", "spam-trap"), ("stage", stage)]);
    assert_eq!((refused("rcpt"), refused("eom")), (3.0, 3.0));
}

#[test]
fn on_sendmail() {
    let backstop = baited().start();
    let sink = Sink::start();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).next_hop(sink.port()).start();
    trapped(&sink, sendmail.ipv4());
}

/// Guessing is what leads into traps: two of them weigh as much as the twenty guesses that block a client.
#[test]
fn a_trap_counts_as_many_guesses() {
    let backstop = baited().start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let answer = |recipient| crate::standing::answer(&postfix, "198.51.100.66", recipient);
    assert_eq!(answer("<bait@example.test>"), 550);
    assert_eq!(answer("<anna@example.test>"), 250, "a mistake");
    assert_eq!(answer("<lure@example.test>"), 550);
    assert_eq!(answer("<anna@example.test>"), 421);
    assert_eq!(answer("<nobody@example.test>"), 421);
}

fn trapped(sink: &Sink, mta: SocketAddr) {
    for trap in ["bait@example.test", "bait+tag@example.test", "lure@example.test"] {
        let mut smtp = from(mta, 9);
        assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
        let unknown = smtp.rcpt("<nobody@example.test>").to_string();
        let reply = smtp.rcpt(&format!("<{trap}>")).to_string();
        // Sendmail says which recipient it speaks of.
        assert_eq!(reply.replace(trap, "nobody@example.test"), unknown, "{}", smtp.transcript());
        assert!(reply.starts_with("550 5.1.1 "), "{reply}");
        assert_eq!(smtp.rcpt("<bob@example.test>").code, 250, "{}", smtp.transcript());
        let end = smtp.data("Subject: spam\n\nBuy.\n").to_string();
        assert_eq!(end, "550 5.7.1 Message refused", "{}", smtp.transcript());
        // The next message of the same session names none.
        smtp.mail("<sender@elsewhere.test>");
        assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
        let subject = format!("Subject: after {trap}\n");
        assert_eq!(smtp.data(&format!("{subject}\nHello.\n")).code, 250, "{}", smtp.transcript());
        sink.wait_for(&subject);
    }
    assert!(!sink.messages().iter().any(|message| message.data.contains("Subject: spam")));

    // An insider has mistyped.
    let mut smtp = from(mta, 1);
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.rcpt("<bait@example.test>").code, 550, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: from inside\n\nHello.\n").code, 250, "{}", smtp.transcript());
    sink.wait_for("Subject: from inside");
}

/// Somebody got the address, or it was listed by mistake.
#[test]
fn who_exists_is_no_trap_and_the_admin_is_told() {
    let traps = r#"["anna@example.test", "o%neil", "whoever@catchall.test"]"#;
    let backstop = site::backstop().env("BACKSTOP__DEFENCE__TRAPS__ADDRESSES", traps).start();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main("relay_domains = example.test, catchall.test")
        .start();
    let mut smtp = from((Ipv4Addr::LOCALHOST, postfix.port()).into(), 9);
    for (recipient, code) in [
        ("<anna@example.test>", 250),
        ("<anna+news@example.test>", 250),
        // what a catch-all takes is nobody's in particular
        ("<whoever@catchall.test>", 550),
        ("<anybody@catchall.test>", 250),
    ] {
        assert_eq!(smtp.rcpt(recipient).code, code, "{recipient}: {}", smtp.transcript());
    }
    let status = backstop.command(&["status"]);
    let notice = "traps: anna@example.test is listed, but a directory knows it; mail for it passes";
    assert!(status.stdout.contains(notice), "{status:?}");
    let check = backstop.command(&["check", "anna@example.test", "--client", "198.51.100.7"]);
    assert!(
        check.status == 0 && check.stdout.contains("listed as a trap, but somebody's address"),
        "{check:?}"
    );
}

/// What all of a domain is told, a trap is told as well; and who must be reachable is never one, whatever a file says.
#[test]
fn a_trap_stands_out_nowhere() {
    let backstop = site::backstop().file("traps", "bait@suspended.test\nabuse@example.test\npostmaster\n");
    let file = backstop.path("traps").display().to_string();
    let backstop = backstop.env("BACKSTOP__DEFENCE__TRAPS__FILES", &format!("[{file:?}]")).start();
    let sink = Sink::start();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .next_hop(sink.port())
        .main("relay_domains = example.test, suspended.test")
        .start();
    let mut smtp = from((Ipv4Addr::LOCALHOST, postfix.port()).into(), 9);
    let unknown = smtp.rcpt("<nobody@suspended.test>").to_string();
    assert!(unknown.ends_with("Mailbox suspended [suspended-recipient]"), "{unknown}");
    assert_eq!(smtp.rcpt("<bait@suspended.test>").to_string(), unknown, "{}", smtp.transcript());
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: spam\n\nBuy.\n").to_string(), "550 5.7.1 Message refused");

    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<abuse@example.test>").code, 550, "unknown: {}", smtp.transcript());
    assert_eq!(smtp.rcpt("<postmaster@example.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: a complaint\n\nHello.\n").code, 250, "{}", smtp.transcript());
    sink.wait_for("Subject: a complaint");
    let status = backstop.command(&["status"]).stdout;
    for entry in ["abuse@example.test", "postmaster"] {
        let notice = format!("note: traps: {entry} is listed, but must always be reachable");
        assert!(status.contains(&notice), "{status}");
    }
}

/// Neither the site as a whole nor a part of it is refused anything in monitor mode, not even by the end of the message.
#[test]
fn in_monitor_mode_the_message_passes() {
    for (variable, value) in [
        ("BACKSTOP__MODE", "monitor"),
        ("BACKSTOP__MONITOR__DOMAINS", r#"["example.test"]"#),
        ("BACKSTOP__MONITOR__REASONS", r#"["spam-trap"]"#),
    ] {
        let backstop = baited().env(variable, value).start();
        let sink = Sink::start();
        let postfix = Postfix::builder().milter(&backstop.for_postfix()).next_hop(sink.port()).start();
        let mut smtp = from((Ipv4Addr::LOCALHOST, postfix.port()).into(), 9);
        assert_eq!(smtp.rcpt("<bait@example.test>").code, 250, "{}", smtp.transcript());
        assert_eq!(smtp.data("Subject: watched\n\nHello.\n").code, 250, "{}", smtp.transcript());
        sink.wait_for("Subject: watched");
        let watched = [("reason", "spam-trap"), ("enforced", "no")];
        assert_eq!(backstop.metric("backstop_decisions_total", &watched), 2.0, "{variable}");
    }
}

/// Traps in a file, which is followed.
#[test]
fn a_trap_is_set_while_mail_flows() {
    let backstop = baited().start();
    let check = || backstop.command(&["check", "hook@example.test", "--client", "198.51.100.7"]).stdout;
    assert!(check().contains("reason: unknown-recipient"), "{}", check());
    backstop.write("traps", "hook@example.test\n");
    backstop_harness::wait_until(std::time::Duration::from_secs(30), "the file to be read", || {
        check().contains("reason: spam-trap")
    });
}

/// The site, with traps in the configuration and in a file.
fn baited() -> BackstopBuilder {
    let backstop = site::backstop().file("traps", "# never existed\nlure\n");
    let file = backstop.path("traps").display().to_string();
    backstop
        .env("BACKSTOP__DEFENCE__TRAPS__ADDRESSES", r#"["bait@example.test"]"#)
        .env("BACKSTOP__DEFENCE__TRAPS__FILES", &format!("[{file:?}]"))
}

/// From an address of this host (127.0.0.1 is trusted), up to MAIL.
fn from(mta: SocketAddr, last: u8) -> Smtp {
    let mut smtp = Smtp::connect_from(Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, last))), mta);
    smtp.ehlo("mail.elsewhere.test");
    assert_eq!(smtp.mail("<sender@elsewhere.test>").code, 250, "{}", smtp.transcript());
    smtp
}
