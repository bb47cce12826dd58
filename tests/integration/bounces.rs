//! Bounces, from real servers that make them: those for our own mail arrive, others don't, and questions of other sites
//! are answered.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use backstop_harness::{
    Backstop, BackstopBuilder, Postfix, PostfixBuilder, Redis, SASL_PASSWORD, SASL_USER, Sendmail, Signal,
    Sink, Smtp, wait_until,
};
use milter_protocol::command::{CStrings, Command, Mail};
use milter_protocol::negotiation::CURRENT_OFFER;

use crate::mta::{Answer, Mta};
use crate::site;

/// Anna writes to somebody whom another server does not know, and somebody else writes there in Bob's name. That server
/// takes both messages, and bounces them.
#[test]
fn bounces_for_our_own_mail_arrive_and_others_do_not() {
    let backstop = experienced();
    let sink = Sink::start();
    let ours = Postfix::builder().milter(&backstop.for_postfix()).next_hop(sink.port()).start();
    let theirs =
        elsewhere(&ours).main("transport_maps = inline:{ { foreign.test = error:no such user } }").start();

    // Anna's message leaves through our server, as she authenticates; a copy of it reaches theirs.
    let mut smtp = Smtp::connect_from(Some(stranger()), (Ipv4Addr::LOCALHOST, ours.port()).into());
    smtp.ehlo("laptop.example.test");
    assert_eq!(smtp.auth_plain(SASL_USER, SASL_PASSWORD).code, 235, "{}", smtp.transcript());
    smtp.mail("<anna+work@example.test>");
    assert_eq!(smtp.rcpt("<nobody@foreign.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: to nobody\n\nHello.\n").code, 250, "{}", smtp.transcript());
    sink.wait_for("Subject: to nobody");
    for sender in ["anna+work@example.test", "bob@example.test"] {
        theirs.sendmail(sender, &["nobody@foreign.test"], &format!("Subject: from {sender}\n\nHello.\n"));
    }
    let bounce = sink.wait_for("Subject: from anna+work@example.test");
    assert_eq!((bounce.mail_from.as_str(), bounce.rcpts), ("", vec!["anna+work@example.test".to_owned()]));
    theirs.wait_for_log("550 5.7.1 Bounce for a message that was not sent from here [unsolicited-bounce]");
    theirs.wait_for_log("(in reply to end of DATA command)");
    theirs.wait_for_empty_queue();
    assert!(!sink.messages().iter().any(|message| message.data.contains("Subject: from bob")));
    assert!(backstop.log().contains("reason=\"unsolicited-bounce\""), "{}", backstop.log());
    let refused = [("stage", "eom"), ("reason", "unsolicited-bounce"), ("enforced", "yes")];
    assert_eq!(backstop.metric("backstop_decisions_total", &refused), 1.0);
}

/// A program names its user without a domain, which the MTA adds.
#[test]
fn who_writes_without_a_domain_gets_bounces() {
    let backstop = experienced();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).main("myorigin = example.test").start();
    let mut smtp = Smtp::connect_from(Some(stranger()), (Ipv4Addr::LOCALHOST, postfix.port()).into());
    smtp.ehlo("laptop.example.test");
    assert_eq!(smtp.auth_plain(SASL_USER, SASL_PASSWORD).code, 235, "{}", smtp.transcript());
    smtp.mail("<anna>");
    assert_eq!(smtp.rcpt("<nobody@foreign.test>").code, 250, "{}", smtp.transcript());
    let mut smtp = bounce(&postfix, "<anna@example.test>");
    assert_eq!(smtp.data("Subject: report\n\nHello.\n").code, 250, "{}", smtp.transcript());
}

/// Postfix' own bounces for two of our users: one transaction for both, of which we take one at a time.
#[test]
fn a_bounce_for_two_users_reaches_both() {
    let backstop = site::backstop().start();
    let sink = Sink::start();
    let ours = Postfix::builder().milter(&backstop.for_postfix()).next_hop(sink.port()).start();
    let theirs = elsewhere(&ours).start();
    theirs.sendmail("", &["anna@example.test", "bob@example.test"], "Subject: a report\n\nHello.\n");
    let mut flushed = Instant::now();
    wait_until(Duration::from_secs(60), "both to have it", || {
        if flushed.elapsed() > Duration::from_secs(5) {
            // Its queue manager may have looked just while the first delivery ended, and then waits for long.
            assert!(theirs.command("postqueue", &["-f"]).status().is_ok_and(|status| status.success()));
            flushed = Instant::now();
        }
        let messages = sink.messages();
        let mut rcpts: Vec<_> = messages.iter().flat_map(|message| &message.rcpts).collect();
        rcpts.sort();
        rcpts == ["anna@example.test", "bob@example.test"]
    });
    assert!(theirs.maillog().contains("452 4.5.3 A bounce has one recipient"), "{}", theirs.maillog());
    assert_eq!(sink.messages().len(), 2);
    // Whoever is left alone does not count.
    let mut smtp = bounce(&ours, "<postmaster@example.test>");
    assert_eq!(smtp.rcpt("<double-bounce@example.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 452, "{}", smtp.transcript());
}

/// Another site asks whether our users exist before it takes mail from them. They wrote to nobody, and everybody who sends
/// has to come again: the question is answered all the same, whoever asks it.
#[test]
fn another_site_s_questions_are_answered() {
    let backstop = unsolicited("enforce", "1s").env("BACKSTOP__DEFENCE__GREYLIST__MODE", "all").start();
    is_experienced(&backstop);
    let ours = Postfix::builder().milter(&backstop.for_postfix()).start();
    for asks_as in ["$double_bounce_sender", "<>", "postmaster"] {
        let theirs = elsewhere(&ours)
            .main("relay_domains = foreign.test, example.test")
            .main(&format!("address_verify_sender = {asks_as}"))
            .main("smtpd_sender_restrictions = reject_unverified_sender")
            .main("smtpd_recipient_restrictions = reject_unverified_recipient")
            .main("unverified_sender_reject_code = 550\nunverified_recipient_reject_code = 550")
            .main("address_verify_poll_count = 20\naddress_verify_poll_delay = 1s")
            .start();
        for (sender, recipient, code) in [
            ("<bob@example.test>", "<anna@example.test>", 250),
            ("<nobody@example.test>", "<anna@example.test>", 550),
            ("<bob@example.test>", "<nobody@example.test>", 550),
        ] {
            let mut smtp = Smtp::connect(theirs.port());
            smtp.ehlo("mail.elsewhere.test");
            smtp.mail(sender);
            assert_eq!(smtp.rcpt(recipient).code, code, "{asks_as}: {}", smtp.transcript());
        }
    }
}

#[test]
fn who_is_never_unsolicited() {
    let backstop = experienced();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main("relay_domains = example.test, foreign.test\nmynetworks = 192.0.2.0/24")
        .start();
    for (recipient, code) in [
        ("<bob@example.test>", 550),
        ("<postmaster@example.test>", 250),
        ("<double-bounce@example.test>", 250),
        ("<prvs=1234abcdef=bob@example.test>", 250),
        // not ours: the MTA relays for it
        ("<bob@foreign.test>", 250),
    ] {
        let mut smtp = bounce(&postfix, recipient);
        assert_eq!(smtp.data("Subject: report\n\nHello.\n").code, code, "{}", smtp.transcript());
    }
    // A program on this host reports.
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("localhost");
    smtp.mail("<>");
    assert_eq!(smtp.rcpt("<bob@example.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: report\n\nHello.\n").code, 250, "{}", smtp.transcript());
}

/// At first nobody knows who wrote; and in monitor mode nothing is refused.
#[test]
fn it_learns_first_and_may_only_watch() {
    let backstop = unsolicited("enforce", "336h").start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let learning = "bounces: senders are remembered since ";
    wait_until(Duration::from_secs(20), "status to tell of it", || {
        backstop.command(&["status"]).stdout.contains(learning)
    });
    let mut smtp = bounce(&postfix, "<bob@example.test>");
    assert_eq!(smtp.data("Subject: report\n\nHello.\n").code, 250, "{}", smtp.transcript());
    let decided = |labels: &[(&str, &str)]| backstop.metric("backstop_decisions_total", labels);
    assert_eq!(decided(&[("reason", "unsolicited-bounce")]), 0.0);

    let backstop = unsolicited("monitor", "1s").start();
    is_experienced(&backstop);
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let mut smtp = bounce(&postfix, "<bob@example.test>");
    assert_eq!(smtp.data("Subject: report\n\nHello.\n").code, 250, "{}", smtp.transcript());
    let watched = [("reason", "unsolicited-bounce"), ("enforced", "no")];
    assert_eq!(backstop.metric("backstop_decisions_total", &watched), 1.0);
    assert!(backstop.log().contains("bob@example.test"), "the log says for whom it was: {}", backstop.log());
}

/// An MTA that is sent away goes on by itself where its admin said so, and lets mail out that nobody sees.
#[test]
fn too_many_sessions_are_a_gap() {
    let backstop = unsolicited("enforce", "1s").env("BACKSTOP__LIMITS__SESSIONS", "1").start();
    is_experienced(&backstop);
    let open = || backstop.metric("backstop_sessions_open", &[]);
    wait_until(Duration::from_secs(20), "that session to end", || open() == 0.0);
    let _one = Mta::connect(backstop.milter_port());
    let mut other = Mta::silent((Ipv4Addr::LOCALHOST, backstop.milter_port()).into(), CURRENT_OFFER);
    other.is_closed();
    backstop.wait_for_log("an MTA that was sent away may have let mail out");
    let note = "more sessions were open than limits.sessions allows";
    assert!(backstop.log().contains(note), "{}", backstop.log());
}

/// It says last of all that it was there: from then on five minutes are no gap.
#[test]
fn a_restart_is_no_gap() {
    let redis = Redis::start();
    let start = || unsolicited("enforce", "336h").env("BACKSTOP__STORE__URL", &redis.url()).start();
    let mut backstop = start();
    backstop.wait_for_log("senders are remembered from now on");
    let alive = redis.command(&["keys", "backstop:secrets:bounces/alive/*"]);
    assert_eq!(redis.command(&["del", &alive]), "1", "{alive}");
    backstop.signal(Signal::TERM);
    assert!(backstop.wait_exit().success(), "{}", backstop.log());
    let left: u64 = redis.command(&["pttl", &alive]).parse().expect("it said so last");
    assert!(left > 4 * 60 * 1000, "{left}");
    let since = redis.command(&["pttl", "backstop:secrets:bounces/since"]);
    let backstop = start();
    wait_until(Duration::from_secs(20), "status to tell of it", || {
        backstop.command(&["status"]).stdout.contains("senders are remembered since")
    });
    assert!(!backstop.log().contains("senders are remembered from now on"), "{}", backstop.log());
    let left: u64 = redis.command(&["pttl", "backstop:secrets:bounces/since"]).parse().expect("it is there");
    assert!(left <= since.parse().expect("it was there"), "it was not set anew");
}

#[test]
fn on_sendmail() {
    let backstop = experienced();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).start();
    let mut smtp = Smtp::connect_from(Some(stranger()), sendmail.ipv4());
    smtp.ehlo("mail.elsewhere.test");
    smtp.mail("<>");
    assert_eq!(smtp.rcpt("<bob@example.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 452, "{}", smtp.transcript());
    let end = smtp.data("Subject: report\n\nHello.\n").to_string();
    let told = "550 5.7.1 Bounce for a message that was not sent from here [unsolicited-bounce]";
    assert_eq!(end, told, "{}", smtp.transcript());
}

/// The site, where bounces are looked at after it remembered for so long.
fn unsolicited(mode: &str, remember: &str) -> BackstopBuilder {
    site::backstop()
        .env("BACKSTOP__DEFENCE__BOUNCES__UNSOLICITED", mode)
        .env("BACKSTOP__DEFENCE__BOUNCES__REMEMBER", remember)
}

/// One that has remembered for long enough.
fn experienced() -> Backstop {
    let backstop = unsolicited("enforce", "1s").start();
    is_experienced(&backstop);
    backstop
}

fn is_experienced(backstop: &Backstop) {
    backstop.wait_for_log("senders are remembered from now on");
    // The domain is learned from the first bounce on, which passes.
    let mut mta = Mta::connect(backstop.milter_port());
    mta.greet();
    let parameters = CStrings::default();
    let _ = mta.send(&Command::Mail(Mail { address: b"<>", parameters }));
    assert_eq!(mta.rcpt("<bob@example.test>"), Answer::Continue);
    assert_eq!(mta.send(&Command::EndOfMessage(b"")), Answer::Continue);
    wait_until(Duration::from_secs(20), "it to have learned", || {
        let check =
            backstop.command(&["check", "bob@example.test", "--client", "198.51.100.7", "--from", ""]);
        check.stdout.contains("solicited: nobody it is for wrote lately")
    });
}

/// A server somewhere else, for `foreign.test`, from which everything goes to ours.
fn elsewhere(ours: &Postfix) -> PostfixBuilder {
    Postfix::builder()
        .main("myhostname = mx.foreign.test\nrelay_domains = foreign.test")
        .main("smtp_bind_address = 127.0.0.5")
        .main("queue_run_delay = 2s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s")
        .next_hop(ours.port())
}

/// A bounce from a stranger to this recipient, who is taken.
fn bounce(postfix: &Postfix, recipient: &str) -> Smtp {
    let mut smtp = Smtp::connect_from(Some(stranger()), (Ipv4Addr::LOCALHOST, postfix.port()).into());
    smtp.ehlo("mail.elsewhere.test");
    smtp.mail("<>");
    assert_eq!(smtp.rcpt(recipient).code, 250, "{}", smtp.transcript());
    smtp
}

fn stranger() -> IpAddr {
    Ipv4Addr::new(127, 0, 0, 9).into()
}
