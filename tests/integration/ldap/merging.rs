//! Several directories in charge of one domain: whoever knows a recipient is right, and only all of them together can say
//! that nobody does.

use std::time::Duration;

use backstop_harness::{Slapd, wait_until};

use super::{OK, SUSPENDED, UNAVAILABLE, UNKNOWN, decides, decision, person};

#[test]
fn a_file_and_two_servers_in_charge_of_one_domain() {
    let (mut first, mut second) = (Slapd::start(), Slapd::start());
    first.add(&person("anna", &["mail: anna@example.test"]));
    first.add(&person("both", &["mail: both@example.test"]));
    second.add(&person("bob", &["mail: bob@example.test"]));
    second.add(&person("both", &["mail: both@example.test", "accountStatus: disabled"]));
    let more = "source = \"live\"\ndeadline = \"1s\"\nsuspended_filter = \"(accountStatus=disabled)\"";
    let ldap = super::reader(&[first.url()], &first, more);
    let other = super::reader(&[second.url()], &second, more);
    let ldap = format!(
        "{ldap}\n[directory.branch]\ndomains = [\"example.test\"]\n[directory.branch.ldap]\n{other}\n\
         [directory.list]\ndomains = [\"example.test\"]\n[directory.list.file]\npath = \"{{dir}}/list\"\n\
         [directory.branch.cache]\nstale = \"0s\"\npositive = \"1s\"\n"
    );
    let backstop = super::backstop(&ldap).file("list", "carl@example.test\nboth@example.test\n").start();
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);
    let all = [("anna", OK), ("bob", OK), ("carl", OK), ("both", SUSPENDED), ("nobody", UNKNOWN)];
    decides(&mut smtp, "all answer", &all);

    second.stop();
    wait_until(Duration::from_secs(20), "the cache to forget", || {
        decision(&mut smtp, "<bob@example.test>") == UNAVAILABLE
    });
    let table = [("anna", OK), ("carl", OK), ("bob", UNAVAILABLE), ("stranger", UNAVAILABLE)];
    decides(&mut smtp, "one is down", &table);
    first.stop();
    decides(&mut smtp, "both are down", &[("anna", OK), ("carl", OK), ("foreigner", UNAVAILABLE)]);
}

/// The admin may let mail in while nobody can tell; who exists, and who is suspended, is known all the same.
#[test]
fn mail_is_let_in_where_the_admin_says_so() {
    let mut slapd = Slapd::start();
    slapd.add(&person("anna", &["mail: anna@example.test"]));
    slapd.add(&person("late", &["mail: late@example.test", "accountStatus: disabled"]));
    let more = "deadline = \"1s\"\nsource = \"live\"\nsuspended_filter = \"(accountStatus=disabled)\"";
    let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, more))
        .env("BACKSTOP__DIRECTORY__CORP__ON_UNAVAILABLE", "continue")
        .start();
    let postfix = super::postfix(&backstop);
    let mut smtp = super::session(&postfix);
    decides(&mut smtp, "before", &[("late", SUSPENDED), ("nobody", UNKNOWN)]);
    slapd.kill();
    decides(&mut smtp, "meanwhile", &[("anna", OK), ("stranger", OK), ("late", SUSPENDED)]);
    slapd.restart();
    wait_until(Duration::from_secs(10), "an answer", || {
        decision(&mut smtp, "<someone@example.test>") == UNKNOWN
    });
}
