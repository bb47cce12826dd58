//! Files are edited while mail flows: the next recipient sees it, and no session is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use backstop_harness::{Backstop, Postfix, Smtp, wait_until};

use crate::BACKSTOP;

#[test]
fn the_next_recipient_sees_an_edit() {
    let backstop = backstop();
    let postfix = postfix(&backstop);
    let flow = Flow::default();
    thread::scope(|scope| {
        scope.spawn(|| flow.one_long_session(postfix.port()));
        scope.spawn(|| flow.many_sessions(postfix.port()));

        // a session that was there before the edits
        let mut smtp = open(postfix.port());
        let mut becomes = |what: &str, rcpt: &str, code: u16, reason: &str| {
            wait_until(Duration::from_secs(20), what, || {
                let reply = try_rcpt(&mut smtp, rcpt);
                reply.code == code && (code == 250 || reply.text.ends_with(&format!("[{reason}]")))
            });
        };

        becomes("the user is not there yet", "<new@example.test>", 550, "unknown-recipient");
        backstop.write("addresses", &addresses(&["new"]));
        becomes("a new user", "<new@example.test>", 250, "");
        backstop.write("addresses", &addresses(&[]));
        becomes("the user's removal", "<new@example.test>", 550, "unknown-recipient");

        becomes("the user is not suspended yet", "<user1@example.test>", 250, "");
        backstop.write("suspended", "user1@example.test\n");
        becomes("a suspension", "<user1@example.test>", 550, "suspended-recipient");

        becomes("the domain is foreign yet", "<anyone@new.test>", 250, "");
        backstop.write("domains", "example.test\nnew.test\n");
        becomes("a new domain", "<anyone@new.test>", 550, "unknown-recipient");

        flow.stop.store(true, Ordering::SeqCst);
    });
    let (recipients, sessions) = (flow.recipients.into_inner(), flow.sessions.into_inner());
    assert!(
        recipients > 100 && sessions > 10,
        "{recipients} recipients, {sessions} sessions: no mail flowed"
    );
    let log = postfix.maillog();
    let complaint = log.lines().find(|line| line.contains("warning"));
    assert_eq!(complaint, None, "Postfix would warn of a milter that fails");
}

#[test]
fn a_list_that_shrinks_is_held_back_until_it_is_accepted() {
    let backstop = backstop();
    let postfix = postfix(&backstop);
    let mut smtp = open(postfix.port());
    assert_eq!(try_rcpt(&mut smtp, "<user20@example.test>").code, 250);
    // a half-written file: the rest of the users is gone
    backstop.write("addresses", "user0@example.test\nuser1@example.test\nnew@example.test\n");
    backstop.wait_for_log("held back");
    assert_eq!(try_rcpt(&mut smtp, "<user20@example.test>").code, 250);
    assert_eq!(try_rcpt(&mut smtp, "<nobody@example.test>").code, 550);
    // whoever is in what is held back is not unknown either
    assert_eq!(try_rcpt(&mut smtp, "<new@example.test>").code, 250);

    let output = backstop.command(&["reload", "--accept"]);
    assert_eq!(output.status, 0, "{output:?}");
    wait_until(Duration::from_secs(20), "the accepted list", || {
        try_rcpt(&mut smtp, "<user20@example.test>").code == 550
    });
    assert_eq!(try_rcpt(&mut smtp, "<user1@example.test>").code, 250);
}

/// Who was added to a list that can't be read can't be known: nobody is refused for good meanwhile.
#[test]
fn a_list_that_cannot_be_read_calls_nobody_unknown() {
    let backstop = backstop();
    let decides = |recipient: &str| backstop.command(&["check", recipient]).status;
    assert_eq!(decides("nobody@example.test"), REFUSED);
    let list = backstop.path("addresses");
    let content = std::fs::read_to_string(&list).expect("the list is there");
    std::fs::remove_file(&list).expect("remove the list");
    wait_until(Duration::from_secs(20), "the list is missed", || decides("nobody@example.test") == DEFERRED);
    assert_eq!(decides("user20@example.test"), 0);
    backstop.write("addresses", &content);
    wait_until(Duration::from_secs(20), "the list is back", || decides("nobody@example.test") == REFUSED);
}

/// Exit statuses of `backstop check`.
const REFUSED: i32 = 1;
const DEFERRED: i32 = 2;

/// Mail to a known and to an unknown user, whose fate no edit changes.
#[derive(Default)]
struct Flow {
    stop: AtomicBool,
    recipients: AtomicUsize,
    sessions: AtomicUsize,
}

impl Flow {
    fn one_long_session(&self, port: u16) {
        let mut smtp = open(port);
        while !self.stop.load(Ordering::SeqCst) {
            self.message(&mut smtp);
        }
        smtp.quit();
    }

    fn many_sessions(&self, port: u16) {
        while !self.stop.load(Ordering::SeqCst) {
            let mut smtp = open(port);
            self.message(&mut smtp);
            smtp.quit();
            self.sessions.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn message(&self, smtp: &mut Smtp) {
        assert_eq!(smtp.mail("<sender@elsewhere.test>").code, 250, "{}", smtp.transcript());
        assert_eq!(smtp.rcpt("<user0@example.test>").code, 250, "{}", smtp.transcript());
        assert_eq!(smtp.rcpt("<nobody@example.test>").code, 550, "{}", smtp.transcript());
        assert_eq!(smtp.rset().code, 250, "{}", smtp.transcript());
        self.recipients.fetch_add(2, Ordering::SeqCst);
    }
}

fn backstop() -> Backstop {
    Backstop::builder(BACKSTOP)
        .file("addresses", &addresses(&[]))
        .file("domains", "example.test\n")
        .file("suspended", "another@example.test\n")
        .config(
            r#"
            [domains]
            detect = false
            files = ["{dir}/domains"]
            [directory.people.file]
            path = "{dir}/addresses"
            format = "addresses"
            [suspensions]
            files = ["{dir}/suspended"]
            "#,
        )
        .start()
}

fn postfix(backstop: &Backstop) -> Postfix {
    // new.test is relayed for as well: Backstop alone decides
    Postfix::builder().milter(&backstop.for_postfix()).main("relay_domains = example.test new.test").start()
}

/// Thirty users and these: one more or less is no accident.
fn addresses(more: &[&str]) -> String {
    let users = (0..30).map(|number| format!("user{number}"));
    users
        .chain(more.iter().map(|user| (*user).to_owned()))
        .map(|user| format!("{user}@example.test\n"))
        .collect()
}

fn open(port: u16) -> Smtp {
    let mut smtp = Smtp::connect(port);
    smtp.ehlo("mail.elsewhere.test");
    smtp
}

fn try_rcpt(smtp: &mut Smtp, rcpt: &str) -> backstop_harness::Reply {
    assert_eq!(smtp.mail("<sender@elsewhere.test>").code, 250, "{}", smtp.transcript());
    let reply = smtp.rcpt(rcpt);
    smtp.rset();
    reply
}
