//! Which server is asked: one for all, one for each domain, or what a transport map says, also after it changed.

use std::time::Duration;

use backstop_harness::{Backstop, Postfix, wait_until};

use crate::next_hop::{asking, host, knowing};

#[test]
fn a_host_for_each_domain() {
    let (all, own) = (knowing().start(), only("bob@other.test").start());
    let settings = format!("{}\nhosts = {{ \"other.test\" = \"127.0.0.1:{}\" }}", host(&all), own.port());
    let backstop = asking(&settings).start();
    for (recipient, status) in
        [("anna@example.test", 0), ("bob@example.test", 1), ("anna@other.test", 1), ("bob@other.test", 0)]
    {
        assert_eq!(check(&backstop, recipient), status, "{recipient}");
    }
    let backstop = asking(&format!("hosts = {{ \".test\" = \"127.0.0.1:{}\" }}", all.port())).start();
    assert_eq!(check(&backstop, "nobody@example.test"), 1);
    let backstop = asking(&format!("hosts = {{ \"other.test\" = \"127.0.0.1:{}\" }}", own.port())).start();
    assert_eq!(check(&backstop, "nobody@example.test"), 2, "no server is named for it");
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("no server is named for example.test"), "{status}");
}

#[test]
fn a_transport_map_is_followed() {
    let (one, two) = (knowing().start(), only("bob@example.test").start());
    let map =
        |server: &Postfix| format!("example.test  smtp:[127.0.0.1]:{}\nother.test  local:\n", server.port());
    let backstop = asking("transport_map = \"{dir}/transport\"\n[directory.inside.cache]\npositive = \"1ms\"\nnegative = \"1ms\"\nstale = \"1ms\"")
        .file("transport", &map(&one))
        .start();
    assert_eq!((check(&backstop, "anna@example.test"), check(&backstop, "bob@example.test")), (0, 1));
    assert_eq!(check(&backstop, "anna@other.test"), 2, "local mail can't be asked for");

    backstop.write("transport", &map(&two));
    wait_until(Duration::from_secs(10), "the new map to count", || check(&backstop, "bob@example.test") == 0);
    assert_eq!(check(&backstop, "anna@example.test"), 1);

    backstop.write("transport", "this is no map\n");
    wait_until(Duration::from_secs(10), "the bad map to be noticed", || {
        check(&backstop, "anna@example.test");
        backstop.log().contains("transport map can't be read")
    });
    assert_eq!((check(&backstop, "anna@example.test"), check(&backstop, "bob@example.test")), (1, 0));
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("transport can't be read"), "{status}");
}

/// A next hop that knows this one user, and postmaster.
fn only(user: &str) -> backstop_harness::PostfixBuilder {
    let domain = user.rsplit('@').next().unwrap_or_default();
    knowing().file("recipients", &format!("{user} x\npostmaster@{domain} x\n"))
}

fn check(backstop: &Backstop, recipient: &str) -> i32 {
    backstop.command(&["check", recipient, "--client", "192.0.2.1"]).status
}
