//! Postfix' lists of domains: words, `!` words, `/files` and tables (postconf(5), mydestination).

use std::collections::HashSet;
use std::path::PathBuf;

use super::Postfix;
use super::conf::split;
use super::maps::Map;
use crate::address::Domain;
use crate::detect::command::run;
use crate::detect::{Evidence, Partial, Pattern, Source, list};

/// What one list of domains holds.
#[derive(Debug, Default)]
pub(super) struct DomainList {
    /// The domains, with the word, file or table that holds each.
    pub domains: Vec<(Pattern, Evidence)>,
    /// Tables that can only be asked.
    pub unseen: Vec<(String, Partial)>,
    /// Words of the list that make the rest uncertain.
    pub partial: Vec<Partial>,
}

impl Postfix<'_> {
    /// Reads the list that `parameter` holds. With `below`, a name covers its subdomains too
    /// (`parent_domain_matches_subdomains`).
    pub(super) async fn domain_list(&mut self, parameter: &str, below: bool) -> DomainList {
        let mut found = DomainList::default();
        let value = self.conf.value(parameter).to_owned();
        let mut excluded = HashSet::new();
        for word in split(&value) {
            let evidence = Evidence { value: word.to_owned(), ..self.evidence(parameter) };
            match word.strip_prefix('!') {
                Some(name) if is_name(name) => excluded.extend(name_of(name)),
                Some(_) => found.partial.push(Partial::Ambiguous {
                    parameter: parameter.to_owned(),
                    why: format!("{word} takes domains out of it"),
                }),
                None => self.domain_word(parameter, word, &evidence, &excluded, below, &mut found).await,
            }
        }
        found
    }

    async fn domain_word(
        &mut self,
        parameter: &str,
        word: &str,
        evidence: &Evidence,
        excluded: &HashSet<String>,
        below: bool,
        found: &mut DomainList,
    ) {
        let names = if word.starts_with('/') {
            let names = self.file_words(word).await;
            names.map_err(|error| unreadable(parameter, word, error.to_string()))
        } else if is_name(word) {
            Ok(vec![word.to_owned()])
        } else {
            self.table_names(parameter, word, evidence).await
        };
        match names {
            Ok(names) => {
                let kept = names.iter().filter_map(|name| pattern(name));
                let kept =
                    kept.filter(|(name, _)| !excluded.contains(name)).flat_map(|(name, only_below)| {
                        let own = (!only_below).then(|| Pattern::Name(name.clone()));
                        own.into_iter().chain((only_below || below).then_some(Pattern::Below(name)))
                    });
                found.domains.extend(kept.map(|pattern| (pattern, evidence.clone())));
            }
            Err(partial) => found.unseen.push((word.to_owned(), partial)),
        }
    }

    /// The keys of a table that may be domains: with a dot, and no `@`.
    async fn table_names(
        &mut self,
        parameter: &str,
        word: &str,
        evidence: &Evidence,
    ) -> Result<Vec<String>, Partial> {
        let map = Map::parse(word);
        self.watch(&map);
        let how = map.how(parameter, &self.tools)?;
        let source: Source = map.source(parameter, how, evidence);
        let entries = list(self.options, &source).await;
        let entries = entries.map_err(|error| unreadable(parameter, word, error.to_string()))?;
        let keys = entries.into_iter().map(|entry| entry.key);
        Ok(keys.filter(|key| key.contains('.') && !key.contains('@')).collect())
    }

    /// Words of a `/file`: one or more a line, `#` begins a comment line. Files may name files.
    async fn file_words(&mut self, path: &str) -> std::io::Result<Vec<String>> {
        self.findings.watch.push(PathBuf::from(path));
        let text = tokio::fs::read_to_string(path).await?;
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words: Vec<String> = lines.flat_map(split).map(str::to_owned).collect();
        match words.iter().find(|word| !is_name(word)) {
            Some(word) => Err(std::io::Error::other(format!("{word:?} in a file is not understood"))),
            None => Ok(words),
        }
    }

    /// Which of `names` the unseen tables of a list of a higher class hold. A table that can't be asked may hold any.
    pub(super) async fn ambiguous(
        &self,
        parameter: &str,
        list: &DomainList,
        names: &[String],
    ) -> Vec<(String, Partial)> {
        let mut ambiguous = Vec::new();
        let input = names.join("\n");
        for (map, partial) in &list.unseen {
            let mut arguments = self.tools.config();
            arguments.extend(["-q".to_owned(), "-".to_owned(), map.clone()]);
            let why = |why: String| Partial::Ambiguous { parameter: parameter.to_owned(), why };
            // postmap exits 1 where it finds nothing, and says nothing then
            match run(self.options, &self.tools.postmap, &arguments, input.as_bytes()).await {
                Ok(held) => {
                    let keys = held.lines().filter_map(|line| line.split('\t').next());
                    ambiguous.extend(keys.map(|key| (key.to_owned(), why(format!("{map} holds {key}")))));
                }
                Err(error) if error.is_silent() => {}
                Err(_) => ambiguous.extend(names.iter().map(|name| (name.clone(), why(partial.to_string())))),
            }
        }
        for partial in &list.partial {
            ambiguous.extend(names.iter().map(|name| (name.clone(), partial.clone())));
        }
        ambiguous
    }
}

pub(super) fn unreadable(parameter: &str, map: &str, error: String) -> Partial {
    Partial::Unreadable { parameter: parameter.to_owned(), map: map.to_owned(), error }
}

/// A word that is neither a file nor a table.
fn is_name(word: &str) -> bool {
    !word.contains([':', '/', '!', '{', '[', '*'])
}

fn name_of(word: &str) -> Option<String> {
    pattern(word).map(|(name, _)| name)
}

/// A name as [`Pattern`] holds it, and whether it covers only what is below it (`.example.com`).
fn pattern(word: &str) -> Option<(String, bool)> {
    let (name, below) = word.strip_prefix('.').map_or((word, false), |rest| (rest, true));
    let name = name.trim_end_matches('.');
    Some((Domain::parse(name).ok()?.as_str().to_owned(), below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(pattern("A.Test."), Some(("a.test".into(), false)));
        assert_eq!(pattern(".a.test"), Some(("a.test".into(), true)));
        assert_eq!(pattern("bücher.test"), Some(("xn--bcher-kva.test".into(), false)));
        assert_eq!(pattern("."), None);
        assert!(is_name("a.test") && is_name(".a.test"));
        for other in ["/file", "hash:/x", "!a.test", "[127.0.0.1]", "inline:{a=b}"] {
            assert!(!is_name(other), "{other}");
        }
    }
}
