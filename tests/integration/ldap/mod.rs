//! Directories on LDAP servers, behind a real Postfix: OpenLDAP, and Active Directory by Samba.

mod active_directory;
mod binds;
mod certificates;
mod changes;
mod errors;
mod exchange;
mod failover;
mod hang;
mod idle;
mod inet_org_person;
mod injection;
mod many;
mod merging;
mod outage;
mod referrals;
mod replayed;
mod restart;
mod shrink;

use std::time::Duration;

use backstop_harness::{Backstop, BackstopBuilder, Postfix, SambaAd, Slapd, Smtp, wait_until};

use crate::BACKSTOP;

/// Backstop with the directory `corp` in charge of `example.test`, and `[directory.corp.ldap]` as given; other tables may
/// follow in `ldap`.
fn backstop(ldap: &str) -> BackstopBuilder {
    let config = CONFIG.replace("{ldap}", ldap);
    Backstop::builder(BACKSTOP).config(&config)
}

/// `[directory.corp.ldap]` for the reader of a slapd at `urls`.
pub(crate) fn reader(urls: &[String], slapd: &Slapd, more: &str) -> String {
    format!(
        "urls = {urls:?}\nbase = {:?}\nbind_dn = {:?}\npassword_file = {:?}\nca_file = {:?}\nallow_plain = true\n{more}",
        Slapd::BASE,
        Slapd::READER,
        slapd.password_file(),
        slapd.ca()
    )
}

/// `[directory.corp.ldap]` for `user` of an Active Directory.
fn active_directory(samba: &SambaAd, user: &str, more: &str) -> String {
    format!(
        "urls = [{:?}]\nbase = {:?}\nschema = \"active-directory\"\nbind_dn = {user:?}\npassword_file = {:?}\n\
         ca_file = {:?}\n{more}",
        samba.ldaps_url(),
        SambaAd::BASE,
        samba.password_file(),
        samba.ca()
    )
}

/// A Postfix that asks it, and relays for `example.test` and `other.test` without knowing their users.
fn postfix(backstop: &Backstop) -> Postfix {
    let relayed = "relay_domains = example.test, other.test";
    Postfix::builder().milter(&backstop.for_postfix()).main(relayed).start()
}

/// A session with Postfix after `EHLO`, from a client whom nobody trusts.
fn session(postfix: &Postfix) -> Smtp {
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("client.elsewhere.test");
    smtp
}

/// What is said to this recipient in a transaction of its own: `250`, or the code and the reason, `550
/// unknown-recipient`.
#[track_caller]
fn decision(smtp: &mut Smtp, recipient: &str) -> String {
    assert_eq!(smtp.mail("<sender@elsewhere.test>").code, 250, "{}", smtp.transcript());
    let reply = smtp.rcpt(recipient);
    assert_eq!(smtp.rset().code, 250, "{}", smtp.transcript());
    let told =
        ["127.", "ldap", "dc=", "corp", "slapd", "samba"].iter().find(|inside| reply.text.contains(**inside));
    assert_eq!(told, None, "what is inside is nobody's business: {reply}");
    match reply.text.rsplit_once('[').and_then(|(_, reason)| reason.strip_suffix(']')) {
        Some(reason) if !reply.ok() => format!("{} {reason}", reply.code),
        _ => reply.code.to_string(),
    }
}

/// Every recipient (a local part in `example.test`, as written) gets its decision; all that is wrong is told at once.
#[track_caller]
fn decides(smtp: &mut Smtp, what: &str, table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(local, expected)| {
            let said = decision(smtp, &format!("<{local}@example.test>"));
            (said != *expected).then(|| format!("{local}: {said}, not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

/// Waits until the replica has this many addresses, or more.
#[track_caller]
fn wait_for_addresses(backstop: &Backstop, count: u32) {
    wait_until(Duration::from_secs(20), &format!("a replica of {count} addresses"), || {
        addresses(backstop) >= f64::from(count)
    });
}

/// How many addresses the replica has.
fn addresses(backstop: &Backstop) -> f64 {
    backstop.metric("backstop_directory_addresses", &[("directory", "corp")])
}

/// An entry of `ou=people` in slapd: an `inetOrgPerson` with that name as uid, and these lines.
pub(crate) fn person(name: &str, lines: &[&str]) -> String {
    format!(
        "dn: uid={name},ou=people,{base}\nobjectClass: inetOrgPerson\nobjectClass: mailRecipient\nuid: {name}\n\
         cn: {name}\nsn: {name}\n{lines}\n\n",
        base = Slapd::BASE,
        lines = lines.join("\n")
    )
}

const CONFIG: &str = r#"
[domains]
detect = false
names = ["example.test"]

[client]
trusted = ["192.0.2.1"]

[store]
url = "embedded:{dir}/store"

[directory.corp]
domains = ["example.test"]
[directory.corp.ldap]
{ldap}
"#;

const OK: &str = "250";
const UNKNOWN: &str = "550 unknown-recipient";
const SUSPENDED: &str = "550 suspended-recipient";
const RESTRICTED: &str = "550 restricted-recipient";
const UNAVAILABLE: &str = "451 directory-unavailable";
