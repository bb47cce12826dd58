//! What was found: plain values, made by the parts that look and read by everyone else.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

/// Everything that was found on this host.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Findings {
    /// The MTAs, one for each configuration (Postfix may have several).
    pub mtas: Vec<Mta>,
    /// The domains; one name can be here more than once, from several MTAs: then all entries count.
    pub domains: Vec<FoundDomain>,
    /// Where recipients can be listed or asked for; [`FoundDomain::sources`] points in here.
    pub sources: Vec<Source>,
    /// Clients that the MTA trusts.
    pub networks: Vec<Found<IpNet>>,
    /// The characters that begin a sub-address, as a set. Empty: the MTA knows none.
    pub delimiters: String,
    /// Local parts of the MTA's own probes, e.g. `double-bounce`: in no table, and never to be refused.
    pub probes: Vec<String>,
    /// Who asks which milters, and what it does when they are away.
    pub milters: Vec<MilterUse>,
    /// Why senders may leave this host under another name than they wrote with: settings that rewrite them, and what could
    /// not be found out.
    pub rewrites: Vec<String>,
    /// Configuration that the admin may want to fill in.
    pub hints: Vec<Hint>,
    /// What else an admin should know: programs that failed, several MTAs, a stale index.
    pub notes: Vec<String>,
    /// Every file whose change makes these findings stale. Some may not exist (yet).
    pub watch: Vec<PathBuf>,
    /// Some of `networks` could not be read: there may be more.
    #[serde(skip)]
    pub lacks_networks: bool,
}

/// One MTA's configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mta {
    /// Postfix.
    Postfix {
        /// `mail_version`
        version: String,
        /// `config_directory`
        config_directory: PathBuf,
    },
    /// Sendmail.
    Sendmail {
        /// As `sendmail -d0.1` prints it; `None` if the program would not run.
        version: Option<String>,
        /// sendmail.cf
        cf: PathBuf,
    },
}

impl Mta {
    /// The file or directory of its settings.
    #[must_use]
    pub fn place(&self) -> &Path {
        match self {
            Self::Postfix { config_directory, .. } => config_directory,
            Self::Sendmail { cf, .. } => cf,
        }
    }
}

/// A domain whose recipients the MTA answers for.
#[derive(Debug, Clone, serde::Serialize)]
pub struct FoundDomain {
    /// The MTA that has it: an index into [`Findings::mtas`].
    pub mta: usize,
    /// Its name.
    pub pattern: Pattern,
    /// What the MTA does with its mail.
    pub class: Class,
    /// Where it was found.
    pub evidence: Evidence,
    /// Where its recipients are.
    pub sources: Vec<SourceId>,
    /// Whether entries without a domain (`joe`) count for it, as for the MTA's own domains.
    pub bare: bool,
    /// Why its recipients are not all known. Empty: every source the MTA consults can be seen whole.
    pub partial: Vec<Partial>,
    /// The unix socket that the MTA hands its mail to, over LMTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lmtp: Option<PathBuf>,
}

/// Which names a found domain covers. Lower case, A-labels, no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// This name.
    Name(String),
    /// Every name below this one, but not itself.
    Below(String),
}

/// What the MTA does with a domain's mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Postfix `mydestination`, Sendmail `$=w`: system users and aliases.
    Local,
    /// Postfix `virtual_alias_domains`, Sendmail `{VirtHost}`: only aliases to other addresses.
    VirtualAlias,
    /// Postfix `virtual_mailbox_domains`: mailboxes that are no system users.
    VirtualMailbox,
    /// Postfix `relay_domains`, Sendmail `$=R`: handed to another server.
    Relay,
}

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Evidence {
    /// The parameter, class or file: `mydestination`, `$=w`.
    pub what: String,
    /// Its value.
    pub value: String,
    /// The file that says so, if known, and its line.
    pub place: Option<(PathBuf, Option<usize>)>,
}

/// A value with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Found<T> {
    /// What was found.
    pub value: T,
    /// Where.
    pub evidence: Evidence,
}

/// An index into [`Findings::sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct SourceId(pub usize);

/// A place where recipients are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// As the MTA names it: `hash:/etc/aliases`.
    pub name: String,
    /// Who names it.
    pub evidence: Evidence,
    /// How its recipients are had.
    pub how: How,
}

/// How a source's recipients are had.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// A program prints `key<TAB>value` lines: `postmap -s`, `makemap -u`.
    Listed {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// A cdb file, which `postmap` can't list: read by ourselves.
    Cdb(PathBuf),
    /// A text file of aliases(5).
    Aliases(PathBuf),
    /// A pcre_table(5).
    Pcre(PathBuf),
    /// A regexp_table(5).
    Regexp(PathBuf),
    /// A Dovecot passwd-file. Names without a domain count for the domain the file is for, or for any.
    DovecotPasswd {
        /// The file.
        path: PathBuf,
        /// The domain, if the path is made from it (`/etc/vmail/%d/passwd`).
        domain: Option<String>,
    },
    /// The system's users, asked for one by one.
    SystemUsers,
    /// Every recipient exists (`static:`).
    Everything,
}

/// Why the recipients of a domain are not all known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Partial {
    /// A table of a type that can be asked but not listed.
    #[error("{parameter} names {map}, whose type can't be listed")]
    Unlistable {
        /// The parameter that names it.
        parameter: String,
        /// The table.
        map: String,
    },
    /// A table that should be listable, but was not.
    #[error("{parameter} names {map}, which could not be read: {error}")]
    Unreadable {
        /// The parameter that names it.
        parameter: String,
        /// The table.
        map: String,
        /// What happened.
        error: String,
    },
    /// No table of recipients: the MTA takes everything.
    #[error("{0} is empty, so the MTA accepts every recipient")]
    NoTable(String),
    /// A setting that gives unknown users a destiny of its own.
    #[error("{parameter} = {value}: unknown users may be delivered elsewhere")]
    Diverts {
        /// The setting.
        parameter: String,
        /// Its value.
        value: String,
    },
    /// The MTA does not check recipients, so its tables may not be complete.
    #[error(
        "{parameter} = {value}: the MTA itself does not check recipients, so its tables may not be complete"
    )]
    Unchecked {
        /// The setting.
        parameter: String,
        /// Its value.
        value: String,
    },
    /// A routing table has an entry for the domain.
    #[error("{parameter} ({map}) has an entry for {key}")]
    Routed {
        /// The parameter or table that routes.
        parameter: String,
        /// The table.
        map: String,
        /// The entry.
        key: String,
    },
    /// One service of master.cf sees other settings.
    #[error("master.cf service {service} overrides {parameter} = {value}")]
    Overridden {
        /// `name/type`
        service: String,
        /// The setting.
        parameter: String,
        /// Its value there.
        value: String,
    },
    /// It is not certain which class the domain has.
    #[error("{parameter} may hold the domain too: {why}")]
    Ambiguous {
        /// The list that could not be seen whole.
        parameter: String,
        /// Why.
        why: String,
    },
    /// The MTA rewrites this name to another.
    #[error("{parameter} = {value}: the MTA rewrites this domain to another")]
    Rewritten {
        /// The setting.
        parameter: String,
        /// Its value.
        value: String,
    },
    /// A pattern table is asked with the name as the client wrote it, which may be in Unicode.
    #[error("{0} holds patterns, which may be asked for this name in Unicode")]
    Unicode(String),
    /// The MTA only hands the domain's mail on, and knows no recipients.
    #[error("mail is only relayed ({0}); the recipients are known to another server")]
    RelayedOnly(String),
    /// An invented address of the domain did not end at the local mailer.
    #[error("an invented recipient resolves to {0}, not to an unknown local user")]
    Resolves(String),
    /// The MTA could not be asked what it does with the domain.
    #[error("{program} could not be asked: {error}")]
    NotAsked {
        /// The program.
        program: String,
        /// What happened.
        error: String,
    },
}

impl serde::Serialize for Partial {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One service of an MTA and the milters it asks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MilterUse {
    /// `smtpd_milters`, `non_smtpd_milters`, `master.cf smtp/inet`, `sendmail.cf`.
    pub service: String,
    /// The milters' addresses as the MTA writes them, in order. Empty: it asks none.
    pub milters: Vec<String>,
    /// What the MTA does when a milter is away: `tempfail`, `accept`, `F=T`.
    pub when_away: String,
    /// Whether users and programs may write by it, as far as is known.
    pub is_way_out: bool,
}

/// Configuration that the admin may want to fill in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Hint {
    /// Why.
    pub why: String,
    /// TOML for backstop.toml.
    pub toml: String,
}

impl FoundDomain {
    /// Whether nothing but the table of its own recipients is missing: whoever takes its mail knows the rest.
    pub(super) fn lacks_own_table_only(&self) -> bool {
        let own = |partial: &Partial| match partial {
            Partial::NoTable(parameter)
            | Partial::Unlistable { parameter, .. }
            | Partial::Unreadable { parameter, .. }
            | Partial::Diverts { parameter, .. } => OWN_TABLES.contains(&parameter.as_str()),
            _ => false,
        };
        !self.partial.is_empty() && self.partial.iter().all(own)
    }
}

impl Findings {
    /// Adds a source, or finds the one that is there already.
    pub(super) fn source(&mut self, source: Source) -> SourceId {
        let known =
            self.sources.iter().position(|known| known.how == source.how && known.name == source.name);
        SourceId(known.unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        }))
    }

    /// Why a user may write and the milter that `is_us` knows by its address not see it, or see another name than bounces come
    /// to; one line for each reason.
    pub fn unseen(&self, is_us: impl Fn(&str) -> bool) -> Vec<String> {
        let asks = |service: &MilterUse| service.milters.iter().any(|milter| is_us(milter));
        let unasked = self.milters.iter().filter(|service| service.is_way_out && !asks(service));
        let unasked = unasked.map(|service| {
            format!("{} does not name Backstop: who writes by it is not seen", service.service)
        });
        self.rewrites.iter().cloned().chain(unasked).collect()
    }

    /// The MTAs that were found `before`, and could not be looked at this time: their programs or files are not there, or fail.
    pub fn lost<'b>(&self, before: &'b Self) -> impl Iterator<Item = &'b Mta> {
        let is_same = |one: &Mta, other: &Mta| one.place() == other.place();
        before.mtas.iter().filter(move |mta| !self.mtas.iter().any(|other| is_same(other, mta)))
    }

    /// Where networks could not be read, those stay that were read before: whom the MTA trusts is not refused for that.
    pub fn keep_networks(&mut self, before: &Self) {
        if !self.lacks_networks {
            return;
        }
        for network in &before.networks {
            if !self.networks.iter().any(|other| other.value == network.value) {
                self.networks.push(network.clone());
            }
        }
    }

    /// Puts lists in order and drops what is there twice.
    pub(super) fn settle(&mut self) {
        self.watch.sort();
        self.watch.dedup();
        for domain in &mut self.domains {
            domain.sources.sort();
            domain.sources.dedup();
            let mut seen = std::collections::HashSet::new();
            domain.partial.retain(|partial| seen.insert(partial.clone()));
        }
    }

    /// The domains that cover `name` (lower case, no trailing dot). Where an MTA has the name itself, what it has for all
    /// names below a domain does not count.
    pub fn covering<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a FoundDomain> + 'a {
        let itself = move |domain: &FoundDomain| matches!(&domain.pattern, Pattern::Name(own) if own == name);
        let exact: Vec<usize> =
            self.domains.iter().filter(|domain| itself(domain)).map(|domain| domain.mta).collect();
        let counts = move |domain: &&FoundDomain| itself(domain) || !exact.contains(&domain.mta);
        self.domains.iter().filter(move |domain| domain.pattern.covers(name)).filter(counts)
    }
}

impl Pattern {
    /// Whether it covers `name` (lower case, no trailing dot).
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Below(own) => {
                name.strip_suffix(own.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Below(name) => write!(f, ".{name}"),
        }
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        if !self.value.is_empty() {
            write!(f, " = {}", self.value)?;
        }
        match &self.place {
            Some((path, Some(line))) => write!(f, " ({}:{line})", path.display()),
            Some((path, None)) => write!(f, " ({})", path.display()),
            None => Ok(()),
        }
    }
}

/// What Postfix knows a domain's recipients by, or hands all of them on by, after all aliases were looked up.
const OWN_TABLES: [&str; 5] = [
    "local_recipient_maps",
    "virtual_mailbox_maps",
    "relay_recipient_maps",
    "mailbox_transport",
    "local_transport",
];
