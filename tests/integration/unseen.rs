//! Local senders whom Backstop does not see as the world does: their bounces are not refused.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use backstop::detect::{self, Options, Place};
use backstop_harness::{
    Backstop, Postfix, SASL_PASSWORD, SASL_USER, Sendmail, Sink, Smtp, free_port, wait_until,
};

use crate::site;

/// Anna's mail leaves as Bob's, and so its bounces come to Bob. Then that ends, and only programs write unseen.
#[test]
fn what_is_rewritten_or_unseen_gets_its_bounces() {
    let milter = format!("inet:127.0.0.1:{}", free_port());
    let sink = Sink::start();
    let postfix = Postfix::builder()
        .milter(&milter)
        .main("sender_canonical_maps = inline:{ { anna@example.test = bob@example.test } }")
        .next_hop(sink.port())
        .start();
    let backstop = site::backstop()
        .listen(&milter)
        .env("MAIL_CONFIG", &postfix.config_directory().display().to_string())
        .env("BACKSTOP__DOMAINS__DETECT", "true")
        .env("BACKSTOP__DEFENCE__BOUNCES__UNSOLICITED", "enforce")
        .env("BACKSTOP__DEFENCE__BOUNCES__REMEMBER", "1s")
        .start();
    wait_until(Duration::from_secs(20), "it to have learned", || {
        !backstop.command(&["status"]).stdout.contains("senders are remembered since")
    });
    let mut smtp = Smtp::connect_from(Some(stranger()), (Ipv4Addr::LOCALHOST, postfix.port()).into());
    smtp.ehlo("laptop.example.test");
    assert_eq!(smtp.auth_plain(SASL_USER, SASL_PASSWORD).code, 235, "{}", smtp.transcript());
    smtp.mail("<anna@example.test>");
    assert_eq!(smtp.rcpt("<somebody@foreign.test>").code, 250, "{}", smtp.transcript());
    assert_eq!(smtp.data("Subject: rewritten\n\nHello.\n").code, 250, "{}", smtp.transcript());
    assert_eq!(sink.wait_for("Subject: rewritten").mail_from, "bob@example.test");
    assert_eq!(bounce(&postfix), 250);
    let notes = |backstop: &Backstop| backstop.command(&["status"]).stdout;
    let status = notes(&backstop);
    for why in ["sender_canonical_maps = ", "non_smtpd_milters does not name Backstop"] {
        let note = format!("bounces: none is called unsolicited: {why}");
        assert!(status.contains(&note), "{status}");
    }
    let check = backstop.command(&["check", "bob@example.test", "--client", "198.51.100.7", "--from", ""]);
    let line = "solicited: could not find out: senders may write unseen, or under another name";
    assert!(check.stdout.contains(line), "{check:?}");

    let set = |settings: &[&str]| {
        let postconf = postfix.command("postconf", &[&["-e"], settings].concat()).status();
        assert!(postconf.expect("run postconf").success());
    };
    set(&["sender_canonical_maps =", &format!("non_smtpd_milters = {milter}")]);
    assert!(postfix.command("postfix", &["reload"]).status().expect("run postfix").success());
    wait_until(Duration::from_secs(40), "the MTA's settings to be seen", || {
        !notes(&backstop).contains("none is called unsolicited")
    });
    // Whoever wrote unseen until then may get his bounces yet.
    wait_until(Duration::from_secs(20), "it to have learned", || {
        let check =
            backstop.command(&["check", "bob@example.test", "--client", "198.51.100.7", "--from", ""]);
        check.stdout.contains("solicited: nobody it is for wrote lately")
    });
    assert_eq!(bounce(&postfix), 550);
    postfix.sendmail("bob@example.test", &["somebody@foreign.test"], "Subject: by a program\n\nHello.\n");
    sink.wait_for("Subject: by a program");
    assert_eq!(bounce(&postfix), 250);
}

#[test]
fn settings_of_sendmail() {
    for (lines, hides) in [
        ("", None),
        (
            "MASQUERADE_AS(`example.test')dnl\nFEATURE(`genericstable')dnl\nFEATURE(`masquerade_entire_domain')dnl",
            None,
        ),
        ("MASQUERADE_AS(`example.test')dnl\nFEATURE(`masquerade_envelope')dnl", Some("masquerade_envelope")),
        ("define(`confUSERDB_SPEC', `/etc/mail/userdb.db')dnl", Some("UserDatabaseSpec")),
        ("FEATURE(`domaintable')dnl", Some("domaintable")),
        ("LOCAL_RULE_1\nR$* < @ old.test > $*\t\t$1 < @ new.test > $2", Some("ruleset 1")),
    ] {
        let sendmail = Sendmail::builder().milter("inet:1@localhost").mc(lines).configure();
        let options = Options {
            sendmail: Place::At(sendmail.join("mc/sendmail.cf")),
            sendmail_program: Some(PathBuf::from("/nowhere")),
            ..Options::nothing()
        };
        let unseen = unseen(&options);
        let found = unseen.iter().all(|why| hides.is_some_and(|hides| why.contains(hides)));
        assert!(found && unseen.len() == usize::from(hides.is_some()), "{lines}: {unseen:?}");
    }
    // A port for users that asks nobody.
    let own = "DAEMON_OPTIONS(`Port=10587, Name=MSA, InputMailFilters=')dnl";
    let sendmail = Sendmail::builder().milter("inet:1@localhost").mc(own).configure();
    let options = Options {
        sendmail: Place::At(sendmail.join("mc/sendmail.cf")),
        sendmail_program: Some(PathBuf::from("/nowhere")),
        ..Options::nothing()
    };
    let unseen = unseen(&options);
    assert!(matches!(&unseen[..], [one] if one.contains("daemon MSA does not name Backstop")), "{unseen:?}");
}

mod full {
    use super::*;

    #[test]
    fn settings_of_postfix() {
        let postfix =
            Postfix::builder().milter("inet:localhost:1").main("non_smtpd_milters = $smtpd_milters").start();
        let options = Options { postfix: Place::At(postfix.config_directory()), ..Options::nothing() };
        let set = |settings: &[&str]| {
            let postconf = postfix.command("postconf", settings).status();
            assert!(postconf.expect("run postconf").success());
        };
        assert_eq!(unseen(&options), [""; 0]);
        for (settings, value, hides) in [
            ("canonical_maps", "inline:{a=b}", true),
            ("sender_canonical_maps", "tcp:localhost:10001", true),
            ("recipient_canonical_maps", "inline:{a=b}", false),
            ("masquerade_domains", "example.test", true),
            ("smtp_generic_maps", "inline:{a=b}", true),
            ("smtpd_milter_maps", "inline:{192.0.2.7=DISABLE}", true),
            ("virtual_alias_maps", "inline:{a=b}", false),
            ("non_smtpd_milters", "inet:localhost:2", true),
        ] {
            set(&["-e", &format!("{settings}={value}")]);
            let unseen = unseen(&options);
            let found = matches!(&unseen[..], [one] if one.contains(settings));
            assert!(if hides { found } else { unseen.is_empty() }, "{settings}: {unseen:?}");
            set(&["-X", settings]);
            set(&["-e", "non_smtpd_milters=inet:localhost:1"]);
        }
        // Only headers are rewritten.
        set(&["-e", "masquerade_domains=example.test", "masquerade_classes=header_sender"]);
        assert_eq!(unseen(&options), [""; 0]);
        set(&["-e", "sender_canonical_maps=inline:{a=b}", "sender_canonical_classes=header_sender"]);
        assert_eq!(unseen(&options), [""; 0]);
        set(&["-P", "cleanup/unix/sender_canonical_classes=envelope_sender"]);
        assert_eq!(unseen(&options).len(), 1);
        set(&["-P", "smtp/unix/smtp_generic_maps=inline:{a=b}"]);
        assert_eq!(unseen(&options).len(), 2);
        // What can't be found out.
        let nowhere = Options { postfix: Place::At("/nowhere".into()), ..Options::nothing() };
        assert_eq!(unseen(&nowhere).len(), 1);
    }
}

/// For a Backstop that listens on port 1.
fn unseen(options: &Options) -> Vec<String> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let findings = runtime.block_on(detect::find(options));
    findings.unseen(|milter| milter == "inet:localhost:1" || milter == "inet:1@localhost")
}

/// What a stranger's report for Bob is answered.
fn bounce(postfix: &Postfix) -> u16 {
    let mut smtp = Smtp::connect_from(Some(stranger()), (Ipv4Addr::LOCALHOST, postfix.port()).into());
    smtp.ehlo("mail.elsewhere.test");
    smtp.mail("<>");
    assert_eq!(smtp.rcpt("<bob@example.test>").code, 250, "{}", smtp.transcript());
    smtp.data("Subject: report\n\nHello.\n").code
}

fn stranger() -> IpAddr {
    Ipv4Addr::new(127, 0, 0, 9).into()
}
