//! The servers behind a route: their addresses, and which of them are worth trying.

use std::{
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use super::{
    conversation::Protocol,
    destination::{self, Destination, Host},
    trouble::Trouble,
};
use crate::net::{Failover, Resolver};

/// Addresses in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) list: Vec<Server>,
    pub(super) health: Failover,
}

/// One address.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) protocol: Protocol,
    pub(super) place: Place,
    /// The name that its certificate has to have; `None` on a unix socket.
    pub(super) host: Option<Host>,
    /// TLS, which it offers, failed then.
    no_tls: Mutex<Option<Instant>>,
    /// Somebody finds out why it is silent.
    pub(super) looked_into: AtomicBool,
}

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Servers {
    /// Looks all of them up. Those of which nothing can be found out are left out, unless that is all of them.
    pub(super) async fn find(route: &[Destination], dns: &Resolver) -> Result<Self, Trouble> {
        let mut list: Vec<Server> = Vec::new();
        let mut trouble = None;
        for destination in route {
            match places(destination, dns).await {
                Ok(places) => {
                    for (place, host) in places {
                        if !list.iter().any(|known| known.place == place) {
                            let protocol = destination.protocol;
                            let (no_tls, looked_into) = Default::default();
                            list.push(Server { protocol, place, host, no_tls, looked_into });
                        }
                    }
                }
                Err(error) => trouble = Some(error),
            }
        }
        list.truncate(MOST);
        match trouble {
            Some(trouble) if list.is_empty() => Err(trouble),
            _ => Ok(Self { health: Failover::new(list.len()), list }),
        }
    }

    /// Whether these are the same addresses.
    pub(super) fn same(&self, other: &Self) -> bool {
        let key = |server: &Server| (server.place.clone(), server.protocol, server.host.clone());
        self.list.iter().map(key).eq(other.list.iter().map(key))
    }
}

impl Server {
    /// Whether STARTTLS is worth a try, where a plain connection would do.
    pub(super) fn may_use_tls(&self) -> bool {
        let failed = self.no_tls.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_none_or(|at| at.elapsed() > NO_TLS)
    }

    /// The handshake failed.
    pub(super) fn tls_failed(&self) {
        *self.no_tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// For logs: `mail.example.com (192.0.2.1:25)`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, &self.place) {
            (Some(Host::Name(name)), Place::Tcp(address)) => write!(f, "{name} ({address})"),
            (_, Place::Tcp(address)) => address.fmt(f),
            (_, Place::Unix(path)) => write!(f, "unix:{}", path.display().to_string().escape_debug()),
        }
    }
}

async fn places(destination: &Destination, dns: &Resolver) -> Result<Vec<(Place, Option<Host>)>, Trouble> {
    let (hosts, port) = match &destination.place {
        destination::Place::Unix(path) => return Ok(vec![(Place::Unix(path.clone()), None)]),
        destination::Place::Host(host, port) => (vec![host.clone()], *port),
        destination::Place::Exchangers(domain, port) => {
            let names = dns.mail_exchangers(domain.as_str()).await?;
            let names = names.iter().filter_map(|name| crate::address::Domain::parse(name).ok());
            (names.take(MOST).map(Host::Name).collect(), *port)
        }
    };
    let mut places = Vec::new();
    let mut trouble = None;
    for host in hosts {
        let found = match &host {
            Host::Address(address) => Ok(vec![*address]),
            Host::Name(name) => dns.addresses(name.as_str()).await,
        };
        match found {
            Ok(mut addresses) => {
                // Answers come in any order, and what is known of them goes by their place in the list.
                addresses.sort();
                places.extend(
                    addresses
                        .into_iter()
                        .map(|address| (Place::Tcp((address, port).into()), Some(host.clone()))),
                );
            }
            Err(error) => trouble = Some(error),
        }
    }
    match trouble {
        Some(error) if places.is_empty() => Err(error.into()),
        _ => Ok(places),
    }
}

/// Addresses of one route.
const MOST: usize = 16;
/// After a failed handshake plain connections are made for so long.
const NO_TLS: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_need_no_dns_and_are_told_apart() {
        let find = async |texts: &[&str]| {
            let route: Vec<Destination> = texts.iter().map(|text| text.parse().unwrap()).collect();
            Servers::find(&route, &Resolver::default()).await.unwrap()
        };
        let servers = find(&["192.0.2.1:26", "[2001:db8::1]", "lmtp:unix:/run/x", "192.0.2.1:26"]).await;
        let shown: Vec<String> = servers.list.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.1:26", "[2001:db8::1]:25", "unix:/run/x"]);
        assert!(servers.same(&find(&["192.0.2.1:26", "[2001:db8::1]", "lmtp:unix:/run/x"]).await));
        assert!(!servers.same(&find(&["192.0.2.1:26"]).await));
        let server = &servers.list[0];
        assert!(server.may_use_tls());
        server.tls_failed();
        assert!(!server.may_use_tls());
    }
}
