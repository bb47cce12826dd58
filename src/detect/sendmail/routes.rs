//! mailertable, domaintable and the RELAY lines of the access database.

use std::collections::HashMap;

use super::Sendmail;
use crate::detect::{Partial, Source, list};

/// Domains that a table routes or rewrites.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Lower-case keys, and the table of each.
    keys: HashMap<String, &'static str>,
    everything: Vec<Partial>,
}

impl Sendmail<'_> {
    pub(super) async fn routes(&mut self) -> Routes {
        let mut routes = Routes::default();
        for table in ["mailertable", "domaintable"] {
            match self.entries(table).await {
                Ok(entries) => {
                    routes.keys.extend(entries.into_iter().map(|(key, _)| (key.to_lowercase(), table)));
                }
                Err(partial) => routes.everything.push(partial),
            }
        }
        routes
    }

    /// Domains that the access database lets everyone relay to: `To:example.com RELAY`, `example.com RELAY`.
    pub(super) async fn relayed_by_access(&mut self) -> Vec<String> {
        let entries = match self.entries("access").await {
            Ok(entries) => entries,
            Err(partial) => {
                self.findings
                    .notes
                    .push(format!("RELAY lines of the access database are not known: {partial}"));
                return Vec::new();
            }
        };
        let relayed = entries.into_iter().filter(|(_, value)| value.trim().eq_ignore_ascii_case("RELAY"));
        let named = relayed.filter_map(|(key, _)| match key.to_lowercase().split_once(':') {
            Some(("to" | "connect", name)) => Some(name.to_owned()),
            Some(_) => None,
            None => Some(key),
        });
        named.collect()
    }

    /// The entries of a `K` map; none if sendmail.cf has no such map, or the map may be missing and is.
    async fn entries(&mut self, name: &'static str) -> Result<Vec<(String, String)>, Partial> {
        let Some(map) = self.cf.maps.get(name).cloned() else { return Ok(Vec::new()) };
        let how = self.table(name, &map.kind, &map.file)?;
        if map.optional && !std::path::Path::new(&format!("{}.db", map.file)).exists() {
            return Ok(Vec::new());
        }
        let evidence = self.evidence(name, &map.file, &[&format!("K{name}")]);
        let source = Source { name: format!("{}:{}", map.kind, map.file), evidence, how };
        let entries = list(self.options, &source).await.map_err(|error| Partial::Unreadable {
            parameter: name.to_owned(),
            map: source.name.clone(),
            error: error.to_string(),
        })?;
        Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }
}

impl Routes {
    /// What routes `name`: its own entry, one of a parent domain (`.example.com`), or `.`.
    pub(super) fn of(&self, name: &str) -> Vec<Partial> {
        let parents = name.match_indices('.').map(|(at, _)| name[at..].to_owned());
        let keys = [name.to_owned(), ".".to_owned()].into_iter().chain(parents);
        let routed = keys.filter_map(|key| {
            let table = self.keys.get(&key)?;
            Some(Partial::Routed { parameter: (*table).to_owned(), map: (*table).to_owned(), key })
        });
        self.everything.iter().cloned().chain(routed).collect()
    }
}
