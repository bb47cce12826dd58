//! Lists of networks in files are followed, by a reload or without one.

use std::time::Duration;

use backstop_harness::{Dns, wait_until};

use super::{backstop, ip, is_refused, postfix, rcpt};

const ANNA: &str = "<anna@example.test>";

#[test]
fn the_next_client_sees_an_edit() {
    let dns = Dns::start();
    for last in 1..=9 {
        dns.host(ip(&format!("203.0.113.{last}")), &format!("mail{last}.example.org"));
    }
    let many: String = (0..20).map(|n| format!("198.51.100.{n} REJECT\n")).collect();
    let builder = backstop(&dns)
        .file("dynamic.cidr", &format!("{many}203.0.113.1\n"))
        .file("trusted", "203.0.113.8\n")
        .file("denied", "203.0.113.9\n");
    let list = |name: &str| format!("[{:?}]", builder.path(name).display().to_string());
    let (networks, trusted, denied) = (list("dynamic.cidr"), list("trusted"), list("denied"));
    let backstop = builder
        .env("BACKSTOP__CLIENT__DYNAMIC__NETWORKS", &networks)
        .env("BACKSTOP__CLIENT__TRUSTED_FILES", &trusted)
        .env("BACKSTOP__CLIENT__DENIED_FILES", &denied)
        .start();
    let postfix = postfix(&backstop);
    let is = |last: u8| is_refused(&rcpt(&postfix, &format!("203.0.113.{last}"), ANNA));
    assert!(is(1) && !is(2));
    // What DNS says of a client is remembered, what files say is not.
    backstop.write("dynamic.cidr", &format!("{many}203.0.113.2\n"));
    wait_until(Duration::from_secs(20), "the edit to be seen", || !is(1) && is(2));
    backstop.write("dynamic.cidr", "203.0.113.1\n");
    let reload = backstop.command(&["reload"]);
    assert!(reload.stdout.contains("shrank from 21 to 1"), "{reload:?}");
    assert!(!is(1) && is(2), "what shrinks much is held back");
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("client.dynamic.networks: it shrank"), "{status}");
    let held_back = [("list", "client.dynamic.networks")];
    assert_eq!(backstop.metric("backstop_file_held_back", &held_back), 1.0);
    assert_eq!(backstop.command(&["reload", "--accept"]).status, 0);
    assert!(is(1) && !is(2));

    // Trusted and denied ones come from files, too.
    backstop.write("dynamic.cidr", "203.0.113.0/28\n");
    assert_eq!(backstop.command(&["reload"]).status, 0);
    assert!(is(3) && !is(8));
    let refused = |last: u8| {
        let mut smtp = backstop_harness::Smtp::connect(postfix.port());
        smtp.ehlo("proxy.test");
        smtp.xclient(&format!("ADDR=203.0.113.{last}"));
        smtp.ehlo("client.test");
        !smtp.mail("<sender@elsewhere.test>").ok()
    };
    assert!(refused(9) && !refused(8));
    backstop.write("denied", "203.0.113.7\n");
    wait_until(Duration::from_secs(20), "the edit to be seen", || !refused(9) && refused(7));
}
