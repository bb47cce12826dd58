//! The site that most tests play: its domains, users and suspensions.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use backstop_harness::{Backstop, BackstopBuilder, Smtp};

use crate::BACKSTOP;

/// Backstop for `example.test` (known users), `suspended.test` (a customer who has not paid), `catchall.test` and
/// others, all of which the MTA in front takes without knowing their users. The MTAs' own names are local as well: they
/// complete an address without a domain with it.
pub(crate) fn backstop() -> BackstopBuilder {
    Backstop::builder(BACKSTOP)
        .file("addresses", ADDRESSES)
        .file("virtual", VIRTUAL)
        .file("suspended", SUSPENDED)
        .config(CONFIG)
}

/// The local domains.
pub(crate) const DOMAINS: [&str; 7] = [
    "example.test",
    "suspended.test",
    "catchall.test",
    "virtual.test",
    "xn--mnchen-3ya.test",
    "mx.example.test",
    "mx2.example.test",
];

const CONFIG: &str = r#"
[domains]
detect = false
names = [
  "example.test", "suspended.test", "catchall.test", "virtual.test", "xn--mnchen-3ya.test",
  "mx.example.test", "mx2.example.test",
]

[recipients]
delimiters = "+"
catch_all = ["catchall.test"]

[directory.people.file]
path = "{dir}/addresses"
format = "addresses"

[directory.people]
domains = [
  "example.test", "suspended.test", "catchall.test", "xn--mnchen-3ya.test",
  "mx.example.test", "mx2.example.test",
]

[directory.aliases.file]
path = "{dir}/virtual"
format = "virtual"

[directory.aliases]
domains = ["virtual.test"]

[suspensions]
files = ["{dir}/suspended"]

[client]
trusted = ["127.0.0.1", "192.0.2.0/24"]
"#;

/// How many addresses the directory `people` has.
pub(crate) fn people() -> u32 {
    let lines = ADDRESSES.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    u32::try_from(lines.count()).expect("a few")
}

const ADDRESSES: &str = r#"# the users
anna@example.test
bob@example.test
unpaid@example.test
"john doe"@example.test
o%neil@example.test
jörg@example.test
anna@suspended.test
unpaid@catchall.test
anna@xn--mnchen-3ya.test
anna@mx.example.test
anna@mx2.example.test
unpaid+own@example.test
"#;

const VIRTUAL: &str = "\
anna@virtual.test   anna@example.test
late@virtual.test   unpaid@example.test
@virtual.test       unpaid@example.test
";

const SUSPENDED: &str = "\
unpaid@example.test
unpaid@mx.example.test
unpaid@mx2.example.test
@suspended.test
unpaid@catchall.test
";

/// Over SMTP: who does not exist is refused, and who exists is not.
pub(crate) fn decides(mta: SocketAddr) {
    let mut smtp = Smtp::connect_from(Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, 9))), mta);
    smtp.ehlo("mail.elsewhere.test");
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt("<nobody@example.test>").code, 550, "{}", smtp.transcript());
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 250, "{}", smtp.transcript());
}
