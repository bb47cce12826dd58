//! A part of the tree on another server (RFC 3296): whoever is not found here may be there.

use backstop_harness::Slapd;

use super::{OK, UNAVAILABLE, UNKNOWN, decides, person};

#[test]
fn whoever_may_be_elsewhere_is_asked_for_there_or_not_unknown() {
    let (mut elsewhere, here) = (Slapd::start(), Slapd::start());
    elsewhere.add(&format!("dn: ou=branch,{}\nobjectClass: organizationalUnit\nou: branch\n", Slapd::BASE));
    let bob = person("bob", &["mail: bob@example.test"]).replace("ou=people", "ou=branch");
    elsewhere.add(&bob);
    here.add(&person("anna", &["mail: anna@example.test"]));
    here.add(&format!(
        "dn: ou=branch,{base}\nobjectClass: referral\nobjectClass: extensibleObject\nou: branch\nref: {}/ou=branch,{base}\n",
        elsewhere.url(),
        base = Slapd::BASE
    ));
    let ask = |follow: bool, table: &[(&str, &str)]| {
        let more = format!("source = \"live\"\ndeadline = \"1s\"\nfollow_referrals = {follow}");
        let backstop = super::backstop(&super::reader(&[here.url()], &here, &more)).start();
        let postfix = super::postfix(&backstop);
        decides(&mut super::session(&postfix), &format!("follow_referrals = {follow}"), table);
    };
    ask(false, &[("anna", OK), ("bob", UNAVAILABLE), ("nobody", UNAVAILABLE)]);
    ask(true, &[("anna", OK), ("bob", OK), ("nobody", UNKNOWN)]);
    elsewhere.stop();
    ask(true, &[("anna", OK), ("bob", UNAVAILABLE), ("nobody", UNAVAILABLE)]);
}
