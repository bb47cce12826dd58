//! `backstop replay` over the logs of real MTAs that took everything, against what was sent and what the server behind
//! them knew.

mod full;

use std::time::Duration;

use backstop_harness::{Backstop, CommandOutput, Postfix, Sendmail, Sink, Smtp, wait_until};
use serde_json::Value;

use crate::site;

/// Behind the MTA are anna, whom Backstop knows, and dora, whom it does not. Backstop knows bob, who is not there.
const BEHIND: [&str; 2] = ["anna@example.test", "dora@example.test"];

#[test]
fn a_log_of_postfix() {
    let sink = Sink::knowing(&BEHIND);
    let postfix = Postfix::builder()
        .next_hop(sink.port())
        .map("hash", "aliases", "both@example.test anna@example.test, dora@example.test\n")
        .main("virtual_alias_maps = hash:$config_directory/aliases")
        .start();
    send(postfix.port());
    message(postfix.port(), "sender@elsewhere.test", &["<both@example.test>"]);
    postfix.sendmail("root@example.test", &["anna@example.test"], "Subject: here\n\nHello.\n");
    postfix.wait_for_empty_queue();
    let backstop = site::backstop().start();
    let (status, found) = replay(&backstop, &[("maillog", &postfix.maillog())]);
    assert_eq!(status, 1);
    assert_eq!(sums(&found, "delivered"), [5, 4]);
    assert_eq!(rows(&found["delivered_refused"]), [("dora@example.test", 3), ("both@example.test", 1)]);
    check_bounces(&found);
    assert_eq!(found["left_out"], 6, "one that was submitted here, and five bounces");

    // The same log as others write it.
    let log = postfix.maillog();
    let journal: String = log.lines().map(entry).collect();
    for (name, log) in [("journal", &*journal), ("cut", &log[log.len() / 2..])] {
        let (_, again) = replay(&backstop, &[(name, log)]);
        let same = again["delivered"] == found["delivered"] && again["bounced"] == found["bounced"];
        assert_eq!(same, name == "journal", "{name}: {again}");
    }
    let (first, second) = log.split_at(log[..log.len() / 2].rfind('\n').unwrap() + 1);
    let (_, again) = replay(&backstop, &[("maillog.1", first), ("maillog", second)]);
    assert_eq!(again, found, "a log that was rotated");
}

#[test]
fn a_log_of_sendmail() {
    let sink = Sink::knowing(&BEHIND);
    let sendmail = Sendmail::builder().next_hop(sink.port()).start();
    send(sendmail.port());
    // The bounce that bounced stays in the queue.
    wait_until(Duration::from_secs(30), "all fates", || {
        let log = sendmail.maillog();
        log.lines().filter(|line| line.contains(": to=<") && line.contains("@example.test>, delay=")).count()
            == 10
    });
    let backstop = site::backstop().start();
    let (status, found) = replay(&backstop, &[("maillog", &sendmail.maillog())]);
    assert_eq!(status, 1);
    assert_eq!(sums(&found, "delivered"), [4, 3]);
    assert_eq!(rows(&found["delivered_refused"]), [("dora@example.test", 3)]);
    check_bounces(&found);
}

/// What a Postfix logs that takes one message for all of these, and finds these alone behind it.
pub(crate) fn log_of(recipients: &[String], behind: &[&str]) -> String {
    let sink = Sink::knowing(behind);
    let postfix = Postfix::builder().next_hop(sink.port()).start();
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("mail.elsewhere.test");
    assert!(smtp.mail("<>").ok(), "{}", smtp.transcript());
    for recipient in recipients {
        assert!(smtp.rcpt(&format!("<{recipient}>")).ok(), "{}", smtp.transcript());
    }
    assert!(smtp.data("Subject: replay\n\nHello.\n").ok(), "{}", smtp.transcript());
    postfix.wait_for_empty_queue();
    postfix.maillog()
}

/// Nothing that could be judged is no good news.
#[test]
fn a_log_without_deliveries_says_nothing() {
    let backstop = site::backstop().start();
    let connected = "Nov 22 07:27:57 mx postfix/smtpd[1]: connect from mail.elsewhere.test[203.0.113.9]\n";
    // Delivered, but not that it came by SMTP.
    let sent = "Nov 22 07:27:58 mx postfix/local[2]: 4bQ1xk0001z: to=<a@example.test>, relay=local, status=sent (x)\n";
    for (log, left_out) in [(connected, 0), (sent, 1)] {
        let (status, found) = replay(&backstop, &[("maillog", log)]);
        let told = (status, &found["delivered"], &found["of_mtas"], &found["left_out"]);
        assert_eq!(told, (2, &0.into(), &1.into(), &left_out.into()), "{found}");
        assert!(
            found["notes"][0].as_str().is_some_and(|note| note.contains("no mail was delivered")),
            "{found}"
        );
    }
}

#[test]
fn what_is_no_log_is_told() {
    let backstop = site::backstop().start();
    let log = backstop.write("nothing", "Nov 22 07:27:57 mx kernel: hello\nhalf a li");
    let dir = log.parent().unwrap().display().to_string();
    for (file, status, told) in [
        (log.display().to_string(), 65, "no line of Postfix or Sendmail"),
        (format!("{dir}/none"), 66, "none: No such file"),
        (dir.clone(), 66, "is a directory"),
    ] {
        let output = backstop.command(&["replay", &file]);
        assert_eq!(output.status, status, "{output:?}");
        assert!(output.stderr.contains(told), "{output:?}");
    }
    assert_eq!(backstop.command(&["replay"]).status, 64);
}

/// Four messages that are delivered, five that bounce to their sender, one bounce that bounces to nobody.
fn send(port: u16) {
    let sender = "sender@elsewhere.test";
    message(port, sender, &["<anna@example.test>"]);
    for _ in 0..2 {
        message(port, sender, &["<dora@example.test>"]);
    }
    message(port, sender, &["<dora@example.test>", "<invented@example.test>"]);
    for number in 0..3 {
        message(port, &format!("forged{number}@victim.test"), &["<invented@example.test>"]);
    }
    message(port, "", &["<other@example.test>"]);
    message(port, sender, &["<bob@example.test>"]);
}

fn message(port: u16, sender: &str, recipients: &[&str]) {
    let mut smtp = Smtp::connect(port);
    smtp.ehlo("mail.elsewhere.test");
    assert!(smtp.mail(&format!("<{sender}>")).ok(), "{}", smtp.transcript());
    for recipient in recipients {
        assert!(smtp.rcpt(recipient).ok(), "{}", smtp.transcript());
    }
    assert!(smtp.data("Subject: replay\n\nHello.\n").ok(), "{}", smtp.transcript());
    smtp.quit();
}

fn check_bounces(found: &Value) {
    assert_eq!(sums(found, "bounced"), [6, 5]);
    assert_eq!(found["backscatter"], 4);
    assert_eq!(rows(&found["bounced_refused"]), [("invented@example.test", 4), ("other@example.test", 1)]);
    assert_eq!(rows(&found["bounced_passed"]), [("bob@example.test", 1)]);
    let row = &found["bounced_refused"]["top"][0];
    assert_eq!(row["reply"], "550 5.1.1 No such user here [unknown-recipient]");
    assert_eq!((&row["reason"], &row["enforced"]), (&"unknown-recipient".into(), &true.into()));
}

/// How many there were, and how many of them would be refused.
pub(crate) fn sums(found: &Value, what: &str) -> [u64; 2] {
    [&found[what], &found[format!("{what}_refused")]["times"]].map(|sum| sum.as_u64().expect("as written"))
}

pub(crate) fn rows(found: &Value) -> Vec<(&str, u64)> {
    let row = |row: &'_ Value| row["times"].as_u64().expect("as written");
    let top = found["top"].as_array().expect("as written");
    top.iter().map(|found| (found["recipient"].as_str().expect("as written"), row(found))).collect()
}

pub(crate) fn replay(backstop: &Backstop, files: &[(&str, &str)]) -> (i32, Value) {
    let paths: Vec<String> =
        files.iter().map(|(name, text)| backstop.write(name, text).display().to_string()).collect();
    let args: Vec<&str> = ["replay", "--json"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    let CommandOutput { status, stdout, stderr } = backstop.command(&args);
    (status, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}")))
}

/// A line of syslog as an entry of the journal; the time does not matter.
fn entry(line: &str) -> String {
    let (tag, text) = line.splitn(5, ' ').last().and_then(|rest| rest.split_once(": ")).expect("as written");
    let program = tag.split('[').next().expect("as written").split(' ').next_back().expect("as written");
    format!(
        "__CURSOR=x\n__REALTIME_TIMESTAMP=1772263677000001\nSYSLOG_IDENTIFIER={program}\nMESSAGE={text}\n\n"
    )
}
