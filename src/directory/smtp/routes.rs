//! Which server a recipient's domain is asked of: the configuration's, or a transport map's, which is read again when it
//! changed.
//!
//! A map is looked at when it is needed, at most once a second, and read off the runtime's threads. One that can't be read
//! or understood any more changes nothing but a notice: the old one stays in use.

use std::{
    fs::File,
    io::{self, BufReader},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::{
    Config, Trouble,
    destination::{Destination, DestinationError},
    transport::{Found, Hop, MapError, TransportMap},
};
use crate::address::{Address, DomainPattern};

/// What the configuration names.
#[derive(Debug)]
pub(super) struct Routes {
    /// `hosts`: the most specific first.
    hosts: Vec<(DomainPattern, Route)>,
    map: Option<Arc<MapFile>>,
    /// `host`
    rest: Option<Route>,
}

/// Servers, in order.
pub(super) type Route = Arc<[Destination]>;

/// A setting that can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteError {
    #[error(transparent)]
    Destination(#[from] DestinationError),
    #[error("{0:?} is not a domain: {1}")]
    Domain(String, crate::address::DomainError),
    #[error("{}: {error}{hint}", path.display(), hint = hint(path))]
    Map { path: PathBuf, error: MapError },
}

impl Routes {
    /// Reads the settings and the map. Tells `say` which key can't be used, and why.
    pub(super) fn build(config: &Config, say: &mut dyn FnMut(&'static str, RouteError)) -> Self {
        let mut route = |key, text: &str| match text.parse::<Destination>() {
            Ok(destination) => Some(Route::from([destination])),
            Err(error) => {
                say(key, error.into());
                None
            }
        };
        let rest = config.host.as_deref().and_then(|host| route("host", host));
        let routes: Vec<_> = config.hosts.iter().map(|(name, host)| (name, route("hosts", host))).collect();
        let mut hosts = Vec::new();
        for (name, route) in routes {
            match (DomainPattern::parse(name), route) {
                (Ok(pattern), Some(route)) => hosts.push((pattern, route)),
                (Ok(_), None) => {}
                (Err(error), _) => say("hosts", RouteError::Domain(name.clone(), error)),
            }
        }
        // A domain's own entry before those for all below one above it, the nearest of these first.
        hosts.sort_by_key(|(pattern, _)| {
            (pattern.subdomains(), std::cmp::Reverse(pattern.domain().as_str().len()))
        });
        let map = config.transport_map.as_ref().and_then(|path| match MapFile::open(path) {
            Ok(map) => Some(Arc::new(map)),
            Err(error) => {
                say("transport_map", RouteError::Map { path: path.clone(), error });
                None
            }
        });
        Self { hosts, map, rest }
    }

    /// The servers to ask about the address.
    pub(super) async fn find(&self, address: &Address) -> Result<Route, Trouble> {
        let domain = address.domain();
        if let Some((_, route)) = self.hosts.iter().find(|(pattern, _)| pattern.matches(domain)) {
            return Ok(Arc::clone(route));
        }
        if let Some(map) = &self.map {
            let map = map.current().await;
            match map.find(address) {
                Found::Hop(Hop::Servers(servers)) => return Ok(servers.as_slice().into()),
                Found::Hop(Hop::Domain(protocol)) => {
                    return Ok(Route::from([Destination::of_domain(*protocol, domain)]));
                }
                Found::Hop(Hop::Elsewhere) => return Err(Trouble::Elsewhere(domain.clone())),
                Found::Doubtful => return Err(Trouble::Doubtful(domain.clone())),
                Found::Nothing => {}
            }
        }
        self.rest.clone().ok_or_else(|| Trouble::NoHost(domain.clone()))
    }

    /// What an admin should know.
    pub(super) fn notice(&self) -> Option<String> {
        let map = self.map.as_ref()?;
        let error = map.state().error.clone()?;
        Some(format!("{} can't be read, what it said before counts: {error}", map.path.display()))
    }
}

/// What helps where main.cf's way of writing it was taken over.
fn hint(path: &Path) -> &'static str {
    if path.is_relative() && path.to_string_lossy().contains(':') {
        "; name the text file that the table is made from, without its type"
    } else {
        ""
    }
}

/// A map, followed.
#[derive(Debug)]
struct MapFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    map: Arc<TransportMap>,
    stamp: Stamp,
    looked: Instant,
    error: Option<String>,
}

/// What tells one state of a file from another: the change time can't be set back by programs.
type Stamp = (u64, u64, u64, i64, i64);

impl MapFile {
    fn open(path: &Path) -> Result<Self, MapError> {
        let (map, stamp) = read(path)?;
        let state = State { map: Arc::new(map), stamp, looked: Instant::now(), error: None };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// The map as it is now, give or take a second.
    async fn current(self: &Arc<Self>) -> Arc<TransportMap> {
        let due = {
            let mut state = self.state();
            let due = state.looked.elapsed() >= LOOK;
            if due {
                state.looked = Instant::now();
            }
            due
        };
        if due {
            let file = Arc::clone(self);
            // A panic in there leaves the old map.
            let _ = tokio::task::spawn_blocking(move || file.refresh()).await;
        }
        Arc::clone(&self.state().map)
    }

    fn refresh(&self) {
        let old = self.state().stamp;
        // Not opened for this: that would wait for ever where a pipe has taken its place.
        let result = match std::fs::metadata(&self.path) {
            Ok(found) if stamp(&found) == old => {
                self.state().error = None;
                return;
            }
            // It may still be being written.
            Ok(found) if age(&found) < QUIET => return,
            _ => read(&self.path),
        };
        let mut state = self.state();
        match result {
            Ok((map, stamp)) => {
                tracing::info!(path = %self.path.display(), "transport map read again");
                (state.map, state.stamp, state.error) = (Arc::new(map), stamp, None);
            }
            Err(error) => {
                let error = error.to_string();
                if state.error.as_ref() != Some(&error) {
                    tracing::error!(path = %self.path.display(), error, "transport map can't be read; the old one stays");
                }
                state.error = Some(error);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a file that does not change meanwhile.
fn read(path: &Path) -> Result<(TransportMap, Stamp), MapError> {
    // A pipe in its place would block for ever.
    let file = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(io::Error::other("not a file").into());
    }
    let map = TransportMap::read(BufReader::new(&file))?;
    if stamp(&file.metadata()?) != stamp(&before) {
        return Err(io::Error::other("it changes while it is read").into());
    }
    Ok((map, stamp(&before)))
}

fn stamp(found: &std::fs::Metadata) -> Stamp {
    (found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec())
}

fn age(found: &std::fs::Metadata) -> Duration {
    let changed =
        Duration::new(found.ctime().try_into().unwrap_or(0), found.ctime_nsec().try_into().unwrap_or(0));
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed).unwrap_or_default()
}

/// Between two looks at a map.
const LOOK: Duration = Duration::from_secs(1);
/// A file that changed less than this ago may not be whole.
const QUIET: Duration = Duration::from_secs(1);
