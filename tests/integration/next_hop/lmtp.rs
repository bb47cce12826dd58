//! Dovecot's LMTP knows its users, whatever they come from: asked over its unix socket.

use backstop_harness::{Dovecot, Postfix};

use crate::next_hop::{asking, rcpt};

#[test]
fn dovecot_tells_who_exists() {
    let dovecot = Dovecot::start(&["anna@example.test", "o.neil@example.test", "anna@xn--bcher-kva.test"]);
    let socket = dovecot.lmtp();
    // Most Dovecots have no postmaster: Postfix has an alias for that.
    let settings = format!("host = \"lmtp:unix:{}\"\ncontrol = \"anna\"", socket.display());
    let backstop = asking(&settings).start();
    let front = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main(&format!(
            "relay_domains =\nvirtual_mailbox_domains = example.test, xn--bcher-kva.test\n\
             virtual_transport = lmtp:unix:{}",
            socket.display()
        ))
        .start();
    for (recipient, code) in [
        ("<anna@example.test>", 250),
        ("<ANNA+lists@example.test>", 250),
        ("<o.neil@example.test>", 250),
        ("<anna@xn--bcher-kva.test>", 250),
        ("<nobody@example.test>", 550),
        ("<\"a b\"@example.test>", 550),
        ("<nobody@xn--bcher-kva.test>", 550),
    ] {
        let reply = rcpt(&front, recipient);
        assert_eq!(reply.code, code, "{recipient}: {reply}");
    }
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("directory inside (smtp): up"), "{status}");

    let without = asking(&format!("host = \"lmtp:unix:{}\"", socket.display())).start();
    let check = without.command(&["check", "nobody@example.test", "--client", "192.0.2.1"]);
    assert_eq!(check.status, 2, "no control recipient, no refusal: {}", check.stdout);
}
