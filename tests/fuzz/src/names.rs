//! Names of clients, as the DNS and HELO give them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use backstop::{
    client::{Names, Pattern},
    policy::ClientClass,
};

/// The first byte chooses the family; then comes an address, then a name.
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
    let names = Names::default();
    let judged = names.judge(client, &name);
    assert!(matches!(judged.class, ClientClass::Server | ClientClass::Generic | ClientClass::Dynamic));
    let rule = judged.rule.to_string();
    assert!(!rule.chars().any(char::is_control), "{rule:?}");
    let _ = (names.vouches(client, &name), names.excepted(&name), name.parse::<Pattern>());
}
