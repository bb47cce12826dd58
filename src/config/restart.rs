//! Which keys a reload leaves as they are: where to listen, and the store. All others it puts in force.

use serde_json::{Map, Value};

use super::{Config, show::leaves};

/// What a changed configuration comes to while the process runs.
#[derive(Debug, Clone)]
pub struct Reloadable {
    /// The new one, with the old values of what needs a restart.
    pub config: Config,
    /// The changed keys that need one, by their full names.
    pub needs_restart: Vec<String>,
}

impl Reloadable {
    /// What may be put in force of `new` where `old` is.
    #[must_use]
    pub fn new(old: &Config, new: Config) -> Self {
        let needs_restart = changed(old, &new).into_iter().filter(|key| needs_restart(key)).collect();
        let mut config = new;
        config.listen.clone_from(&old.listen);
        config.http.listen = old.http.listen;
        config.control.socket.clone_from(&old.control.socket);
        config.control.trust_socket.clone_from(&old.control.trust_socket);
        config.store.clone_from(&old.store);
        Self { config, needs_restart }
    }
}

/// The keys with different values, sorted.
fn changed(old: &Config, new: &Config) -> Vec<String> {
    let (old, new) = (flat(old), flat(new));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

fn flat(config: &Config) -> Map<String, Value> {
    let whole = serde_json::to_value(config).expect("a configuration can be written as JSON");
    let mut flat = Map::new();
    leaves(&whole, &mut Vec::new(), &mut |path, value| {
        flat.insert(path.join("."), value.clone());
    });
    flat
}

/// Whether a reload leaves the key (its full name) as it is.
#[must_use]
pub fn needs_restart(key: &str) -> bool {
    FIXED
        .iter()
        .any(|fixed| key.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

const FIXED: [&str; 5] = ["listen", "http.listen", "control.socket", "control.trust_socket", "store"];

#[cfg(test)]
mod tests {
    use super::*;

    /// Each key that is named is left as it was, and nothing else is.
    #[test]
    fn what_is_named_is_what_stays() {
        let old = Config::default();
        let mut new = Config::default();
        new.listen.clear();
        new.http.listen = None;
        new.control.socket = "/x".into();
        new.control.trust_socket = "/y".into();
        new.store.prefix = "x:".to_owned();
        new.store.ca_file = Some("/z".into());
        new.control.group = "mail".to_owned();
        new.limits.sessions = 7;
        let reloadable = Reloadable::new(&old, new.clone());
        let named = [
            "control.socket",
            "control.trust_socket",
            "http.listen",
            "listen",
            "store.ca_file",
            "store.prefix",
        ];
        assert_eq!(reloadable.needs_restart, named);
        assert_eq!(changed(&old, &reloadable.config), ["control.group", "limits.sessions"]);
        assert_eq!(changed(&reloadable.config, &new), named);
    }
}
