//! Directories of mail servers other than Exchange: RFC 2798 and what such servers add to it, or the admin's own filters.

use backstop_harness::Slapd;

use super::{OK, RESTRICTED, SUSPENDED, UNKNOWN, decides, person, wait_for_addresses};

#[test]
fn every_kind_of_recipient() {
    let slapd = slapd();
    for source in ["live", "replica"] {
        let more = format!("schema = \"inet-org-person\"\nsource = {source:?}");
        let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, &more)).start();
        let postfix = super::postfix(&backstop);
        if source == "replica" {
            wait_for_addresses(&backstop, 9);
        }
        let table = [
            ("anna", OK),
            ("ANNA", OK),
            ("anna+news", OK),
            ("anna.alternate", OK),
            ("anna.local", OK),
            ("anna.routed", UNKNOWN), // mailRoutingAddress is where mail goes to, not what is accepted
            ("annauid", UNKNOWN),
            ("team", OK),
            ("uniques", OK),
            ("staff", OK),
            ("bob", OK),
            ("late", OK),
            ("club", OK),
            ("nobody", UNKNOWN),
        ];
        decides(&mut super::session(&postfix), source, &table);
    }
}

#[test]
fn own_filters_and_attributes() {
    let slapd = slapd();
    for source in ["live", "replica"] {
        let more = format!(
            "source = {source:?}\nfilter = \"(accountStatus=*)\"\nattributes = [\"mail\"]\n\
             suspended_filter = \"(accountStatus=no*access)\"\nrestricted_filter = \"(membersOnly=TRUE)\""
        );
        let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, &more)).start();
        let postfix = super::postfix(&backstop);
        if source == "replica" {
            wait_for_addresses(&backstop, 3);
        }
        let table = [
            ("anna", UNKNOWN), // the filter leaves her out
            ("bob", OK),
            ("bob+news", OK),
            ("bob.alternate", UNKNOWN),
            ("late", SUSPENDED),
            ("late+news", SUSPENDED),
            ("club", RESTRICTED),
            ("nobody", UNKNOWN),
        ];
        decides(&mut super::session(&postfix), source, &table);
    }
}

fn slapd() -> Slapd {
    let slapd = Slapd::start();
    slapd.add(&person(
        "annauid",
        &[
            "objectClass: inetLocalMailRecipient",
            "mail: Anna@example.test",
            "mailAlternateAddress: anna.alternate@example.test",
            "mailLocalAddress: anna.local@example.test",
            "mailRoutingAddress: anna.routed@example.test",
        ],
    ));
    let bob = [
        "mail: bob@example.test",
        "mailAlternateAddress: bob.alternate@elsewhere.test",
        "accountStatus: active",
    ];
    slapd.add(&person("bob", &bob));
    slapd.add(&person("late", &["mail: late@example.test", "accountStatus: no mail access"]));
    slapd.add(&person("club", &["mail: club@example.test", "accountStatus: active", "membersOnly: TRUE"]));
    slapd.add(&format!(
        "dn: cn=team,ou=groups,{base}\nobjectClass: groupOfNames\nobjectClass: mailRecipient\ncn: team\n\
         member: uid=bob,ou=people,{base}\nmail: team@example.test\n\n\
         dn: cn=uniques,ou=groups,{base}\nobjectClass: groupOfUniqueNames\nobjectClass: mailRecipient\ncn: uniques\n\
         uniqueMember: uid=bob,ou=people,{base}\nmail: uniques@example.test\n\n\
         dn: cn=staff,ou=groups,{base}\nobjectClass: posixGroup\nobjectClass: mailRecipient\ncn: staff\ngidNumber: 100\n\
         mail: staff@example.test\n",
        base = Slapd::BASE
    ));
    slapd
}
