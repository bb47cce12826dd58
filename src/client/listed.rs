//! Lists of networks in files: CIDR networks, addresses and ranges, one a line, and Postfix' cidr tables as they are.
//!
//! Asks nobody. Failure: a list that never could be read holds nobody; one that is unreadable or much shorter than
//! before keeps its content (see [`files`](crate::files)).

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use prefix_trie::PrefixMap;

use super::{Network, NetworkError};
use crate::files::{
    Faults, Keeper, LINE_LIMIT, LoadError, Loaded, OpenError, Spec, Status, Text, Watched, ago, trim,
};

/// Networks from files, kept current.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    name: &'static str,
    paths: Arc<[PathBuf]>,
    file: Watched<Table>,
}

/// What a list is for, which says what the results of a Postfix table mean in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// Those that are good. A line that refuses, or says `DUNNO`, takes its network out.
    Good,
    /// Those that are bad. A line that says `OK`, `permit` or `DUNNO` takes its network out.
    Bad,
}

impl Listed {
    /// Opens the files; without any there is no list. `name` is the key of the configuration. Blocks.
    ///
    /// # Errors
    /// When a file is missing, unreadable, or makes no sense.
    pub(super) fn open(
        name: &'static str,
        paths: &[PathBuf],
        means: For,
        may_shrink: bool,
        keeper: &Keeper,
    ) -> Result<Option<Self>, OpenError> {
        if paths.is_empty() {
            return Ok(None);
        }
        let spec =
            Spec { name: name.to_owned(), kind: "networks", paths: paths.to_vec(), report: Box::new(|_| {}) };
        let file = keeper.open(spec, move |texts| load(texts, means, may_shrink))?;
        Ok(Some(Self { name, paths: paths.into(), file }))
    }

    /// Whether it holds the address. Costs no lock.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.file.current().as_ref().is_some_and(|table| table.find(address).is_some())
    }

    /// The line that holds the address, and how old that is: `192.0.2.0/24 in /etc/backstop/dynamic.cidr:7
    /// (client.dynamic.networks) [read 5 s ago]`.
    pub(super) fn explain(&self, address: IpAddr) -> Option<String> {
        let current = self.file.current();
        let (net, place) = current.as_ref()?.find(address)?;
        let path = self.paths.get(usize::from(place.file))?.display();
        let age = self.file.origin().1.map_or_else(String::new, |age| format!(" [read {}]", ago(age)));
        Some(format!("{} in {path}:{} ({}){age}", Network(net), place.line, self.name))
    }

    /// How the list is.
    pub(super) fn status(&self) -> Status {
        self.file.status()
    }
}

/// What the files say together. Of the networks that hold an address the smallest counts: a network within one that
/// came earlier is left out, so that this is also the first one, which counts in Postfix.
#[derive(Debug, Default)]
struct Table {
    v4: PrefixMap<Ipv4Net, Place>,
    v6: PrefixMap<Ipv6Net, Place>,
}

/// Where a network is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    line: u32,
    file: u16,
    /// It is on the list; else it is an exception from a larger one.
    is_listed: bool,
}

impl Table {
    fn find(&self, address: IpAddr) -> Option<(IpNet, Place)> {
        let (net, place) = match address.to_canonical() {
            IpAddr::V4(address) => {
                self.v4.get_lpm(&address.into()).map(|(net, place)| (IpNet::V4(net), *place))
            }
            IpAddr::V6(address) => {
                self.v6.get_lpm(&address.into()).map(|(net, place)| (IpNet::V6(net), *place))
            }
        }?;
        place.is_listed.then_some((net, place))
    }

    fn add(&mut self, net: IpNet, place: Place) {
        match net {
            IpNet::V4(net) if self.v4.get_lpm(&net).is_none() => drop(self.v4.insert(net, place)),
            IpNet::V6(net) if self.v6.get_lpm(&net).is_none() => drop(self.v6.insert(net, place)),
            IpNet::V4(_) | IpNet::V6(_) => {}
        }
    }
}

/// Reads lists of networks; see cidr_table(5) for Postfix' part of it.
fn load(texts: &mut [Text], means: For, may_shrink: bool) -> Result<Loaded<Table>, LoadError> {
    let mut content = Table::default();
    let (mut faults, mut entries) = (Faults::default(), 0);
    for (file, text) in texts.iter_mut().enumerate() {
        let path = Arc::clone(text.path());
        let file = u16::try_from(file).unwrap_or(u16::MAX);
        let (mut of_file, mut good) = (Faults::default(), 0);
        let mut scopes = Scopes::default();
        let mut lines = text.lines();
        loop {
            let line = match lines.next_logical() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => return Err(text.error(&error)),
            };
            let place = |is_listed| Place { line: u32::try_from(line.number).unwrap_or(0), file, is_listed };
            let read = if line.cut { Err(BadLine::TooLong) } else { scopes.read(line.text, means) };
            match read {
                Ok(None) => {}
                Ok(Some((nets, is_listed))) => {
                    good += 1;
                    entries += u64::from(is_listed);
                    nets.into_iter().for_each(|net| content.add(net, place(is_listed)));
                }
                Err(bad) => of_file.note(&path, line.number, &bad),
            }
        }
        of_file.judge(good)?;
        faults.append(of_file);
    }
    Ok(Loaded { content, entries, faults, may_shrink })
}

/// The `if`s that a line stands in: each holds the networks that get there.
#[derive(Debug, Default)]
struct Scopes(Vec<Vec<IpNet>>);

impl Scopes {
    /// The networks of a line and whether they are on the list; nothing for a line that has none.
    fn read(&mut self, line: &[u8], means: For) -> Result<Option<(Vec<IpNet>, bool)>, BadLine> {
        let text = str::from_utf8(trim(line)).map_err(|_| BadLine::Text)?;
        // `# …` is a comment to everybody, `; …` in lists such as Spamhaus' DROP.
        if text.is_empty() || text.starts_with(['#', ';']) {
            return Ok(None);
        }
        let (word, rest) = split(text);
        match (word.to_ascii_lowercase().as_str(), rest) {
            ("endif", "") => return self.0.pop().map(|_| None).ok_or(BadLine::EndIf),
            ("if", condition) if !condition.is_empty() => {
                let (nets, rest) = pattern(condition)?;
                if !rest.is_empty() {
                    return Err(BadLine::Words);
                }
                let within = self.within(nets)?;
                self.0.push(within);
                return Ok(None);
            }
            _ => {}
        }
        let (nets, result) = pattern(text)?;
        let is_listed = is_listed(result, means)?;
        Ok(Some((self.within(nets)?, is_listed)))
    }

    /// The parts of these networks that get there.
    fn within(&self, nets: Vec<IpNet>) -> Result<Vec<IpNet>, BadLine> {
        let Some(scope) = self.0.last() else { return Ok(nets) };
        let mut found = Vec::new();
        for (net, scope) in nets.iter().flat_map(|net| scope.iter().map(move |scope| (net, scope))) {
            if scope.contains(net) {
                found.push(*net);
            } else if net.contains(scope) {
                found.push(*scope);
            }
            if found.len() > MOST_PARTS {
                return Err(BadLine::Parts);
            }
        }
        Ok(found)
    }
}

/// `[!]ADDRESS`, `[!]ADDRESS/LENGTH` or `ADDRESS-ADDRESS`, and what comes behind it.
fn pattern(text: &str) -> Result<(Vec<IpNet>, &str), BadLine> {
    let (negated, text) = match text.strip_prefix('!') {
        Some(text) => (true, text.trim_start()),
        None => (false, text),
    };
    let (word, rest) = split(text);
    if let Some((from, to)) = word.split_once('-').filter(|_| !negated) {
        // `a - b` is no range: nobody can tell it from a result.
        return Ok((range(from, to)?, rest));
    }
    // Postfix: "Address information may be enclosed inside "[]" but this form is not required."
    let net = match word.strip_prefix('[') {
        Some(inner) => inner.replacen(']', "", 1).parse::<Network>(),
        None => word.parse(),
    }?;
    let net = net.0;
    Ok((if negated { others(net) } else { vec![net] }, rest))
}

/// The networks that make up a range of addresses, both ends included.
fn range(from: &str, to: &str) -> Result<Vec<IpNet>, BadLine> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| BadLine::Range);
    match (address(from)?, address(to)?) {
        (IpAddr::V4(from), IpAddr::V4(to)) if from <= to => {
            Ok(Ipv4Subnets::new(from, to, 0).map(IpNet::V4).collect())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) if from <= to => {
            Ok(Ipv6Subnets::new(from, to, 0).map(IpNet::V6).collect())
        }
        _ => Err(BadLine::Range),
    }
}

/// Everything else of the same address family: what `!network` matches in Postfix.
fn others(net: IpNet) -> Vec<IpNet> {
    let mut others = Vec::new();
    let mut rest = net;
    while let (Some(parent), Some(sibling)) = (rest.supernet(), sibling(rest)) {
        others.push(sibling);
        rest = parent;
    }
    others
}

fn sibling(net: IpNet) -> Option<IpNet> {
    let parent = net.supernet()?;
    parent.subnets(net.prefix_len()).ok()?.find(|half| *half != net)
}

/// Whether a line with this result puts its network on the list: access(5), postscreen(8).
fn is_listed(result: &str, means: For) -> Result<bool, BadLine> {
    let (word, _) = split(result);
    if word.is_empty() || word.starts_with(['#', ';']) {
        return Ok(true);
    }
    if word.parse::<Network>().is_ok() {
        return Err(BadLine::Words);
    }
    let word = word.to_ascii_uppercase();
    let is_code = word.len() == 3 && word.starts_with(['4', '5']) && word.bytes().all(|b| b.is_ascii_digit());
    let is_number = word.bytes().all(|b| b.is_ascii_digit());
    Ok(match means {
        _ if word == "DUNNO" => false,
        For::Good => {
            let refuses = ["REJECT", "DISCARD", "HOLD"].contains(&&*word) || word.starts_with("DEFER");
            !(refuses || is_code)
        }
        For::Bad => !(word == "OK" || word.starts_with("PERMIT") || (is_number && !is_code)),
    })
}

/// The first word, and the rest without the whitespace around it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.split_once(|c: char| c.is_ascii_whitespace()) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

#[derive(Debug, thiserror::Error)]
enum BadLine {
    #[error("longer than {LINE_LIMIT} bytes")]
    TooLong,
    #[error("not UTF-8")]
    Text,
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("not a range; write it like 192.0.2.10-192.0.2.99")]
    Range,
    #[error(
        "more than one network; a line that begins with a blank belongs to the one before, as in Postfix"
    )]
    Words,
    #[error("endif without if")]
    EndIf,
    #[error("its `!` and `if` make up more than {MOST_PARTS} networks")]
    Parts,
}

/// A rule within negated conditions falls into many networks.
const MOST_PARTS: usize = 4096;

#[cfg(test)]
mod tests;
