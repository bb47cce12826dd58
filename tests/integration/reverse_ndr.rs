//! The attack that Backstop is for: spam to invented recipients, with the forged sender whom the bounce is to reach.

use std::time::Duration;

use backstop_harness::{Postfix, Sink, Smtp, wait_until};

use crate::site;

/// The server behind knows its users, the relay in front does not: the relay accepts everything and must bounce it.
#[test]
fn without_backstop_the_relay_bounces() {
    let sink = Sink::knowing(&["anna@example.test"]);
    let postfix = relay(&sink).start();
    assert_eq!(attack(&postfix), 0, "nobody refuses");
    // Half of the victims get the spam as a bounce …
    wait_until(Duration::from_secs(120), "a bounce for each victim who can be reached", || {
        sink.bounces().len() == MESSAGES / 2
    });
    for bounce in sink.bounces() {
        assert!(bounce.rcpts.iter().all(|rcpt| rcpt.ends_with("@victim.test")), "{bounce:?}");
        assert!(bounce.data.contains(SPAM), "the bounce carries the spam");
    }
    // … and the bounces to the rest, who can't be reached, fill the queue.
    wait_until(Duration::from_secs(120), "the other bounces in the queue", || {
        let queue = postfix.queue();
        queue.len() == MESSAGES / 2 && queue.iter().all(|message| message.queue == "deferred")
    });
    assert!(postfix.queue().iter().all(|message| message.sender == "MAILER-DAEMON"), "{:?}", postfix.queue());
}

#[test]
fn with_backstop_nothing_is_accepted() {
    let backstop = site::backstop().start();
    let sink = Sink::knowing(&["anna@example.test"]);
    let postfix = relay(&sink).milter(&backstop.for_postfix()).start();
    assert_eq!(attack(&postfix), MESSAGES, "everything is refused");
    assert_eq!(postfix.queue(), []);
    assert_eq!(sink.refused(), Vec::<String>::new());
    assert_eq!(backstop.metric("backstop_backscatter_prevented_total", &[]), MESSAGES as f64);

    // while it lasts, mail for a user arrives; it comes last, so that whatever came before would be in the sink too
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("mail.elsewhere.test");
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: wanted\n\nHello.\n").code, 250);
    sink.wait_for("Subject: wanted");
    postfix.wait_for_empty_queue();
    assert_eq!(sink.messages().len(), 1, "only the wanted message left the relay");
}

/// A relay for example.test, to whose next hop everything goes, but what is for `unreachable.test` stays.
fn relay(sink: &Sink) -> backstop_harness::PostfixBuilder {
    Postfix::builder()
        .next_hop(sink.port())
        .main("transport_maps = inline:{ { unreachable.test = smtp:[127.0.0.1]:1 } }")
        .main("default_destination_concurrency_limit = 20")
}

/// Sends [`MESSAGES`] with forged senders to invented recipients, and returns how many recipients were refused.
fn attack(postfix: &Postfix) -> usize {
    let mut refused = 0;
    let mut smtp = None;
    for number in 0..MESSAGES {
        let smtp = match &mut smtp {
            Some(smtp) if number % 20 != 0 => smtp,
            smtp => smtp.insert({
                let mut new = Smtp::connect(postfix.port());
                new.ehlo("bot.elsewhere.test");
                let address = number / 20 + 1;
                new.xclient(&format!("ADDR=198.51.100.{address} NAME=bot{address}.elsewhere.test"));
                new.ehlo("bot.elsewhere.test");
                new
            }),
        };
        let victims = if number % 2 == 0 { "victim.test" } else { "unreachable.test" };
        assert_eq!(smtp.mail(&format!("<forged{number}@{victims}>")).code, 250, "{}", smtp.transcript());
        let reply = smtp.rcpt(&format!("<invented{number}@example.test>"));
        if reply.ok() {
            assert_eq!(smtp.data(&format!("Subject: {SPAM}\n\n{SPAM}\n")).code, 250, "{}", smtp.transcript());
        } else {
            assert_eq!(
                (reply.code, reply.enhanced.as_deref()),
                (550, Some("5.1.1")),
                "{}",
                smtp.transcript()
            );
            refused += 1;
            smtp.rset();
        }
    }
    refused
}

const MESSAGES: usize = 400;
const SPAM: &str = "Cheap watches";
