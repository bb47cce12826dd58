//! Active Directory with Exchange: each kind of object gets its right reply, alive and as a replica. (Samba has the real
//! schema; what only Exchange adds is added to it.)

use backstop_harness::SambaAd;

use super::{OK, RESTRICTED, SUSPENDED, UNKNOWN, decides, wait_for_addresses};

#[test]
fn every_kind_of_recipient() {
    let samba = SambaAd::start();
    samba.add(&recipients());
    for (source, suspended_when) in [
        ("live", ""),
        ("live", "\"disabled\", \"expired\""),
        ("replica", ""),
        ("replica", "\"expired\", \"disabled\""),
    ] {
        let more = format!("source = {source:?}\nsuspended_when = [{suspended_when}]");
        let backstop = super::backstop(&super::active_directory(&samba, SambaAd::SERVICE, &more)).start();
        let postfix = super::postfix(&backstop);
        if source == "replica" {
            wait_for_addresses(&backstop, ADDRESSES);
        }
        let what = format!("{source}, suspended_when = [{suspended_when}]");
        let mut smtp = super::session(&postfix);
        decides(&mut smtp, &what, &ALWAYS);
        let (disabled, expired) = if suspended_when.is_empty() { (OK, OK) } else { (SUSPENDED, SUSPENDED) };
        decides(&mut smtp, &what, &DISABLED.map(|local| (local, disabled)));
        decides(&mut smtp, &what, &EXPIRED.map(|local| (local, expired)));
    }
    // Only who asks for it gets mail at the name that people log on with.
    let more = "source = \"live\"\nattributes = [\"proxyAddresses\", \"mail\", \"userPrincipalName\"]";
    let backstop = super::backstop(&super::active_directory(&samba, SambaAd::SERVICE, more)).start();
    let postfix = super::postfix(&backstop);
    let table = [("upn.anna", OK), ("anna", OK), ("mail.only", OK), ("x400", UNKNOWN), ("nobody", UNKNOWN)];
    decides(&mut super::session(&postfix), "with userPrincipalName", &table);
}

/// What does not depend on `suspended_when`.
const ALWAYS: [(&str, &str); 32] = [
    // primary and further addresses, whatever the case of prefix and address (facts of Exchange: `SMTP:` is the primary)
    ("anna", OK),
    ("ANNA", OK),
    ("a.smith", OK),
    ("A.Smith+news", OK),
    ("anna.s", OK),
    // what is no mail address: other prefixes, names
    ("x400", UNKNOWN),
    ("x500", UNKNOWN),
    ("sip", UNKNOWN),
    ("eum", UNKNOWN),
    ("\"SMTP:anna\"", UNKNOWN),
    ("\"smtp:a.smith\"", UNKNOWN),
    ("upn.anna", UNKNOWN),
    ("annasam", UNKNOWN),
    ("mail.only", OK),
    ("nobody", UNKNOWN),
    // other kinds of objects
    ("sales", OK),
    ("sales.alias", OK),
    ("everyone", OK),
    ("partner", OK),
    ("ideas", OK),
    ("hidden", OK),
    ("members", RESTRICTED),
    // accounts that are always disabled, or expire never
    ("shared", OK),
    ("room", OK),
    ("equipment", OK),
    ("linked", OK),
    ("remote.room", OK),
    ("remote.equipment", OK),
    ("remote.shared", OK),
    ("expires.zero", OK),
    ("expires.max", OK),
    ("expires.future", OK),
];

const DISABLED: [&str; 3] = ["disabled", "disabled.alias", "disabled.mailbox"];
const EXPIRED: [&str; 1] = ["expired"];

/// In `example.test`: those of the tables that exist, each once, and `remote.user`.
const ADDRESSES: u32 = 26;

fn recipients() -> String {
    let mut ldif = String::new();
    let mut add = |class: &str, name: &str, lines: &[&str]| {
        ldif.push_str(&format!("dn: CN={name},{}\nobjectClass: {class}\n", SambaAd::STAFF));
        if class == "user" {
            ldif.push_str(&format!("sAMAccountName: {name}\n"));
        }
        for line in lines {
            ldif.push_str(line);
            ldif.push('\n');
        }
        ldif.push('\n');
    };
    add(
        "user",
        "annasam",
        &[
            "userAccountControl: 544",
            "userPrincipalName: upn.anna@example.test",
            "mail: Anna@Example.Test",
            "proxyAddresses: SMTP:Anna@Example.Test",
            "proxyAddresses: smtp:a.smith@example.test",
            "proxyAddresses: SmTp:anna.s@example.test",
            "proxyAddresses: X400:x400@example.test",
            "proxyAddresses: x500:x500@example.test",
            "proxyAddresses: SIP:sip@example.test",
            "proxyAddresses: eum:eum@example.test",
            "msExchRecipientTypeDetails: 1",
        ],
    );
    add("user", "mailonly", &["userAccountControl: 544", "mail: mail.only@example.test"]);
    add(
        "user",
        "hidden",
        &["userAccountControl: 544", "mail: hidden@example.test", "msExchHideFromAddressLists: TRUE"],
    );
    add(
        "group",
        "sales",
        &[
            "groupType: 8",
            "sAMAccountName: sales",
            "mail: sales@example.test",
            "proxyAddresses: SMTP:sales@example.test",
            "proxyAddresses: smtp:sales.alias@example.test",
        ],
    );
    add(
        "group",
        "members",
        &[
            "groupType: 8",
            "sAMAccountName: members",
            "proxyAddresses: SMTP:members@example.test",
            "msExchRequireAuthToSendTo: TRUE",
        ],
    );
    add("msExchDynamicDistributionList", "everyone", &["proxyAddresses: SMTP:everyone@example.test"]);
    add(
        "contact",
        "partner",
        &[
            "mail: partner@elsewhere.test",
            "targetAddress: SMTP:partner@elsewhere.test",
            "proxyAddresses: SMTP:partner@elsewhere.test",
            "proxyAddresses: smtp:partner@example.test",
        ],
    );
    add("publicFolder", "ideas", &["mail: ideas@example.test", "proxyAddresses: SMTP:ideas@example.test"]);
    let mut user = |name: &str, control: u32, lines: &[String]| {
        let mut all = vec![
            format!("userAccountControl: {control}"),
            format!("mail: {name}@example.test"),
            format!("proxyAddresses: SMTP:{name}@example.test"),
        ];
        all.extend_from_slice(lines);
        add("user", &name.replace('.', ""), &all.iter().map(String::as_str).collect::<Vec<_>>());
    };
    user("disabled", 546, &["proxyAddresses: smtp:disabled.alias@example.test".to_owned()]);
    for (name, details) in [
        ("disabled.mailbox", 1_u64),
        ("linked", 2),
        ("shared", 4),
        ("room", 16),
        ("equipment", 32),
        ("remote.user", 2_147_483_648),
        ("remote.room", 8_589_934_592),
        ("remote.equipment", 17_179_869_184),
        ("remote.shared", 34_359_738_368),
    ] {
        user(name, 546, &[format!("msExchRecipientTypeDetails: {details}")]);
    }
    for (name, expires) in [
        ("expired", 132_000_000_000_000_000_u64), // in 2019: counted in 100 ns since 1601
        ("expires.zero", 0),
        ("expires.max", i64::MAX as u64),
        ("expires.future", 200_000_000_000_000_000), // in 2234
    ] {
        user(name, 544, &[format!("accountExpires: {expires}")]);
    }
    ldif
}
