//! Whatever the next hop says that is not clearly "no such mailbox", from a server that takes a control recipient, is "could
//! not find out", and a server that takes anybody vouches for nobody.

use backstop_harness::{Backstop, Postfix};

use crate::next_hop::{asking, front, host, knowing, rcpt};

#[test]
fn a_server_that_takes_everybody_holds_up_nobody() {
    let inside = Postfix::builder().start();
    let backstop = asking(&host(&inside)).start();
    let front = front(&backstop, &inside);
    for recipient in
        ["<anna@example.test>", "<nobody@example.test>", "<whoever@example.test>", "<x@example.test>"]
    {
        assert_eq!(rcpt(&front, recipient).code, 250, "{recipient}");
    }
    let check = backstop.command(&["check", "nobody@example.test"]);
    assert!(check.stdout.contains("takes any recipient"), "{}", check.stdout);
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("takes any recipient in example.test"), "{status}");
    let lines = backstop.log().matches("the server takes any recipient").count();
    assert_eq!(lines, 1, "one line for one server and domain: {}", backstop.log());
}

#[test]
fn other_refusals_are_no_reason_to_refuse() {
    let answers = "\
        later@example.test 450 4.2.0 later\nlater2@example.test 451 4.1.1 later\nfull@example.test 552 5.2.2 full\n\
        policy@example.test 550 5.7.1 no\ndisabled@example.test 550 5.2.1 disabled\nsyntax@example.test 553 5.1.3 no\n\
        failed@example.test 554 5.0.0 no\nonline@example.test 550 5.4.1 Access denied\nmoved@example.test 551 5.1.6 moved\n\
        ";
    let checks = "smtpd_recipient_restrictions = check_recipient_access texthash:$config_directory/answers";
    let inside = knowing().file("answers", answers).main(checks).start();
    let plain = asking(&host(&inside)).start();
    let listed = asking(&format!("{}\nabsent_codes = [\"5.4.1\"]", host(&inside))).start();
    for (recipient, status, with_list) in [
        ("later", 2, 2),
        ("later2", 2, 2),
        ("full", 2, 2),
        ("policy", 2, 2),
        ("disabled", 2, 2),
        ("syntax", 2, 2),
        ("failed", 2, 2),
        ("online", 2, 1),
        ("moved", 1, 1),
        ("nobody", 1, 1),
        ("anna", 0, 0),
    ] {
        let recipient = format!("{recipient}@example.test");
        let args = ["check", &recipient, "--client", "192.0.2.1"];
        for (backstop, status) in [(&plain, status), (&listed, with_list)] {
            let check = backstop.command(&args);
            assert_eq!(check.status, status, "{recipient}: {}{}", check.stdout, check.stderr);
        }
    }
    assert_eq!(
        plain.metric("backstop_directory_up", &[("directory", "inside")]),
        1.0,
        "it is not the server's fault"
    );
    let front = front(&plain, &inside);
    let reply = rcpt(&front, "<full@example.test>");
    assert_eq!((reply.code, reply.enhanced.as_deref()), (451, Some("4.4.3")), "{reply}");
    let status = plain.command(&["status"]).stdout;
    assert!(status.contains("the last question had no answer: ") && status.contains("552 5.2.2"), "{status}");
}

#[test]
fn without_a_control_recipient_nobody_is_unknown() {
    let inside = knowing().file("recipients", "anna@example.test x\n").start();
    let backstop = asking(&host(&inside)).start();
    unknown(&backstop, "nobody@example.test", "refuses the control recipient postmaster@example.test");
    assert_eq!(backstop.command(&["check", "anna@example.test"]).status, 0);
    unknown(&backstop, "nobody2@example.test", "refuses the control recipient postmaster@example.test");
    let log = backstop.log();
    assert_eq!(log.matches("the directory does not answer").count(), 1, "{log}");
    assert!(!log.contains("answers again"), "{log}");

    let backstop = asking(&format!("{}\ncontrol = \"anna\"", host(&inside))).start();
    assert_eq!(backstop.command(&["check", "nobody@example.test"]).status, 1);

    // Temporary, for the control recipient alone.
    let later = "smtpd_recipient_restrictions = check_recipient_access inline:{{postmaster@example.test=450 4.2.0 later}}";
    let inside = knowing().main(later).start();
    let backstop = asking(&host(&inside)).start();
    let check = backstop.command(&["check", "nobody@example.test", "--client", "192.0.2.1"]);
    assert_eq!(check.status, 2, "{}", check.stdout);
}

/// A server that protects itself from clients who ask for many that do not exist, as our questions do.
#[test]
fn one_that_begins_to_refuse_everybody_makes_nobody_unknown() {
    let checks = "smtpd_recipient_restrictions = check_recipient_access regexp:$config_directory/answers";
    let mut inside = knowing().file("answers", "").main(checks).start();
    let backstop = asking(&host(&inside)).start();
    let status = |recipient: &str| backstop.command(&["check", recipient, "--client", "192.0.2.1"]).status;
    assert_eq!((status("anna@example.test"), status("nobody@example.test")), (0, 1));
    inside.write("answers", "/./ 550 5.1.1 too many unknown recipients from your host\n");
    inside.reload();
    // The connection that is kept still has the old rules.
    let answers: Vec<i32> = (0..20).map(|number| status(&format!("anna+{number}@example.test"))).collect();
    assert!(!answers.contains(&1), "a user was called unknown: {answers:?}");
    assert_eq!(answers.last(), Some(&2));
    unknown(&backstop, "nobody2@example.test", "refuses the control recipient postmaster@example.test");
}

#[test]
fn refusals_before_the_recipient() {
    let now = "smtpd_delay_reject = no";
    for (settings, reason) in [
        (
            format!("{now}\nsmtpd_sender_restrictions = check_sender_access inline:{{<>=REJECT}}"),
            "null sender",
        ),
        (
            format!(
                "{now}\nsmtpd_sender_restrictions = check_sender_access inline:{{{{<>=450 4.7.1 later}}}}"
            ),
            "null sender",
        ),
        (format!("{now}\nsmtpd_helo_restrictions = reject"), "greeting"),
        (format!("{now}\nsmtpd_client_restrictions = reject"), "refuses"),
        // Refused at RCPT, for everybody.
        ("smtpd_client_restrictions = reject".to_owned(), "refuses the control recipient"),
        (
            "smtpd_sender_restrictions = check_sender_access inline:{{<>=550 5.1.1 no}}".to_owned(),
            "control recipient",
        ),
        ("relay_domains = elsewhere.test".to_owned(), "refuses the control recipient"),
    ] {
        let inside = knowing().main(&settings).start();
        let backstop = asking(&host(&inside)).start();
        for recipient in ["nobody@example.test", "anna@example.test"] {
            unknown(&backstop, recipient, reason);
        }
    }
}

/// "Could not find out", and `status` says why.
#[track_caller]
fn unknown(backstop: &Backstop, recipient: &str, reason: &str) {
    let check = backstop.command(&["check", recipient, "--client", "192.0.2.1"]);
    assert_eq!(check.status, 2, "{recipient}: {}{}", check.stdout, check.stderr);
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains(reason), "{reason:?} in {status}");
}
