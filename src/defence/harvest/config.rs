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
    /// So many different unknown recipients within the window (eight times as many for all of an IPv6 /48) …
    pub unknown: u32,
    /// … that are at least this share, 0 to 1, of all recipients that the client asked for.
    pub ratio: f64,
    /// How far back counts go; 1 s to 30 days. Processes that share a store need the same.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
    /// How long a client is blocked; 1 s to 30 days.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub block: Duration,
    /// So many different unknown recipients within the window, asked for by at least 50 clients together and not by
    /// [reports](harvest.md#what-is-counted), are a distributed harvest; for each single client the limit is a
    /// quarter then. `0` for never.
    pub distributed: u32,
    /// Networks of clients that are neither counted nor blocked; not trusted otherwise.
    pub except: Vec<String>,
    /// Count and block clients with private, shared or loopback addresses (RFC 1918, 6598, 4193) as well. Behind a
    /// proxy or address translation everybody has the same one.
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
