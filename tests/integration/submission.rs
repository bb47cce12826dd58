//! Mail that programs on Postfix' own host submit (`non_smtpd_milters`): a refusal there would leave it in the queue, so
//! Backstop lets it pass, even for an unknown recipient.

use backstop_harness::{Postfix, Sink};

use crate::site;

#[test]
fn local_submission_is_let_pass() {
    let backstop = site::backstop().start();
    let sink = Sink::start();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main(&format!("non_smtpd_milters = {}", backstop.for_postfix()))
        .next_hop(sink.port())
        .start();
    for (rcpt, subject) in
        [("nobody@example.test", "one"), ("unpaid@example.test", "two"), ("a@foreign.test", "three")]
    {
        postfix.sendmail("root@example.test", &[rcpt], &format!("Subject: {subject}\n\nHello.\n"));
        assert_eq!(sink.wait_for(&format!("Subject: {subject}\n")).rcpts, [rcpt]);
    }
    postfix.wait_for_empty_queue();
    let decisions = backstop.metric_by("backstop_decisions_total", &[("stage", "rcpt")], "reason");
    assert_eq!(decisions.get("submission"), Some(&3.0), "{decisions:?}");
}
