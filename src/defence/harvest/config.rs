//! `[defence.harvest]`, as written.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// `[defence.harvest]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Count and block.
    pub enabled: bool,
    /// So many unknown recipients within the window …
    pub unknown: u32,
    /// … and at least this share of all.
    pub ratio: f64,
    /// How far back counts go.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
    /// How long a client is blocked.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub block: Duration,
    /// So many unknown recipients within the window, of all clients together, are a distributed harvest. 0: none is.
    pub distributed: u32,
    /// Networks of clients that are neither counted nor blocked.
    pub except: Vec<String>,
    /// Clients with private addresses are counted and blocked like others.
    pub private: bool,
}

impl Default for Config {
    fn default() -> Self {
        let hour = Duration::from_secs(60 * 60);
        Self {
            enabled: true,
            unknown: 20,
            ratio: 0.5,
            window: hour,
            block: hour,
            distributed: 500,
            except: Vec::new(),
            private: false,
        }
    }
}

impl Config {
    /// Tells `say` which key can't be used, and why.
    pub fn check(&self, say: &mut dyn FnMut(&'static str, String)) {
        if self.unknown == 0 {
            say("unknown", "must be at least 1; `enabled = false` switches the defence off".to_owned());
        }
        if !(0.0..=1.0).contains(&self.ratio) {
            say("ratio", "is a share: from 0 to 1".to_owned());
        }
        for (key, value) in [("window", self.window), ("block", self.block)] {
            if !(SHORTEST..=LONGEST).contains(&value) {
                say(
                    key,
                    format!("must be from {SHORTEST:?} to 720h (30 days): no count and no block is for ever"),
                );
            }
        }
        for text in self.except.iter().filter(|text| network(text).is_none()) {
            say(
                "except",
                match text.parse::<IpNet>() {
                    Ok(net) => format!(
                        "`{text}` has bits set beyond its prefix length; did you mean {}?",
                        net.trunc()
                    ),
                    Err(_) => format!("`{text}` is not a network; write it like 192.0.2.0/24 or 2001:db8::1"),
                },
            );
        }
    }

    pub(super) fn excepted(&self) -> Vec<IpNet> {
        self.except.iter().filter_map(|text| network(text)).collect()
    }
}

fn network(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.ok().or_else(|| text.parse().ok()).filter(|network| network.trunc() == *network)
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_used_is_told() {
        let complaints = |config: Config| {
            let mut keys = Vec::new();
            config.check(&mut |key, _| keys.push(key));
            keys
        };
        let good = Config::default();
        assert_eq!(complaints(good.clone()), [""; 0]);
        for (bad, key) in [
            (Config { unknown: 0, ..good.clone() }, "unknown"),
            (Config { ratio: 1.01, ..good.clone() }, "ratio"),
            (Config { ratio: f64::NAN, ..good.clone() }, "ratio"),
            (Config { window: Duration::ZERO, ..good.clone() }, "window"),
            (Config { block: LONGEST * 2, ..good.clone() }, "block"),
            (Config { except: vec!["192.0.2.1/24".to_owned()], ..good.clone() }, "except"),
            (Config { except: vec!["mx.example".to_owned()], ..good.clone() }, "except"),
        ] {
            assert_eq!(complaints(bad), [key]);
        }
        let except = ["192.0.2.0/24", "2001:db8::1"].map(str::to_owned).to_vec();
        assert_eq!(complaints(Config { except, ..good }), [""; 0]);
    }
}
