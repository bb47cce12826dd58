//! Another site verifies senders with us (Postfix' `reject_unverified_sender`): it connects to our MTA and asks whether
//! the sender exists. The address from which our own MTA sends its probes and bounces must exist for it, though no
//! directory has it.

use backstop_harness::{Postfix, Sink, Smtp};

use crate::site;

#[test]
fn another_site_verifies_our_senders() {
    let backstop = site::backstop().start();
    let sink = Sink::start();
    let ours = Postfix::builder().milter(&backstop.for_postfix()).next_hop(sink.port()).start();
    let theirs = Postfix::builder()
        .main("myhostname = mx.foreign.test")
        .main("relay_domains = foreign.test")
        .main("smtpd_sender_restrictions = reject_unverified_sender")
        .main("unverified_sender_reject_code = 550")
        .main("address_verify_poll_count = 20")
        .main("address_verify_poll_delay = 1s")
        // whatever is not theirs is ours
        .main(&format!("transport_maps = inline:{{ {{ example.test = smtp:[127.0.0.1]:{} }} }}", ours.port()))
        .next_hop(sink.port())
        .start();
    for (sender, code) in [
        ("<anna@example.test>", 250),
        ("<nobody@example.test>", 550),
        ("<unpaid@example.test>", 550),
        ("<double-bounce@example.test>", 250),
        ("<mailer-daemon@example.test>", 250),
        ("<postmaster@example.test>", 250),
    ] {
        let mut smtp = Smtp::connect(theirs.port());
        smtp.ehlo("mail.elsewhere.test");
        smtp.mail(sender);
        assert_eq!(smtp.rcpt("<friend@foreign.test>").code, code, "{}", smtp.transcript());
    }
}
