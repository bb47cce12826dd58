//! The program without a configuration, before a real Postfix with users of its own.

use std::net::Ipv4Addr;

use backstop_harness::{Backstop, Postfix, Smtp, free_port};

use crate::BACKSTOP;

/// It finds the MTA's domains and users, refuses nobody whom the MTA takes, and sees whom the MTA refuses by itself.
#[test]
fn before_postfix() {
    let milter = free_port();
    let settings = "mydestination = local.test\nlocal_recipient_maps = proxy:unix:passwd.byname $alias_maps\n\
                    alias_maps = hash:$config_directory/aliases\nrelay_domains = relay.test\nmynetworks = 127.0.0.1/32\n\
                    append_dot_mydomain = no\nsmtpd_reject_unlisted_recipient = yes\n\
                    smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination";
    let with = |settings: &str| Postfix::builder().main(settings).map("hash", "aliases", "list root\n");
    let postfix = with(settings).milter(&format!("inet:127.0.0.1:{milter}")).start();
    let alone = with(settings).start();
    let backstop = Backstop::builder(BACKSTOP)
        .env("MAIL_CONFIG", &postfix.config_directory().display().to_string())
        .listen(&format!("inet:127.0.0.1:{milter}"))
        .start();

    let insider = Ipv4Addr::LOCALHOST;
    let stranger = Ipv4Addr::new(127, 0, 0, 9);
    for (client, recipient, code) in [
        (stranger, "root@local.test", 250),
        (stranger, "LIST@Local.Test", 250),
        (stranger, "nobody-such@local.test", 550),
        (stranger, "whoever@relay.test", 250),
        (stranger, "joe@elsewhere.test", 554),
        (stranger, "root%elsewhere.test@local.test", 554),
        (insider, "joe@elsewhere.test", 250),
        (insider, "root%elsewhere.test@local.test", 250),
        (insider, "elsewhere.test!root@local.test", 250),
        (insider, "nobody-such@local.test", 550),
        (insider, "postmaster", 250),
    ] {
        let ask = |port| {
            let mut smtp = Smtp::connect_from(Some(client.into()), (Ipv4Addr::LOCALHOST, port).into());
            smtp.ehlo("client.example.org");
            smtp.mail("<sender@elsewhere.test>");
            smtp.rcpt(&format!("<{recipient}>"))
        };
        let (reply, without) = (ask(postfix.port()), ask(alone.port()));
        assert_eq!(reply.code, code, "{recipient} from {client}: {}", reply.text);
        assert_eq!(without.code, code, "{recipient} from {client}, without Backstop: {}", without.text);
    }

    let reasons = backstop.metric_by("backstop_decisions_total", &[("stage", "rcpt")], "reason");
    let count = |reason: &str| reasons.get(reason).copied().unwrap_or_default();
    assert!(count("ok") >= 2.0 && count("mta-refused") >= 2.0 && count("no-directory") >= 1.0, "{reasons:?}");
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("last MTA: mx.example.test Postfix"), "{status}");
    assert!(status.contains("domain: local.test (mydestination)"), "{status}");
    assert!(status.contains("domain: relay.test (relay_domains, partial"), "{status}");
}
