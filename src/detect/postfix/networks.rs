//! `mynetworks`: clients that Postfix trusts.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::Postfix;
use super::conf::split;
use super::maps::Map;
use crate::detect::{Evidence, Found, How, fuzz::commented, list};

impl Postfix<'_> {
    /// Adds the networks. A `!` word takes every network away that it overlaps: rather trust too little.
    pub(super) async fn networks(&mut self) {
        let parameter = "mynetworks";
        let mut networks: Vec<Found<IpNet>> = Vec::new();
        let mut excluded: Vec<IpNet> = Vec::new();
        let words = split(self.conf.value(parameter)).into_iter().map(str::to_owned).collect::<Vec<_>>();
        for word in words {
            let (negated, plain) = word.strip_prefix('!').map_or((false, &*word), |rest| (true, rest));
            let evidence = Evidence { value: word.clone(), ..self.evidence(parameter) };
            match self.network_word(parameter, plain, &evidence).await {
                Ok(found) if negated => excluded.extend(found),
                Ok(found) => networks
                    .extend(found.into_iter().map(|value| Found { value, evidence: evidence.clone() })),
                Err(why) => {
                    self.findings.lacks_networks = true;
                    self.findings.notes.push(format!("mynetworks: {word} is left out: {why}"));
                    if negated {
                        networks.clear(); // whom it takes away is not known
                        break;
                    }
                }
            }
        }
        let overlaps = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
        networks.retain(|network| !excluded.iter().any(|other| overlaps(&network.value, other)));
        self.findings.networks.extend(networks);
    }

    async fn network_word(
        &mut self,
        parameter: &str,
        word: &str,
        evidence: &Evidence,
    ) -> Result<Vec<IpNet>, String> {
        if let Some(network) = network(word) {
            return Ok(vec![network]);
        }
        let map = Map::parse(word);
        if word.starts_with('/') || map.kind == "cidr" {
            let path = PathBuf::from(if map.kind == "cidr" { map.name } else { word });
            self.findings.watch.push(path.clone());
            let text = tokio::fs::read_to_string(&path).await.map_err(|error| error.to_string())?;
            return networks_of(&text, map.kind == "cidr");
        }
        self.watch(&map);
        match map.how(parameter, &self.tools) {
            Ok(how @ (How::Listed { .. } | How::Cdb(_))) => {
                let entries = list(self.options, &map.source(parameter, how, evidence)).await;
                let entries = entries.map_err(|error| error.to_string())?;
                Ok(entries.iter().filter_map(|entry| network(&entry.key)).collect())
            }
            Ok(_) => Err("its type is not understood".to_owned()),
            Err(partial) => Err(partial.to_string()),
        }
    }
}

/// Lines of a `/file` (words) or of a cidr_table(5) (`network result`).
pub(super) fn networks_of(text: &str, cidr: bool) -> Result<Vec<IpNet>, String> {
    let mut networks = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words = split(line);
        let words = if cidr { words.get(..1).unwrap_or_default() } else { &words[..] };
        for word in words {
            networks.push(network(word).ok_or_else(|| format!("{word:?} is not a network"))?);
        }
    }
    Ok(networks)
}

/// `127.0.0.0/8`, `[::1]/128`, `192.0.2.1`, `2001:db8::/32`.
fn network(word: &str) -> Option<IpNet> {
    let plain: String = word.chars().filter(|c| !matches!(c, '[' | ']')).collect();
    let address = || plain.parse::<IpAddr>().ok().map(IpNet::from);
    plain.parse::<IpNet>().ok().or_else(address).map(|network| network.trunc())
}

/// What was read can be written and read again, and comments do not matter. For tests/fuzz.
pub(super) fn fuzz_networks(text: &str) {
    for is_cidr in [false, true] {
        let read = networks_of(text, is_cidr);
        assert_eq!(networks_of(&commented(text), is_cidr), read, "with comments");
        let Ok(networks) = read else { continue };
        assert!(networks.iter().all(|network| network.trunc() == *network), "{networks:?}");
        let written: String = networks.iter().map(|network| format!("{network} OK\n")).collect();
        assert_eq!(networks_of(&written, true), Ok(networks), "written as {written:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (word, expected) in [
            ("127.0.0.0/8", "127.0.0.0/8"),
            ("[::1]/128", "::1/128"),
            ("[2001:db8::]/32", "2001:db8::/32"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("[::1]", "::1/128"),
        ] {
            assert_eq!(network(word), Some(expected.parse().unwrap()), "{word}");
        }
        assert_eq!(network("hash:/x"), None);
        assert_eq!(network("mail.a.test"), None);
    }

    #[test]
    fn files() {
        let nets = ["10.0.0.0/8", "192.0.2.0/24"].map(|net| net.parse::<IpNet>().unwrap());
        assert_eq!(networks_of("# x\n10.0.0.0/8\n192.0.2.0/24\n", false).unwrap(), nets);
        assert_eq!(networks_of("10.0.0.0/8 OK\n192.0.2.0/24 permit it\n", true).unwrap(), nets);
        assert!(networks_of("!10.0.0.0/8\n", false).is_err());
        assert!(networks_of("if 10.0.0.0/8\n", true).is_err());
    }
}
