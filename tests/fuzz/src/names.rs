//! Names of clients, as the DNS and HELO give them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use backstop::{
    client::{Dynamic, Names, Rule},
    files::{Keeper, Metrics},
    policy::ClientClass,
    telemetry::Registry,
};

/// The first byte chooses the family; then comes an address, then a name. Large and small letters, a dot at the end, and how an
/// IPv4 address is written make no difference; what an admin has said of names is said of those below them, and of no others.
pub(crate) fn run(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let (client, name): (IpAddr, &[u8]) = if choice % 2 == 0 {
        let Some((octets, name)) = bytes.split_first_chunk::<4>() else { return };
        (Ipv4Addr::from(*octets).into(), name)
    } else {
        let Some((octets, name)) = bytes.split_first_chunk::<16>() else { return };
        (Ipv6Addr::from(*octets).into(), name)
    };
    let name = String::from_utf8_lossy(name);
    judged(&Names::default(), client, &name);
    judged(&CONFIGURED, client, &name);
}

fn judged(names: &Names, client: IpAddr, name: &str) {
    let of = |client, name: &str| {
        let excepted = names.excepted(name).map(str::to_owned);
        (names.judge(client, name), names.vouches(client, name), excepted)
    };
    let (judged, vouches, excepted) = of(client, name);
    assert!(matches!(judged.class, ClientClass::Server | ClientClass::Generic | ClientClass::Dynamic));
    let rule = judged.rule.to_string();
    assert!(!rule.chars().any(char::is_control), "{rule:?}");
    assert!(!vouches || judged.class == ClientClass::Server, "{name:?} vouches as {judged:?}");
    if let Some(entry) = &excepted {
        assert!(is_below(name, entry), "{name:?} is excepted by {entry:?}");
    }
    if let Rule::Pattern(pattern) = &judged.rule {
        assert!(pattern.starts_with('/') || is_below(name, pattern), "{name:?} is {pattern:?}");
    }
    // A longer one is none, and cut.
    if name.len() <= LONGEST && is_below(name, "good.example.net") {
        assert_eq!(excepted.is_some(), names.excepted("good.example.net").is_some(), "{name:?}");
    }

    let first = (judged, vouches, excepted);
    assert_eq!(of(client, &name.to_ascii_uppercase()), first, "{name:?} in large letters");
    assert_eq!(of(client, &name.to_ascii_lowercase()), first, "{name:?} in small letters");
    if !name.ends_with('.') {
        assert_eq!(of(client, &format!("{name}.")), first, "{name:?} with a dot at its end");
    }
    if let IpAddr::V4(address) = client {
        assert_eq!(of(address.to_ipv6_mapped().into(), name), first, "{name:?} of {address} as IPv6");
    }
}

/// Whether a name is this one, or below it; below it alone, if it has a dot before it.
fn is_below(name: &str, entry: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let end = entry.strip_prefix('.').unwrap_or(entry);
    let is_itself = name == end && !entry.starts_with('.');
    is_itself || name.strip_suffix(end).is_some_and(|before| before.ends_with('.'))
}

/// RFC 1035 §2.3.4, without a dot at the end.
const LONGEST: usize = 253;

static CONFIGURED: LazyLock<Names> = LazyLock::new(|| {
    let patterns = ["pool.example.net", ".dyn.example.org", "/^line[0-9]+\\./"];
    let config = Dynamic {
        patterns: patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect(),
        except: ["good.example.net", ".static.example.org"].map(str::to_owned).to_vec(),
        ..Dynamic::default()
    };
    let keeper = Keeper::new(Metrics::register(&Registry::default()));
    Names::build(&config, &keeper).expect("nothing but patterns")
});
