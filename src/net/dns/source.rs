//! Where a resolver's servers come from. Those that the system names change: with the network (DHCP, VPN), or when
//! systemd-resolved starts; so its files are looked at again now and then, by whoever asks.
//!
//! Files are read beside the async threads. Failure: what was read last stays in use, and is looked for again.

use std::{
    fs::{self, File},
    io::{self, Read},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::parse_resolv_conf,
};
use tracing::{debug, info};

use super::NameServer;

/// A resolver, made anew when the system's configuration changes.
pub(super) struct Source {
    server: NameServer,
    timeout: Option<Duration>,
    system: PathBuf,
    /// How often the system's files are looked at.
    every: Duration,
    made: Mutex<Made>,
}

/// What is in use.
#[derive(Default)]
struct Made {
    resolver: Option<Arc<TokioResolver>>,
    of: Option<Files>,
    looked: Option<Instant>,
}

/// What the system says: its resolver configuration, and when its hosts file changed.
#[derive(PartialEq, Eq)]
struct Files {
    servers: Vec<u8>,
    hosts: Option<(SystemTime, u64)>,
}

impl Source {
    /// Whom to ask.
    pub(super) fn server(&self) -> NameServer {
        self.server
    }

    pub(super) fn new(server: NameServer, timeout: Option<Duration>) -> Self {
        let made = Mutex::default();
        Self { server, timeout, system: RESOLV_CONF.into(), every: LOOK_AGAIN, made }
    }

    /// The resolver to ask now.
    pub(super) async fn current(self: Arc<Self>) -> Result<Arc<TokioResolver>, NetError> {
        if let Some(resolver) = self.in_use(Instant::now()) {
            return Ok(resolver);
        }
        match self.server {
            NameServer::System => {
                tokio::task::spawn_blocking(move || self.look()).await.map_err(io::Error::other)?
            }
            NameServer::At(address) => {
                let resolver = Arc::new(of_one_server(address, self.timeout)?);
                Ok(Arc::clone(self.made().resolver.get_or_insert(resolver)))
            }
        }
    }

    /// The one that is there, unless it is time to look whether it is still right; that does one, and the others go on.
    fn in_use(&self, now: Instant) -> Option<Arc<TokioResolver>> {
        let mut made = self.made();
        let resolver = made.resolver.clone()?;
        let is_due = made.looked.is_some_and(|looked| now >= looked + self.every);
        if is_due {
            made.looked = Some(now);
            return None;
        }
        Some(resolver)
    }

    fn look(&self) -> Result<Arc<TokioResolver>, NetError> {
        let changed = self.changed();
        let mut made = self.made();
        made.looked = Some(Instant::now());
        let file = self.system.display();
        match (changed, &made.resolver) {
            // Another one has looked meanwhile.
            (Ok(Some((_, files))), Some(before)) if made.of.as_ref() == Some(&files) => {
                Ok(Arc::clone(before))
            }
            (Ok(Some((resolver, files))), before) => {
                if before.is_some() {
                    info!(%file, "the system's resolver configuration changed");
                }
                made.of = Some(files);
                Ok(Arc::clone(made.resolver.insert(Arc::new(resolver))))
            }
            // It may be between two networks.
            (Err(error), Some(before)) => {
                debug!(%error, %file, "the system's resolver configuration can't be read");
                Ok(Arc::clone(before))
            }
            (Ok(None), Some(before)) => Ok(Arc::clone(before)),
            (Err(error), None) => Err(error),
            (Ok(None), None) => Err(io::Error::other("it was not read").into()),
        }
    }

    /// A resolver for what the files say, unless they say what they said.
    fn changed(&self) -> Result<Option<(TokioResolver, Files)>, NetError> {
        let files = self.read()?;
        if self.made().of.as_ref() == Some(&files) {
            return Ok(None);
        }
        let (config, options) = parse_resolv_conf(&files.servers)?;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok(Some((builder.build()?, files)))
    }

    fn read(&self) -> io::Result<Files> {
        let mut servers = Vec::new();
        File::open(&self.system)?.take(LONGEST).read_to_end(&mut servers)?;
        let hosts = fs::metadata(HOSTS).and_then(|file| Ok((file.modified()?, file.len()))).ok();
        Ok(Files { servers, hosts })
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_one_server(address: SocketAddr, timeout: Option<Duration>) -> Result<TokioResolver, NetError> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    let server = NameServerConfig::new(address.ip(), true, connections.into());
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    if let Some(timeout) = timeout {
        builder.options_mut().timeout = timeout;
    }
    builder.options_mut().attempts = 0;
    builder.build()
}

/// resolv.conf(5)
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// hosts(5)
const HOSTS: &str = "/etc/hosts";
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// More than any has; a file without an end is not read to its end.
const LONGEST: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use backstop_harness::{Dns, Netns, TempDir};

    use super::{super::Resolver, *};

    /// In a network of its own, since resolv.conf(5) can't name a port.
    #[test]
    fn changes_of_the_system_s_configuration_are_followed() {
        let (network, _other) = Netns::pair();
        network.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(follow());
        });
    }

    async fn follow() {
        let server = |last: u8| {
            let dns = Dns::start_at(SocketAddr::from(([127, 0, 0, last], 53)));
            dns.address_of("here.example", IpAddr::from([192, 0, 2, last]));
            dns
        };
        let (_one, _two) = (server(1), server(2));
        let dir = TempDir::new("resolv");
        let file = dir.write("resolv.conf", "nameserver 127.0.0.1\n");
        let source = |every| Source { system: file.clone(), every, ..Source::new(NameServer::System, None) };
        let of = |source| Resolver { source: Arc::new(source), turns: None };
        let (follows, waits) = (of(source(Duration::ZERO)), of(source(LOOK_AGAIN)));
        let found = async |dns: &Resolver| {
            let found = dns.addresses_v4("here.example.").await;
            found.map(|found| found.iter().map(|found| found.octets()[3]).collect::<Vec<_>>())
        };
        assert_eq!(found(&follows).await.unwrap(), [1]);
        assert_eq!(found(&waits).await.unwrap(), [1]);
        for (text, expected) in [
            ("nameserver 127.0.0.2\n", 2),
            ("nameserver 127.0.0.1\nsearch example.net\n", 1),
            // What makes no sense changes nothing.
            ("", 1),
            ("nameserver 127.0.0.2\n", 2),
        ] {
            dir.write("resolv.conf", text);
            assert_eq!(found(&follows).await.unwrap(), [expected], "{text}");
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(found(&follows).await.unwrap(), [2]);
        assert_eq!(found(&waits).await.unwrap(), [1], "it is not yet time to look again");
        assert!(found(&of(source(Duration::ZERO))).await.is_err(), "there never was one");
        dir.write("resolv.conf", "nameserver 127.0.0.1\n");
        assert_eq!(found(&follows).await.unwrap(), [1]);
    }
}
