//! Every key that there is has a case, and the reference says of each what a reload makes of it.

use std::collections::BTreeSet;

use backstop_harness::TempDir;

use super::*;

/// What becomes of a changed key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It is in force for sessions that begin now.
    Applied,
    /// It is named, and nothing changes.
    Restart,
}
use Effect::{Applied, Restart};

/// A key, its new value, what becomes of it, and what else has to be set for it, before as well.
type Case = (&'static str, &'static str, Effect, &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    ("mode", "\"monitor\"", Applied, &[]),
    ("listen", "[\"inet:127.0.0.1:0\", \"inet:127.0.0.2:0\"]", Restart, &[]),
    ("domains.detect", "true", Applied, &[]),
    ("domains.names", "[\"example.test\", \"more.test\"]", Applied, &[]),
    ("domains.files", "[\"{dir}/domains\"]", Applied, &[]),
    ("recipients.delimiters", "\"-\"", Applied, &[]),
    ("recipients.exempt", "[\"help\"]", Applied, &[]),
    ("recipients.catch_all", "[\"all.test\"]", Applied, &[]),
    ("directory.staff.domains", "[\"staff.test\"]", Applied, &[]),
    ("directory.staff.on_unavailable", "\"continue\"", Applied, &[]),
    ("directory.staff.file.path", "\"{dir}/two\"", Applied, &[]),
    ("directory.staff.file.format", "\"virtual\"", Applied, &[]),
    ("directory.mirror.replica.refresh", "\"1h\"", Applied, &[]),
    ("directory.mirror.replica.max_shrink", "0.5", Applied, &[]),
    ("directory.corp.cache.positive", "\"1m\"", Applied, &[]),
    ("directory.corp.cache.negative", "\"1s\"", Applied, &[]),
    ("directory.corp.cache.stale", "\"1h\"", Applied, &[]),
    ("directory.corp.cache.entries", "7", Applied, &[]),
    ("directory.corp.ldap.urls", "[\"ldap://127.0.0.1:2\"]", Applied, &[]),
    ("directory.corp.ldap.base", "\"dc=other\"", Applied, &[]),
    ("directory.corp.ldap.schema", "\"active-directory\"", Applied, &[]),
    ("directory.corp.ldap.attributes", "[\"uid\"]", Applied, &[]),
    ("directory.corp.ldap.filter", "\"(a=b)\"", Applied, &[]),
    ("directory.corp.ldap.suspended_filter", "\"(a=b)\"", Applied, &[]),
    ("directory.corp.ldap.restricted_filter", "\"(a=b)\"", Applied, &[]),
    (
        "directory.corp.ldap.suspended_when",
        "[\"disabled\"]",
        Applied,
        &[("directory.corp.ldap.schema", "\"active-directory\"")],
    ),
    ("directory.corp.ldap.bind_dn", "\"cn=b\"", Applied, &[PASSWORD, BIND, PLAIN]),
    ("directory.corp.ldap.password_file", "\"{dir}/two\"", Applied, &[PASSWORD, BIND, PLAIN]),
    (
        "directory.corp.ldap.sasl",
        "\"external\"",
        Applied,
        &[("directory.corp.ldap.urls", "[\"ldapi://%2Fx\"]")],
    ),
    ("directory.corp.ldap.allow_plain", "true", Applied, &[PASSWORD, BIND, LDAPS]),
    ("directory.corp.ldap.start_tls", "true", Applied, &[]),
    ("directory.corp.ldap.ca_file", "\"{dir}/ca.pem\"", Applied, &[LDAPS]),
    ("directory.corp.ldap.cert_file", "\"{dir}/cert2.pem\"", Applied, &[LDAPS, CERT, KEY]),
    ("directory.corp.ldap.key_file", "\"{dir}/key2.pem\"", Applied, &[LDAPS, CERT, KEY]),
    ("directory.corp.ldap.verify_certificate", "false", Applied, &[LDAPS]),
    ("directory.corp.ldap.deadline", "\"1s\"", Applied, &[]),
    ("directory.corp.ldap.source", "\"replica\"", Applied, &[]),
    ("directory.mirror.ldap.feed", "\"paged\"", Applied, &[]),
    ("directory.corp.ldap.connections", "7", Applied, &[]),
    ("directory.mirror.ldap.page_size", "7", Applied, &[]),
    ("directory.corp.ldap.follow_referrals", "true", Applied, &[]),
    ("directory.shop.sql.url", "\"postgres://u@127.0.0.1:2/db\"", Applied, &[]),
    ("directory.shop.sql.password_file", "\"{dir}/one\"", Applied, &[]),
    ("directory.shop.sql.ca_file", "\"{dir}/ca.pem\"", Applied, &[]),
    ("directory.shop.sql.query", "\"select 2 where $1 = ''\"", Applied, &[]),
    ("directory.shop.sql.source", "\"replica\"", Applied, &[("directory.shop.sql.listing", "\"select 1\"")]),
    ("directory.shop.sql.listing", "\"select 1\"", Applied, &[]),
    ("directory.shop.sql.deadline", "\"1s\"", Applied, &[]),
    ("directory.shop.sql.connections", "7", Applied, &[]),
    ("directory.inside.smtp.host", "\"127.0.0.1:2\"", Applied, &[]),
    ("directory.inside.smtp.hosts", "{ \"inside.test\" = \"127.0.0.1:2\" }", Applied, &[]),
    ("directory.inside.smtp.transport_map", "\"{dir}/transport\"", Applied, &[]),
    ("directory.inside.smtp.control", "\"anna\"", Applied, &[]),
    ("directory.inside.smtp.absent_codes", "[\"5.4.1\"]", Applied, &[]),
    ("directory.inside.smtp.tls", "\"off\"", Applied, &[]),
    (
        "directory.inside.smtp.ca_file",
        "\"{dir}/ca.pem\"",
        Applied,
        &[("directory.inside.smtp.tls", "\"verify\"")],
    ),
    ("directory.inside.smtp.helo", "\"other.test\"", Applied, &[]),
    ("directory.inside.smtp.deadline", "\"1s\"", Applied, &[]),
    ("directory.inside.smtp.connections", "7", Applied, &[]),
    ("suspensions.files", "[\"{dir}/one\"]", Applied, &[]),
    ("client.trusted", "[\"192.0.2.0/24\"]", Applied, &[]),
    ("client.trusted_files", "[\"{dir}/networks\"]", Applied, &[]),
    ("client.denied", "[\"192.0.2.0/24\"]", Applied, &[]),
    ("client.denied_files", "[\"{dir}/networks\"]", Applied, &[]),
    ("client.dnswl", "[\"good.test\"]", Applied, &[]),
    ("client.resolver", "\"127.0.0.1:5\"", Applied, &[]),
    ("client.dynamic.enforce", "\"rcpt\"", Applied, &[]),
    ("client.dynamic.networks", "[\"{dir}/networks\"]", Applied, &[]),
    ("client.dynamic.dnsbl", "[\"bad.test\"]", Applied, &[]),
    ("client.dynamic.reverse_dns", "false", Applied, &[]),
    ("client.dynamic.patterns", "[\"pool.test\"]", Applied, &[]),
    ("client.dynamic.except", "[\"192.0.2.0/24\"]", Applied, &[]),
    ("client.dynamic.private", "true", Applied, &[]),
    ("client.dynamic.deadline", "\"1s\"", Applied, &[]),
    ("defence.harvest.enabled", "false", Applied, &[]),
    ("defence.harvest.unknown", "7", Applied, &[]),
    ("defence.harvest.ratio", "0.7", Applied, &[]),
    ("defence.harvest.window", "\"2h\"", Applied, &[]),
    ("defence.harvest.block", "\"2h\"", Applied, &[]),
    ("defence.harvest.distributed", "7", Applied, &[]),
    ("defence.harvest.except", "[\"192.0.2.0/24\"]", Applied, &[]),
    ("defence.harvest.private", "true", Applied, &[]),
    ("defence.tarpit.enabled", "true", Applied, &[]),
    ("defence.tarpit.first", "\"1s\"", Applied, &[TARPIT]),
    ("defence.tarpit.max", "\"3s\"", Applied, &[TARPIT]),
    ("defence.tarpit.window", "\"2h\"", Applied, &[TARPIT]),
    ("defence.tarpit.sleepers", "7", Applied, &[TARPIT]),
    ("defence.greylist.mode", "\"all\"", Applied, &[]),
    ("defence.greylist.delay", "\"1m\"", Applied, &[GREYLIST]),
    ("defence.greylist.window", "\"24h\"", Applied, &[GREYLIST]),
    ("defence.greylist.pass", "\"800h\"", Applied, &[GREYLIST]),
    ("defence.greylist.passes", "7", Applied, &[GREYLIST]),
    ("defence.traps.addresses", "[\"bait@example.test\"]", Applied, &[]),
    ("defence.traps.files", "[\"{dir}/one\"]", Applied, &[]),
    ("defence.bounces.unsolicited", "\"monitor\"", Applied, &[]),
    ("defence.bounces.remember", "\"300h\"", Applied, &[("defence.bounces.unsolicited", "\"monitor\"")]),
    ("limits.sessions", "7", Applied, &[]),
    ("limits.lookup", "\"2500ms\"", Applied, &[]),
    ("monitor.domains", "[\"example.test\"]", Applied, &[]),
    ("monitor.reasons", "[\"unknown-recipient\"]", Applied, &[]),
    ("replies.unknown-recipient.code", "\"550 5.1.10\"", Applied, &[]),
    ("replies.unknown-recipient.text", "\"Nobody\"", Applied, &[]),
    ("store.url", "\"embedded:{dir}/other\"", Restart, &[]),
    ("store.directory", "\"{dir}/other\"", Restart, &[]),
    ("store.password_file", "\"{dir}/one\"", Restart, &[]),
    ("store.ca_file", "\"{dir}/ca.pem\"", Restart, &[]),
    ("store.deadline", "\"1s\"", Restart, &[]),
    ("store.prefix", "\"other:\"", Restart, &[]),
    ("http.listen", "\"127.0.0.1:0\"", Restart, &[]),
    ("control.socket", "\"{dir}/other.sock\"", Restart, &[]),
    ("control.group", "\"8\"", Applied, &[]),
    ("control.mode", "\"0640\"", Applied, &[]),
    ("control.trust_socket", "\"{dir}/other.sock\"", Restart, &[]),
    ("control.trust_group", "\"8\"", Applied, &[]),
    ("log.level", "\"debug\"", Applied, &[]),
    // What a line looks like is told by tests/integration/reload.rs.
    ("log.format", "\"json\"", Applied, &[]),
];

const PASSWORD: (&str, &str) = ("directory.corp.ldap.password_file", "\"{dir}/one\"");
const BIND: (&str, &str) = ("directory.corp.ldap.bind_dn", "\"cn=a\"");
const PLAIN: (&str, &str) = ("directory.corp.ldap.allow_plain", "true");
const LDAPS: (&str, &str) = ("directory.corp.ldap.urls", "[\"ldaps://127.0.0.1:1\"]");
const CERT: (&str, &str) = ("directory.corp.ldap.cert_file", "\"{dir}/cert.pem\"");
const KEY: (&str, &str) = ("directory.corp.ldap.key_file", "\"{dir}/key.pem\"");
const TARPIT: (&str, &str) = ("defence.tarpit.enabled", "true");
const GREYLIST: (&str, &str) = ("defence.greylist.mode", "\"all\"");

/// A key that nobody thought of fails this test.
#[test]
fn every_key_is_among_the_cases() {
    let dir = TempDir::new("keys");
    let known = known_keys(&dir, "");
    let cased: BTreeSet<String> = CASES.iter().map(|(key, ..)| nameless(key)).collect();
    assert!(known.len() > 100, "{known:?}");
    assert_eq!(known, cased);
}

/// docs/configuration.md says of each key what becomes of it.
#[test]
fn the_reference_says_the_same() {
    let text = include_str!("../../../docs/configuration.md");
    let mut rows = 0;
    for (key, _, effect, _) in CASES {
        let last = key.rsplit('.').next().expect("a key has a name");
        let table = key.strip_suffix(last).unwrap_or_default().trim_end_matches('.');
        let section = section_of(text, table, key);
        let row = section.lines().find(|line| {
            let names = line.strip_prefix("| ").and_then(|line| line.split(" | ").next()).unwrap_or_default();
            names.split(", ").any(|name| {
                let name = name.trim_matches('`');
                name == last || name.contains('.') && key.ends_with(&format!(".{name}"))
            })
        });
        let row = row.unwrap_or_else(|| panic!("{key} is not in the reference"));
        let told = row.rsplit(" | ").next().unwrap_or_default();
        let word = if *effect == Applied { "reload" } else { "restart" };
        assert!(told.starts_with(word), "{key}: {told}");
        rows += 1;
    }
    assert_eq!(rows, CASES.len());
}

/// All keys below a table, from what the program says that it knows.
fn known_keys(dir: &TempDir, table: &str) -> BTreeSet<String> {
    let known = match table {
        "directory" => vec![NAME.to_owned()],
        "replies" => vec!["unknown-recipient".to_owned()],
        _ => known_here(dir, table),
    };
    let mut keys = BTreeSet::new();
    for name in known {
        let key = if table.is_empty() { name } else { format!("{table}.{name}") };
        let below = known_keys(dir, &key);
        if below.is_empty() {
            keys.insert(key)
        } else {
            keys.extend(below);
            true
        };
    }
    keys
}

/// What the program knows in a table; nothing where it is none.
fn known_here(dir: &TempDir, table: &str) -> Vec<String> {
    let header = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let path = dir.write("probe.toml", format!("{header}unheard_of = 1\n"));
    let told = load(Some(&path)).expect_err("there is no such key").to_string();
    let Some((_, known)) = told.split_once("unknown key `unheard_of`; known here: ") else {
        return Vec::new();
    };
    let known = known.lines().next().unwrap_or_default();
    known.split(", ").map(str::to_owned).collect()
}

/// The key with the same name in place of each that an admin chooses.
fn nameless(key: &str) -> String {
    match key.strip_prefix("directory.").and_then(|rest| rest.split_once('.')) {
        Some((_, rest)) => format!("directory.{NAME}.{rest}"),
        None => key.to_owned(),
    }
}

/// The part of the reference that has the table's rows.
fn section_of<'t>(text: &'t str, table: &str, key: &str) -> &'t str {
    let kinds = ["ldap", "sql", "smtp"];
    let heading = match table.split('.').collect::<Vec<_>>()[..] {
        [""] => "### Top level".to_owned(),
        ["directory", _, kind] if kinds.contains(&kind) => format!("### `[directory.NAME.{kind}]`"),
        ["directory", ..] => "### `[directory.NAME]`".to_owned(),
        ["replies", _] => "### `[replies.REASON]`".to_owned(),
        _ => format!("### `[{table}]`"),
    };
    let at = text.find(&heading).unwrap_or_else(|| panic!("{key}: no {heading}"));
    let rest = &text[at + heading.len()..];
    rest.split("\n### ").next().unwrap_or(rest)
}

const NAME: &str = "name";
