//! The three promises of the first sentence: a bogus local address is refused at RCPT, a valid one arrives, and mail from a
//! local user to a foreign domain is not touched.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use backstop_harness::{Postfix, SASL_PASSWORD, SASL_USER, Sendmail, Sink, Smtp};

use crate::site;

#[test]
fn on_postfix() {
    let backstop = site::backstop().start();
    let sink = Sink::start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).next_hop(sink.port()).start();
    let address = (Ipv4Addr::LOCALHOST, postfix.port()).into();
    the_seed(&sink, address);
    postfix.wait_for_empty_queue();
}

#[test]
fn on_sendmail() {
    let backstop = site::backstop().start();
    let sink = Sink::start();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).next_hop(sink.port()).start();
    the_seed(&sink, sendmail.ipv4());
    sendmail.wait_for_empty_queue();
}

fn the_seed(sink: &Sink, mta: SocketAddr) {
    let stranger = Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, 9)));

    let mut smtp = Smtp::connect_from(stranger, mta);
    smtp.ehlo("mail.elsewhere.test");
    assert_eq!(smtp.mail("<sender@elsewhere.test>").code, 250);
    let bogus = smtp.rcpt("<bogus@example.test>");
    assert_eq!((bogus.code, bogus.enhanced.as_deref()), (550, Some("5.1.1")), "{}", smtp.transcript());
    assert!(bogus.text.ends_with("[unknown-recipient]"), "{bogus}");
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: to a valid user\n\nHello.\n").code, 250);
    smtp.quit();
    assert_eq!(sink.wait_for("Subject: to a valid user").rcpts, ["anna@example.test"]);

    let mut smtp = Smtp::connect_from(stranger, mta);
    smtp.ehlo("laptop.example.test");
    assert_eq!(smtp.auth_plain(SASL_USER, SASL_PASSWORD).code, 235, "{}", smtp.transcript());
    assert_eq!(smtp.mail("<anna@example.test>").code, 250);
    assert_eq!(smtp.rcpt("<anyone@foreign.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: from a local user\n\nUntouched.\n").code, 250);
    smtp.quit();
    let message = sink.wait_for("Subject: from a local user");
    assert_eq!(
        (message.mail_from.as_str(), message.rcpts),
        ("anna@example.test", vec!["anyone@foreign.test".to_owned()])
    );
    assert!(message.data.ends_with("\n\nUntouched.\n"), "{}", message.data);
}
