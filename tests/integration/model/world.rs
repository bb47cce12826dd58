//! A site that was made up: who exists, who is suspended, who may not write, and which directory is out of order.

use std::fmt::Write as _;

use backstop_harness::Random;

/// All of it, as the model sees it.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) local: Vec<&'static str>,
    pub(super) delimiters: &'static str,
    pub(super) exempt: Vec<&'static str>,
    pub(super) catch_all: Vec<&'static str>,
    pub(super) directories: Vec<Directory>,
    /// Addresses, and `@domain`.
    pub(super) suspended: Vec<String>,
    pub(super) traps: Vec<String>,
    pub(super) is_monitored: bool,
    /// Domains for whose recipients all is only watched.
    pub(super) monitored: Vec<&'static str>,
    /// Reasons that are only watched.
    pub(super) watched: Vec<&'static str>,
    pub(super) refuses_dynamic: bool,
    pub(super) greylists: bool,
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) domains: Vec<&'static str>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// Addresses, and `@domain`.
    File(Vec<String>),
    /// A database: addresses, whether they are suspended, and restricted.
    Table(Vec<(String, bool, bool)>),
    /// Nobody answers; whether the admin lets mail in meanwhile.
    Down { lets_in: bool },
}

/// Domains that may be local.
pub(super) const DOMAINS: [&str; 4] = ["a.test", "b.test", "sub.a.test", "xn--mnchen-3ya.test"];
/// Local parts that somebody may have.
pub(super) const PEOPLE: [&str; 8] = ["anna", "bob", "carl", "dora", "abuse", "bait", "o'neil", "eve-x"];

impl World {
    pub(super) fn new(random: &mut Random) -> Self {
        let mut local = random.some_of(&DOMAINS, 2);
        if local.is_empty() {
            local.push("a.test");
        }
        let address = |random: &mut Random| {
            let tag = if random.once_in(6) { random.one_of(&["+x", "+x+y", "-z"]) } else { "" };
            format!("{}{tag}@{}", random.one_of(&PEOPLE), random.one_of(&DOMAINS))
        };
        let list = |random: &mut Random, most: usize| -> Vec<String> {
            (0..random.below(most)).map(|_| address(random)).collect()
        };
        let mut directories = Vec::new();
        for _ in 0..random.below(4) {
            let mut domains = random.some_of(&local, 2);
            if domains.is_empty() {
                domains.push(local[0]);
            }
            let kind = match random.below(4) {
                0 => Kind::Down { lets_in: random.once_in(3) },
                1 => {
                    // The same address may be there twice: one yes is enough.
                    let mut rows = vec![("seed@a.test".to_owned(), false, false)];
                    for _ in 0..random.below(20) {
                        rows.push((address(random), random.once_in(4), random.once_in(4)));
                    }
                    Kind::Table(rows)
                }
                _ => {
                    let mut list = list(random, 30);
                    list.push("seed@a.test".to_owned());
                    list.extend(random.once_in(5).then(|| format!("@{}", random.one_of(&DOMAINS))));
                    list.extend(
                        random.once_in(5).then(|| format!("bob%far.test@{}", random.one_of(&DOMAINS))),
                    );
                    Kind::File(list)
                }
            };
            directories.push(Directory { domains, kind });
        }
        let mut suspended = list(random, 6);
        suspended.extend(random.once_in(5).then(|| format!("@{}", random.one_of(&DOMAINS))));
        let mut traps = if random.once_in(2) { list(random, 5) } else { Vec::new() };
        // Who must be reachable can't be one.
        traps.retain(|trap| !trap.starts_with("abuse"));
        let reasons = [
            "dynamic-client",
            "bounce-many",
            "bad-address",
            "relay-syntax",
            "suspended-recipient",
            "restricted-recipient",
            "unknown-recipient",
            "directory-unavailable",
            "greylisted",
        ];
        Self {
            delimiters: random.one_of(&["", "+", "+-"]),
            exempt: if random.once_in(3) { Vec::new() } else { vec!["abuse"] },
            catch_all: random.some_of(&local, 6),
            directories,
            suspended,
            traps,
            is_monitored: random.once_in(12),
            monitored: if random.once_in(4) { random.some_of(&local, 3) } else { Vec::new() },
            watched: if random.once_in(4) { random.some_of(&reasons, 3) } else { Vec::new() },
            refuses_dynamic: random.once_in(2),
            greylists: random.once_in(4),
            local,
        }
    }

    /// The same for Backstop: its configuration, and files for it by their names, which begin with `prefix`. `down` is a port at
    /// which nobody listens; databases are made of `.sql`, which are statements.
    pub(super) fn config(&self, prefix: &str, down: u16) -> (String, Vec<(String, String)>) {
        let (mut config, mut files) = (String::new(), Vec::new());
        let Self { local, delimiters, exempt, catch_all, .. } = self;
        let mode = if self.is_monitored { "monitor" } else { "enforce" };
        let dynamic = if self.refuses_dynamic { "rcpt" } else { "off" };
        let greylist = if self.greylists { "all" } else { "off" };
        let Self { monitored, watched, traps, .. } = self;
        write!(
            config,
            r#"
mode = "{mode}"
[domains]
detect = false
names = {local:?}
[recipients]
delimiters = "{delimiters}"
exempt = {exempt:?}
catch_all = {catch_all:?}
[suspensions]
files = ["{{dir}}/{prefix}suspended"]
[client]
trusted = ["192.0.2.0/24"]
denied = ["203.0.113.0/24"]
[client.dynamic]
enforce = "{dynamic}"
networks = ["{{dir}}/{prefix}dynamic"]
reverse_dns = false
[defence.harvest]
enabled = false
[defence.greylist]
mode = "{greylist}"
[defence.traps]
addresses = {traps:?}
[monitor]
domains = {monitored:?}
reasons = {watched:?}
"#
        )
        .expect("a string takes everything");
        files.push((format!("{prefix}suspended"), self.suspended.join("\n")));
        files.push((format!("{prefix}dynamic"), "198.18.0.0/16\n".to_owned()));
        for (number, Directory { domains, kind }) in self.directories.iter().enumerate() {
            let (source, on_unavailable) = match kind {
                Kind::File(list) => {
                    files.push((format!("{prefix}list{number}"), list.join("\n")));
                    (format!("file]\npath = \"{{dir}}/{prefix}list{number}\""), "defer")
                }
                Kind::Table(rows) => {
                    let rows: Vec<_> = rows
                        .iter()
                        .map(|(address, suspended, restricted)| {
                            format!("('{}', {suspended}, {restricted})", address.replace('\'', "''"))
                        })
                        .collect();
                    let rows = rows.join(", ");
                    files.push((
                        format!("{prefix}table{number}.sql"),
                        format!("create table m (address text, suspended bool, restricted bool); insert into m values {rows};"),
                    ));
                    let select = "select address, suspended, restricted from m";
                    (
                        format!(
                            "sql]\nurl = \"sqlite:{{dir}}/{prefix}table{number}\"\nquery = \"{select} where address = ?1\"\n\
                             listing = \"{select}\""
                        ),
                        "defer",
                    )
                }
                Kind::Down { lets_in } => (
                    format!(
                        "ldap]\nurls = [\"ldap://127.0.0.1:{down}\"]\nbase = \"dc=test\"\nsource = \"live\""
                    ),
                    if *lets_in { "continue" } else { "defer" },
                ),
            };
            writeln!(
                config,
                "[directory.d{number}]\ndomains = {domains:?}\non_unavailable = \"{on_unavailable}\"\n[directory.d{number}.{source}"
            )
            .expect("a string takes everything");
        }
        (config, files)
    }
}
