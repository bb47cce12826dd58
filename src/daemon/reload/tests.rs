//! Every key that there is, changed one by one: it is in force after a reload, or it is named.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt};

use backstop_harness::{Authority, TempDir};

use super::*;
use crate::{control::Control, directory::Source};

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
    ("directory.corp.ldap.password_file", "\"{dir}/word\"", Applied, &[PASSWORD, BIND, PLAIN]),
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
    ("store.password_file", "\"{dir}/one\"", Restart, &[REDIS]),
    ("store.ca_file", "\"{dir}/ca.pem\"", Restart, &[REDIS]),
    ("store.deadline", "\"1s\"", Restart, &[]),
    ("store.prefix", "\"other:\"", Restart, &[]),
    ("http.listen", "\"127.0.0.1:0\"", Restart, &[]),
    ("http.token_file", "\"{dir}/word\"", Applied, &[]),
    ("http.names", "[\"mx.test\"]", Applied, &[]),
    ("http.addresses", "\"plain\"", Applied, &[]),
    ("control.socket", "\"{dir}/other.sock\"", Restart, &[]),
    ("control.group", "\"8\"", Applied, &[]),
    ("control.mode", "\"0640\"", Applied, &[]),
    ("control.trust_socket", "\"{dir}/other.sock\"", Restart, &[]),
    ("control.trust_group", "\"8\"", Applied, &[]),
    ("log.level", "\"debug\"", Applied, &[]),
    // What a line looks like is told by tests/integration/reload.rs.
    ("log.format", "\"json\"", Applied, &[]),
    ("log.addresses", "\"masked\"", Applied, &[]),
    ("log.hash_key_file", "\"{dir}/one\"", Applied, &[("log.addresses", "\"hashed\"")]),
    ("log.refusals_per_second", "7", Applied, &[]),
];

const PASSWORD: (&str, &str) = ("directory.corp.ldap.password_file", "\"{dir}/one\"");
const BIND: (&str, &str) = ("directory.corp.ldap.bind_dn", "\"cn=a\"");
const PLAIN: (&str, &str) = ("directory.corp.ldap.allow_plain", "true");
const LDAPS: (&str, &str) = ("directory.corp.ldap.urls", "[\"ldaps://127.0.0.1:1\"]");
const CERT: (&str, &str) = ("directory.corp.ldap.cert_file", "\"{dir}/cert.pem\"");
const KEY: (&str, &str) = ("directory.corp.ldap.key_file", "\"{dir}/key.pem\"");
const REDIS: (&str, &str) = ("store.url", "\"rediss://127.0.0.1:1\"");
const TARPIT: (&str, &str) = ("defence.tarpit.enabled", "true");
const GREYLIST: (&str, &str) = ("defence.greylist.mode", "\"all\"");

const BASE: &str = r#"
listen = ["inet:127.0.0.1:0"]
[domains]
detect = false
names = ["example.test"]
[directory.staff]
[directory.staff.file]
path = "{dir}/one"
[directory.corp]
domains = ["corp.test"]
[directory.corp.ldap]
urls = ["ldap://127.0.0.1:1"]
base = "dc=corp"
source = "live"
[directory.mirror]
domains = ["mirror.test"]
[directory.mirror.ldap]
urls = ["ldap://127.0.0.1:1"]
base = "dc=mirror"
[directory.shop]
domains = ["shop.test"]
[directory.shop.sql]
url = "postgres://u@127.0.0.1:1/db"
query = "select 1 where $1 = ''"
[directory.inside]
domains = ["inside.test"]
[directory.inside.smtp]
host = "127.0.0.1:1"
helo = "mx.test"
[replies.unknown-recipient]
[store]
url = "embedded:{dir}/store"
[http]
listen = ""
[control]
socket = "{dir}/control.sock"
trust_socket = "{dir}/trust.sock"
"#;

/// A key that nobody thought of fails this test.
#[test]
fn every_key_is_among_the_cases() {
    let dir = TempDir::new("keys");
    let known = known_keys(&dir, "");
    let cased: BTreeSet<String> = CASES.iter().map(|(key, ..)| nameless(key)).collect();
    assert!(known.len() > 100, "{known:?}");
    assert_eq!(known, cased);
    for (key, _, effect, _) in CASES {
        assert_eq!(config::needs_restart(key), *effect == Restart, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_changed_key_is_in_force_or_named() {
    let dir = TempDir::new("reload");
    for (name, content) in [
        ("one", "anna@example.test\n"),
        ("two", "anna@example.test\nbob@example.test\n"),
        ("word", "another\n"),
        ("domains", "file.test\n"),
        ("networks", "198.51.100.0/24\n"),
        ("transport", "inside.test smtp:[127.0.0.1]:2\n"),
    ] {
        dir.write_backdated(name, content);
    }
    let authority = Authority::new();
    dir.write("ca.pem", fs::read(authority.file()).unwrap());
    let made = authority.certify("made.pem", "DNS:client.test");
    // The same under another name, as a key and its certificate have to fit.
    for (cert, key) in [("cert.pem", "key.pem"), ("cert2.pem", "key2.pem")] {
        dir.write(cert, fs::read(&made.file).unwrap());
        dir.write(key, fs::read(&made.key).unwrap());
    }
    let write = |settings: &[(&str, &str)]| dir.write("backstop.toml", with(&dir, settings));
    let path = write(&[]);
    let loaded = load(Some(&path)).unwrap();
    let log = Log::start(&loaded.config.log, dir.path()).unwrap();
    let parts = Parts::build(&loaded.config, loaded.config.limits.sessions).await.unwrap();
    let control = Control::bind(&dir.join("control.sock"), 0o600, "").await.unwrap();
    let trust = Control::bind_trust(&dir.join("trust.sock"), "").await.unwrap();
    let doors = Doors { control: Some(control.door()), trust: Some(trust.door()) };
    let reloader = Reloader::new(Some(path), loaded, parts, log, doors);
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (key, value, effect, given) in CASES {
        write(given);
        let reloaded = reloader.reload(true).await;
        assert_eq!(reloaded.refused, None, "{key}");
        let mut named = reloaded.needs_restart;
        let before = in_force(&reloader, &dir);
        // What differs from one reload to the next, whatever the configuration, would hide what a key does.
        if seen.insert(given) {
            assert_eq!(reloader.reload(true).await.refused, None, "{key}");
            let again = in_force(&reloader, &dir);
            assert!(before == again, "{key}: nothing was changed: {:#?}", difference(&before, &again));
        }
        let mut changed: Vec<_> = given.iter().copied().filter(|(given, _)| given != key).collect();
        changed.push((key, value));
        write(&changed);
        let reloaded = reloader.reload(true).await;
        let after = in_force(&reloader, &dir);
        if let Some(why) = reloaded.refused {
            wrong.push(format!("{key}: refused: {why}"));
            continue;
        }
        if *effect == Restart {
            named.push((*key).to_owned());
            named.sort_unstable();
        }
        if reloaded.needs_restart != named {
            wrong.push(format!("{key}: {:?} need a restart", reloaded.needs_restart));
        }
        // What a line of the log looks like does not show here.
        let is_changed = before != after || *key == "log.format";
        if is_changed != (*effect == Applied) {
            wrong.push(format!("{key}: changed: {is_changed}: {:#?}", difference(&before, &after)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// All that sessions and commands go by, in an order that does not depend on chance.
fn in_force(reloader: &Reloader, dir: &TempDir) -> Vec<String> {
    let Parts { server, live, access, .. } = &*reloader.parts;
    let all = format!("{server:?} {live:?} {:?}", access.load());
    let parts = all.split(['{', '}', '(', ')', '[', ']', ',']).map(str::trim);
    // Bare numbers: how often detection ran.
    let parts = parts.filter(|part| !part.is_empty() && part.parse::<u64>().is_err());
    let mut lines: Vec<String> = parts.map(str::to_owned).collect();
    // Of what is asked over the network: unchanged it is the same as before, else it is opened anew.
    lines.extend(server.snapshot().directories.configured().map(|directory| match &directory.source {
        Source::Remote(remote) => format!("{} {:p}", directory.name, Arc::as_ptr(remote)),
        Source::Replica(replica) => format!("{} {:p}", directory.name, Arc::as_ptr(replica)),
        _ => directory.name.to_string(),
    }));
    for socket in ["control.sock", "trust.sock"] {
        let found = fs::metadata(dir.join(socket)).unwrap();
        lines.push(format!("{socket} {:o} {}", found.mode(), found.gid()));
    }
    lines.push(format!("address {}", log::shown(b"<anna@example.test>")));
    lines.push(format!("debug {}", tracing::enabled!(target: "backstop::test", tracing::Level::DEBUG)));
    lines.sort_unstable();
    lines
}

/// Some lines that only one of them has.
fn difference<'l>(before: &'l [String], after: &'l [String]) -> Vec<&'l String> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), after.iter().collect());
    before.symmetric_difference(&after).take(10).copied().collect()
}

fn with(dir: &TempDir, settings: &[(&str, &str)]) -> String {
    let here = dir.path().display().to_string();
    let mut document: toml_edit::DocumentMut = BASE.parse().unwrap();
    for (key, value) in settings {
        let value: toml_edit::Value = value.parse().unwrap();
        let mut table = document.as_table_mut() as &mut dyn toml_edit::TableLike;
        let (tables, last) = key.rsplit_once('.').unwrap_or(("", key));
        for name in tables.split('.').filter(|name| !name.is_empty()) {
            table = table.entry(name).or_insert(toml_edit::table()).as_table_like_mut().unwrap();
        }
        table.insert(last, toml_edit::value(value));
    }
    document.to_string().replace("{dir}", &here)
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

const NAME: &str = "name";
