//! The same attributes in an OpenLDAP: a copy of an Active Directory, as some sites have one for their mail relay.

use backstop_harness::Slapd;

use super::{OK, RESTRICTED, SUSPENDED, UNKNOWN, decides, wait_for_addresses};

#[test]
fn a_copy_of_an_active_directory() {
    let slapd = Slapd::start();
    for (class, name, lines) in ENTRIES {
        let entry = format!("dn: cn={name},ou=people,{}\nobjectClass: {class}\ncn: {name}\n", Slapd::BASE);
        slapd.add(&format!("{entry}{}\n", lines.join("\n")));
    }
    for (source, suspended_when, disabled) in
        [("live", "", OK), ("live", "\"disabled\"", SUSPENDED), ("replica", "\"disabled\"", SUSPENDED)]
    {
        let more = format!(
            "schema = \"active-directory\"\nsource = {source:?}\nsuspended_when = [{suspended_when}]"
        );
        let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, &more)).start();
        let postfix = super::postfix(&backstop);
        if source == "replica" {
            wait_for_addresses(&backstop, 8);
        }
        let table = [
            ("anna", OK),
            ("a.smith", OK),
            ("x500", UNKNOWN),
            ("nobody", UNKNOWN),
            ("gone", disabled),
            ("shared", OK),
            ("board", RESTRICTED),
            ("everyone", OK),
            ("ideas", OK),
        ];
        let mut smtp = super::session(&postfix);
        decides(&mut smtp, &format!("{source} [{suspended_when}]"), &table);
        // Beyond ASCII (RFC 6531); the copy that the directory has is in another normal form and case.
        for (local, code) in
            [("j\u{f6}rg", 250), ("J\u{d6}RG", 250), ("jo\u{308}rg", 250), ("j\u{f6}rn", 550)]
        {
            smtp.mail("<sender@elsewhere.test> SMTPUTF8");
            assert_eq!(smtp.rcpt(&format!("<{local}@example.test>")).code, code, "{}", smtp.transcript());
            smtp.rset();
        }
    }
}

const ENTRIES: [(&str, &str, &[&str]); 7] = [
    ("contact", "joerg", &["proxyAddresses: smtp:Jo\u{308}rg@example.test"]),
    (
        "user",
        "anna",
        &[
            "proxyAddresses: SMTP:Anna@example.test",
            "proxyAddresses: smtp:a.smith@example.test",
            "proxyAddresses: X500:x500@example.test",
        ],
    ),
    ("user", "gone", &["proxyAddresses: SMTP:gone@example.test", "userAccountControl: 514"]),
    (
        "user",
        "shared",
        &[
            "proxyAddresses: SMTP:shared@example.test",
            "userAccountControl: 514",
            "msExchRecipientTypeDetails: 4",
        ],
    ),
    ("group", "board", &["proxyAddresses: SMTP:board@example.test", "msExchRequireAuthToSendTo: TRUE"]),
    ("msExchDynamicDistributionList", "everyone", &["proxyAddresses: SMTP:everyone@example.test"]),
    ("publicFolder", "ideas", &["proxyAddresses: SMTP:ideas@example.test"]),
];
