//! Classes of clients from the names of their addresses: `server`, `generic` or `dynamic`, and the rule that says so.
//!
//! Pure but for the admin's tables, which are files that are followed. Asks no DNS: what a name claims is taken as a
//! claim, so a name can make its client worse here and never better; what speaks for a client counts only after the
//! caller has confirmed the name both ways. What could not be found out (a table that could not be read or
//! matched) says nothing.

mod embedded;
mod host;
mod pattern;
mod rule;
mod shape;
mod suffixes;
mod words;

use std::{net::IpAddr, path::PathBuf};

pub(super) use pattern::is_end_of_names;
pub use pattern::{Pattern, PatternError};
pub use rule::Rule;

use self::suffixes::Suffixes;
use super::{Dynamic, Network};
use crate::{
    address::DomainPattern,
    files::{Grammar, Keeper, Loaded, OpenError, Spec, Status, Table, Watched, load_table},
    policy::ClientClass,
};

/// Judges names: by the admin's patterns, then by the built-in rules.
#[derive(Debug, Default)]
pub struct Names {
    dynamic: Suffixes,
    expressions: Vec<(String, Table)>,
    tables: Vec<(PathBuf, Watched<Table>)>,
    except: Suffixes,
}

/// What a name says of its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// `Server`, `Generic` or `Dynamic`.
    pub class: ClientClass,
    /// Why; shows as one line.
    pub rule: Rule,
}

impl Names {
    /// From `patterns` and the names in `except`. Blocks while tables are read.
    ///
    /// # Errors
    /// When a table can't be read, or is of another format.
    pub fn build(config: &Dynamic, keeper: &Keeper) -> Result<Self, OpenError> {
        let (mut names, mut expressions, mut tables) = (Vec::new(), Vec::new(), Vec::new());
        for pattern in &config.patterns {
            match pattern {
                Pattern::Name(name) => names.push(name),
                // One that can't be compiled was no pattern when it was read.
                Pattern::Expression(text) => {
                    expressions.extend(pattern::compile(text).ok().map(|table| (text.clone(), table)));
                }
                Pattern::Table(grammar, path) => {
                    tables.push((path.clone(), open(*grammar, path.clone(), keeper)?));
                }
            }
        }
        let is_network = |entry: &&String| entry.parse::<Network>().is_ok();
        let except: Vec<DomainPattern> = config
            .except
            .iter()
            .filter(|entry| !is_network(entry))
            .filter_map(|entry| entry.parse().ok())
            .collect();
        Ok(Self {
            dynamic: names.into_iter().collect(),
            expressions,
            tables,
            except: except.iter().collect(),
        })
    }

    /// The class of a client by the name of its address, be it confirmed or not. Takes any text, with or without a dot
    /// at the end, and time linear in its length, but for the admin's expressions, whose time is limited.
    #[must_use]
    pub fn judge(&self, client: IpAddr, name: &str) -> Judged {
        let name = normal(name);
        self.by_pattern(&name)
            .or_else(|| self.by_table(client, &name))
            .unwrap_or_else(|| shape::judge(client, &name))
    }

    /// Whether what a client calls itself speaks for a server, and for more than its address does. Counts only if the
    /// DNS confirms that this name is this client's.
    #[must_use]
    pub fn vouches(&self, client: IpAddr, helo: &str) -> bool {
        let name = normal(helo);
        shape::is_host_name(&name)
            && !shape::has_address(client, &name)
            && self.judge(client, &name).class == ClientClass::Server
    }

    /// The entry of `except` that a name falls under. Counts only if the DNS confirms that this name is this client's.
    #[must_use]
    pub fn excepted(&self, name: &str) -> Option<&str> {
        self.except.find(&normal(name))
    }

    /// The state of each table, for `status`.
    pub fn tables(&self) -> impl Iterator<Item = Status> {
        self.tables.iter().map(|(_, table)| table.status())
    }

    fn by_pattern(&self, name: &str) -> Option<Judged> {
        let suffix = self.dynamic.find(name);
        let expression = || {
            let mut expressions = self.expressions.iter();
            expressions.find(|(_, table)| table.first(name).rule.is_some()).map(|(text, _)| text.as_str())
        };
        let pattern = suffix.or_else(expression)?;
        Some(Judged { class: ClientClass::Dynamic, rule: Rule::Pattern(pattern.to_owned()) })
    }

    /// Postfix asks a table for the name and then for the address (access(5)); the first rule that matches decides, if
    /// all rules before it could be tried.
    fn by_table(&self, client: IpAddr, name: &str) -> Option<Judged> {
        let address = client.to_canonical().to_string();
        self.tables.iter().find_map(|(path, table)| {
            let table = table.current();
            let table = table.as_ref()?;
            let found = [name, &address].into_iter().map(|key| table.first(key));
            let first = found.into_iter().find(|first| first.rule.is_some() || !first.is_sure)?;
            let (line, result) = first.rule.filter(|_| first.is_sure)?;
            let class = pattern::class_of_result(result)?;
            Some(Judged { class, rule: Rule::Table { path: path.clone(), line, result: result.to_owned() } })
        })
    }
}

/// In lower case, without a dot at the end, and no longer than any name: what is cut can't be a host name any more.
fn normal(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.chars().take(LONGEST).map(|c| c.to_ascii_lowercase()).collect()
}

fn open(grammar: Grammar, path: PathBuf, keeper: &Keeper) -> Result<Watched<Table>, OpenError> {
    let (name, kind) = ("client.dynamic.patterns".to_owned(), grammar.as_str());
    let spec = Spec { name, kind, paths: vec![path], report: Box::new(|_| {}) };
    // Nobody is refused for what such a table lacks.
    keeper.open(spec, move |texts| {
        load_table(texts, grammar).map(|loaded| Loaded { may_shrink: true, ..loaded })
    })
}

/// More than a name in the DNS can have (RFC 1035 §2.3.4).
const LONGEST: usize = 256;

#[cfg(test)]
mod tests;
