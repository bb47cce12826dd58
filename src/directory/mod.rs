//! Which domains are local, and which recipients exist there: merged over every directory in charge.
//!
//! It finds facts and decides nothing. Whoever knows an address is right; only when every directory in charge
//! was heard and none knows it is it [`RecipientFact::Absent`]; anything else is Unknown with what the admin
//! chose for that case. Sources in memory are asked first, without waiting or allocating; slow ones together.

mod block;
mod builder;
mod charge;
mod chunk;
mod config;
pub mod detected;
mod domains;
mod entry;
pub mod file;
mod index;
mod keys;
mod ldap;
mod metrics;
mod part;
mod remote;
mod remotes;
mod replica;
mod search;
mod similar;
mod smtp;
mod source;
mod sql;
mod status;
mod users;

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;

pub use builder::Builder;
pub use config::{Config, Configs, Domains, Recipients};
pub use domains::{DomainMap, DomainSet, load_domains};
pub use entry::{Entry, EntryError};
pub use index::Index;
#[doc(hidden)]
pub use ldap::{fuzz_ldap_answers, fuzz_ldap_filter};
pub use metrics::Metrics;
pub use remote::Remote;
pub use remotes::Remotes;
#[doc(hidden)]
pub use replica::Rehearsal;
pub use replica::Replica;
pub use search::{Found, Step};
pub use source::{Answer, Directory, Source, Why};
pub use status::{Health, State};
pub use users::Users;

use charge::Charge;

use crate::{
    address::{Address, Delimiters, Domain, DomainError},
    files::{Keeper, OpenError, Spec, Status, Watched, load_table},
    policy::{DomainFact, RecipientFact, Unavailable},
};

/// All directories, as configured and as detected.
#[derive(Debug)]
pub struct Directories {
    names: DomainSet,
    files: Option<Watched<DomainSet>>,
    catch_all: DomainSet,
    delimiters: Delimiters,
    configured: Vec<Configured>,
    charge: Charge,
    detected: Arc<ArcSwap<Detected>>,
    metrics: Metrics,
}

/// What detection found: swapped as a whole when it ran again.
#[derive(Debug, Default)]
pub struct Detected {
    /// Local domains.
    pub domains: DomainMap<DetectedDomain>,
    /// Domains all of whose subdomains are local.
    pub below: DomainMap<DetectedDomain>,
    /// What the MTA takes for the begin of a sub-address.
    pub delimiters: Delimiters,
}

impl Detected {
    /// What was found for the domain itself, or for all domains below one of its parents.
    fn get(&self, domain: &Domain) -> Option<&DetectedDomain> {
        let found = self.domains.get(domain);
        if found.is_some() || self.below.is_empty() {
            return found;
        }
        domain.ancestors().find_map(|above| self.below.get(above))
    }
}

/// A detected domain with what knows its recipients. Where a configured directory is in charge, a recipient that is
/// known here exists all the same, but only the configured ones can call it absent.
#[derive(Debug, Default)]
pub struct DetectedDomain {
    /// Asked for recipients of this domain; several domains may share one.
    pub directories: Vec<Arc<Directory>>,
    /// Not everything that the MTA consults for it could be listed: nobody may be called absent.
    pub partial: bool,
}

impl DetectedDomain {
    /// Whether a recipient that none of the directories knows is absent.
    fn is_whole(&self) -> bool {
        !self.partial && !self.directories.is_empty()
    }
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Not a domain.
    #[error("{name:?}: {error}")]
    Domain {
        /// Where in the configuration, e.g. `directory.staff.domains`.
        key: String,
        /// What stands there.
        name: String,
        /// What is wrong with it.
        error: DomainError,
    },
    /// None of the kinds of directory is given, or several.
    #[error("a directory needs exactly one kind, such as [{key}.file]")]
    Kind {
        /// `directory.NAME`
        key: String,
    },
    /// A setting that can't be used.
    #[error("{error}")]
    Setting {
        /// Where in the configuration.
        key: String,
        /// What is wrong.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file that can't be used.
    #[error("{error}")]
    File {
        /// Where in the configuration.
        key: String,
        /// What is wrong.
        error: OpenError,
    },
}

impl BuildError {
    /// Where in the configuration.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Domain { key, .. }
            | Self::Kind { key }
            | Self::Setting { key, .. }
            | Self::File { key, .. } => key,
        }
    }
}

impl Directories {
    /// Opens every file and puts the directories together. Blocks while files are read.
    ///
    /// # Errors
    /// [`BuildError`], which names the place in the configuration.
    pub fn build(
        domains: &Domains,
        recipients: &Recipients,
        directories: &Configs,
        keeper: &Keeper,
        remotes: &Remotes,
        metrics: &Metrics,
        detected: Arc<ArcSwap<Detected>>,
    ) -> Result<Self, BuildError> {
        let files = match domains.files.as_slice() {
            [] => None,
            paths => Some(
                keeper
                    .open(spec("domains", "domains", paths.to_vec(), |_| {}), load_domains)
                    .map_err(|error| BuildError::File { key: "domains.files".to_owned(), error })?,
            ),
        };
        let mut charge = Charge::default();
        for (place, (name, config)) in directories.iter().enumerate() {
            let key = || format!("directory.{name}.domains");
            charge.add(place, config.domains.as_deref()).map_err(|bad| bad_domain(key(), bad))?;
        }
        let configured = directories
            .iter()
            .map(|(name, config)| Configured::build(name, config, &domains.names, keeper, remotes, metrics))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            names: domain_set("domains.names", &domains.names)?,
            files,
            catch_all: domain_set("recipients.catch_all", &recipients.catch_all)?,
            delimiters: Delimiters::new(&recipients.delimiters),
            configured,
            charge,
            detected,
            metrics: metrics.clone(),
        })
    }

    /// Whether the domain is local, and whether somebody can call its recipients absent. Costs no lock and no
    /// allocation.
    pub fn domain(&self, domain: &Domain) -> DomainFact {
        let listed = self.lists(domain);
        let configured = self.in_charge(domain, listed).next().is_some() || self.catch_all.contains(domain);
        let detected = self.detected.load();
        let detected = detected.get(domain);
        if !listed && !configured && detected.is_none() {
            return DomainFact::Foreign;
        }
        DomainFact::Local {
            in_charge: configured || detected.is_some_and(DetectedDomain::is_whole),
            configured: configured || listed,
        }
    }

    /// What separates a mailbox from its sub-address.
    pub fn delimiters(&self) -> &Delimiters {
        &self.delimiters
    }

    /// The configured directories.
    pub fn configured(&self) -> impl Iterator<Item = &Directory> {
        self.configured.iter().map(|configured| &configured.directory)
    }

    /// Whom they ask; where no replica does so by itself, with a recipient to ask for.
    fn remotes(&self) -> impl Iterator<Item = (Arc<Remote>, Option<Address>)> {
        self.configured.iter().filter_map(|Configured { directory, example, .. }| match &directory.source {
            Source::Remote(remote) => Some((Arc::clone(remote), example.clone())),
            Source::Replica(replica) => Some((Arc::clone(replica.remote()), None)),
            _ => None,
        })
    }

    /// Whether `[domains]` names the domain.
    fn lists(&self, domain: &Domain) -> bool {
        self.names.contains(domain)
            || self
                .files
                .as_ref()
                .is_some_and(|files| files.current().as_ref().is_some_and(|files| files.contains(domain)))
    }

    /// The configured directories in charge of a domain, which `[domains]` lists or not.
    fn in_charge(&self, domain: &Domain, listed: bool) -> impl Iterator<Item = &Directory> {
        let places = self.charge.places(domain, listed).into_iter();
        places.filter_map(|place| self.configured.get(place)).map(|configured| &configured.directory)
    }
}

/// A directory from the configuration.
#[derive(Debug)]
struct Configured {
    directory: Directory,
    /// A recipient whom it can be asked for without mail.
    example: Option<Address>,
}

impl Configured {
    fn build(
        name: &str,
        config: &Config,
        listed: &[String],
        keeper: &Keeper,
        remotes: &Remotes,
        metrics: &Metrics,
    ) -> Result<Self, BuildError> {
        let key = format!("directory.{name}");
        let source = match &config.file {
            Some(file) => open_file(name, file, keeper, metrics)
                .map_err(|error| BuildError::File { key: format!("{key}.file.path"), error })?,
            None => remotes.open(name, config)?,
        };
        let directory = Directory { name: name.into(), source, on_unavailable: config.on_unavailable };
        let example = postmaster(config.domains.as_deref().unwrap_or(listed));
        Ok(Self { directory, example })
    }
}

fn open_file(
    name: &str,
    config: &file::Config,
    keeper: &Keeper,
    metrics: &Metrics,
) -> Result<Source, OpenError> {
    let format = config.format;
    let (metrics, label) = (metrics.clone(), name.to_owned());
    let report = move |status: &Status| metrics.status(&label, status);
    let spec = spec(&format!("directory {name}"), format.as_str(), vec![config.path.clone()], report);
    Ok(match format.grammar() {
        Some(grammar) => Source::Table(keeper.open(spec, move |texts| load_table(texts, grammar))?),
        None => Source::List(keeper.open(spec, move |texts| file::load_list(texts, format))?),
    })
}

fn spec(
    name: &str,
    kind: &'static str,
    paths: Vec<PathBuf>,
    report: impl Fn(&Status) + Send + Sync + 'static,
) -> Spec {
    Spec { name: name.to_owned(), kind, paths, report: Box::new(report) }
}

fn domain_set(key: &str, names: &[String]) -> Result<DomainSet, BuildError> {
    DomainSet::parse(names).map_err(|bad| bad_domain(key.to_owned(), bad))
}

fn bad_domain(key: String, (name, error): (&str, DomainError)) -> BuildError {
    BuildError::Domain { key, name: name.to_owned(), error }
}

/// Whom every domain should have (RFC 5321 §4.5.1), in the first of these.
fn postmaster(domains: &[String]) -> Option<Address> {
    let domain = domains.iter().find_map(|name| Domain::parse(name).ok())?;
    Address::new("postmaster", &domain).ok()
}

/// What nobody can tell, where nobody is in charge.
const NOBODY: RecipientFact = RecipientFact::Unknown(Unavailable::Continue);

#[cfg(test)]
mod tests;
