//! `backstop check` says what the MTA would be told: the running server, and the configuration alone.

use backstop_harness::{Postfix, Smtp};

use crate::site;

#[test]
fn check_agrees_with_what_the_client_is_told() {
    let backstop = site::backstop().start();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main(&format!("relay_domains = {} foreign.test", site::DOMAINS.join(" ")))
        .main("mynetworks = 0.0.0.0/0\nallow_untrusted_routing = yes")
        .start();
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("client.test");
    smtp.xclient("ADDR=198.51.100.7 NAME=mail.elsewhere.test");
    smtp.ehlo("mail.elsewhere.test");
    smtp.mail("<sender@elsewhere.test>");
    for (address, reason, status) in [
        ("anna@example.test", "ok", 0),
        ("ANNA+news@example.test", "ok", 0),
        ("nobody@example.test", "unknown-recipient", 1),
        ("unpaid@example.test", "suspended-recipient", 1),
        ("whoever@suspended.test", "suspended-recipient", 1),
        ("whoever@catchall.test", "ok", 0),
        ("nobody@foreign.test", "not-local", 0),
        ("postmaster@example.test", "exempt", 0),
        ("victim%foreign.test@example.test", "relay-syntax", 1),
    ] {
        let reply = smtp.rcpt(&format!("<{address}>"));
        assert_eq!(reply.ok(), status == 0, "{address}: {reply}");
        assert!(reply.ok() || reply.text.ends_with(&format!("[{reason}]")), "{address}: {reply}");
        for offline in [&[][..], &["--offline"]] {
            let client = ["check", address, "--client", "198.51.100.7", "--from", "sender@elsewhere.test"];
            let output = backstop.command(&[&client[..], offline].concat());
            assert_eq!(output.status, status, "{address} {offline:?}: {output:?}");
            assert!(output.stdout.contains(reason), "{address} {offline:?}: {output:?}");
        }
    }
}
