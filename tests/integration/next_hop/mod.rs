//! The server that mail is relayed to is asked who exists: call-ahead through real Postfix, on both sides.

mod doubts;
mod lmtp;
mod outage;
mod routes;
mod tls;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use backstop_harness::{
    Backstop, BackstopBuilder, Postfix, PostfixBuilder, Reply, Sendmail, Smtp, wait_until,
};

use crate::BACKSTOP;

#[test]
fn who_the_next_hop_knows_is_taken_and_who_not_is_refused() {
    let inside = knowing().start();
    let backstop = asking(&host(&inside)).start();
    let front = front(&backstop, &inside);
    for (recipient, code) in [
        ("<anna@example.test>", 250),
        ("<Anna@EXAMPLE.test>", 250),
        ("<anna+lists@example.test>", 250),
        ("<\"john doe\"@example.test>", 250),
        ("<anna@xn--bcher-kva.test>", 250),
        ("<nobody@example.test>", 550),
        ("<bob+lists@example.test>", 550),
        ("<\"anna\\\" \\\\>\"@example.test>", 550),
        ("<\"anna> RCPT TO:<x\"@example.test>", 550),
        ("<'or'1'='1@example.test>", 550),
        ("<nobody@xn--bcher-kva.test>", 550),
    ] {
        let reply = rcpt(&front, recipient);
        assert_eq!(reply.code, code, "{recipient}: {reply}");
        if code == 550 {
            assert_eq!(reply.enhanced.as_deref(), Some("5.1.1"));
            assert!(reply.text.ends_with("[unknown-recipient]"), "{reply}");
        }
    }
    let log = inside.maillog();
    assert!(!log.contains("data=") && inside.queue().is_empty(), "no message follows");
    assert_eq!(backstop.metric("backstop_directory_up", &[("directory", "inside")]), 1.0);
    let status = backstop.command(&["status"]);
    assert!(status.stdout.contains("directory inside (smtp): up"), "{}", status.stdout);
}

#[test]
fn sendmail_tells_who_exists() {
    let local = "FEATURE(`use_cw_file')dnl\ndefine(`ALIAS_FILE', `{dir}/aliases')dnl\n\
                 define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe, ClassFileInUnsafeDirPath, MapInUnsafeDirPath, WorldWritableAliasFile')dnl";
    let inside = Sendmail::builder().file("aliases", "postmaster: root\n").mc(local).start();
    let settings = format!("host = \"{}\"", inside.ipv4());
    let text = config(&settings).replace("other.test", "mx2.example.test");
    let backstop = Backstop::builder(BACKSTOP).config(&text).start();
    for number in 0..20 {
        let check = backstop.command(&["check", &format!("nobody{number}@mx2.example.test")]);
        assert_eq!(check.status, 1, "{}{}", check.stdout, inside.maillog());
    }
    assert_eq!(backstop.command(&["check", "root@mx2.example.test"]).status, 0);
    // It takes everybody in the domain that it relays for.
    let args = ["check", "nobody@example.test", "--client", "192.0.2.1"];
    let check = backstop.command(&args);
    assert!(check.status == 0 && check.stdout.contains("takes any recipient"), "{}", check.stdout);
}

/// Reuse and retirement: Postfix slows down after ten refused recipients on one connection, and hangs up after twenty.
#[test]
fn connections_are_used_again_but_not_worn_out() {
    let limits = "smtpd_soft_error_limit = 10\nsmtpd_hard_error_limit = 20\nsmtpd_error_sleep_time = 5s";
    let inside = knowing().main(limits).start();
    let backstop = asking(&host(&inside)).start();
    for number in 0..40 {
        let check = backstop.command(&["check", &format!("nobody{number}@example.test")]);
        assert_eq!(check.status, 1, "{}", check.stdout);
    }
    let log = inside.maillog();
    let connections = log.matches(": connect from").count();
    assert!((4..=10).contains(&connections), "{connections} connections for 40 questions");
    assert!(!log.contains("too many errors"), "{log}");
}

/// What is known is not asked again, and what an attack invents costs one question each.
#[test]
fn answers_are_remembered() {
    let inside = knowing().start();
    let backstop = asking(&host(&inside)).start();
    let asked = |log: &str| log.matches("NOQUEUE: reject: RCPT").count();
    // It is asked at the start, too.
    wait_until(Duration::from_secs(15), "the first question", || asked(&inside.maillog()) == 1);
    for _ in 0..5 {
        assert_eq!(backstop.command(&["check", "anna@example.test"]).status, 0);
        assert_eq!(backstop.command(&["check", "nobody@example.test"]).status, 1);
    }
    // nobody@, and one random recipient
    assert_eq!(asked(&inside.maillog()), 2, "{}", inside.maillog());
}

/// It takes any sub-address of those whom it knows, which makes no mailboxes of them.
#[test]
fn who_is_suspended_is_so_with_any_sub_address() {
    let inside = knowing().start();
    let backstop = asking(&host(&inside)).start();
    let front = front(&backstop, &inside);
    for who in ["anna@example.test", "carl@example.test"] {
        assert_eq!(backstop.command(&["suspend", who]).status, 0);
    }
    for (recipient, code) in [
        ("<anna@example.test>", 550),
        ("<anna+lists@example.test>", 550),
        ("<anna+more+lists@example.test>", 550),
        // A mailbox of its own.
        ("<carl+own@example.test>", 250),
        ("<carl@example.test>", 550),
    ] {
        let reply = rcpt(&front, recipient);
        assert_eq!(reply.code, code, "{recipient}: {reply}");
        assert!(code == 250 || reply.text.ends_with("[suspended-recipient]"), "{recipient}: {reply}");
    }
}

#[test]
fn a_wrong_setting_is_told_with_its_place() {
    let backstop = asking("host = \"127.0.0.1:25\"").start();
    for (toml, message) in [
        ("control = \"x\"", "names no server"),
        ("host = \"127.0.0.1:99999\"", "is no server"),
        ("host = \"lmtp:/run/x\"", "a path has to follow lmtp:unix:"),
        ("host = \"a\"\nabsent_codes = [\"550\"]", "no enhanced status code"),
        ("host = \"a\"\ndeadline = \"9s\"", "at most 8s"),
        ("host = \"a\"\ncontrol = \"a b@\"", "is no recipient"),
        ("transport_map = \"/nowhere/transport\"", "/nowhere/transport: No such file"),
        ("host = \"a\"\ntls = \"verify\"\nca_file = \"/nowhere/ca.pem\"", "/nowhere/ca.pem"),
        ("host = \"a\"\nhosts = { \"a b\" = \"c\" }", "is not a domain"),
    ] {
        let path = backstop.write("wrong.toml", &config(toml));
        let check = backstop_harness::CommandOutput::of(
            std::process::Command::new(BACKSTOP).arg("--config").arg(path).args(["config", "check"]),
        );
        assert_eq!(check.status, 78, "{toml}: {}{}", check.stdout, check.stderr);
        assert!(check.stderr.contains(message), "{toml}: {}", check.stderr);
        assert!(check.stderr.contains("wrong.toml:"), "{toml}: {}", check.stderr);
    }
}

/// Somebody names the MTA that asks us: each question would ask itself. It ends, and nothing runs away.
#[test]
fn a_next_hop_that_asks_us_again() {
    let backstop = asking("host = \"127.0.0.1:1\"").start();
    let front = Postfix::builder().milter(&backstop.for_postfix()).start();
    let loops = format!("host = \"127.0.0.1:{}\"\ndeadline = \"500ms\"", front.port());
    backstop.write("backstop.toml", &config(&loops));
    assert_eq!(backstop.command(&["reload"]).status, 0);
    let reply = rcpt(&front, "<nobody@example.test>");
    assert_eq!(reply.code, 451, "{reply}");
    let connections = front.maillog().matches(": connect from").count();
    assert!(connections < 20, "{connections} connections for one recipient");
}

/// A Postfix that knows its users, postmaster among them, and has mail for nobody else.
pub(crate) fn knowing() -> PostfixBuilder {
    Postfix::builder().file("recipients", RECIPIENTS).main(
        "myhostname = inside.example.test\nrelay_domains = example.test, other.test, xn--bcher-kva.test\n\
         relay_recipient_maps = texthash:$config_directory/recipients\nrecipient_delimiter = +",
    )
}

/// The setting that names this server.
pub(crate) fn host(inside: &Postfix) -> String {
    format!("host = \"127.0.0.1:{}\"", inside.port())
}

/// A Backstop whose only directory asks the next hop, with these settings.
pub(crate) fn asking(settings: &str) -> BackstopBuilder {
    Backstop::builder(BACKSTOP).config(&config(settings))
}

pub(crate) fn config(settings: &str) -> String {
    format!(
        "[domains]\ndetect = false\nnames = [\"example.test\", \"other.test\", \"xn--bcher-kva.test\"]\n\
         [client]\ntrusted = [\"127.0.0.1\"]\n[directory.inside.smtp]\n{settings}\n"
    )
}

/// A Postfix that relays to the inside without knowing anybody there.
pub(crate) fn front(backstop: &Backstop, inside: &Postfix) -> Postfix {
    Postfix::builder()
        .milter(&backstop.for_postfix())
        .main("relay_domains = example.test, other.test, xn--bcher-kva.test")
        .next_hop(inside.port())
        .start()
}

/// The answer for one recipient to a client that nobody trusts.
pub(crate) fn rcpt(front: &Postfix, recipient: &str) -> Reply {
    let from = Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, 9)));
    let mut smtp = Smtp::connect_from(from, (Ipv4Addr::LOCALHOST, front.port()).into());
    smtp.ehlo("client.example.org");
    smtp.mail("<sender@elsewhere.test>");
    smtp.rcpt(recipient)
}

const RECIPIENTS: &str = "\
anna@example.test x
carl+own@example.test x
postmaster@example.test x
\"john doe\"@example.test x
anna@other.test x
postmaster@other.test x
anna@xn--bcher-kva.test x
postmaster@xn--bcher-kva.test x
";
