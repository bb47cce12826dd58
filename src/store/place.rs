//! Where the store is, as its URL says.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Host, Url};

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `embedded:/DIRECTORY`: files of this host.
    Embedded(PathBuf),
    /// `redis://[USER@]HOST[:PORT][/DATABASE]`, `rediss://…` with TLS, or `redis+unix:/SOCKET[?db=DATABASE&user=USER]`: a
    /// server that speaks the protocol of Redis.
    Redis(Server),
}

/// A Redis server, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub(super) way: Way,
    /// `None`: who has the password is `default`.
    pub(super) user: Option<String>,
    pub(super) database: u16,
}

/// How to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

/// Not the address of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Of no kind that is known.
    #[error(
        "a store is written embedded:/DIRECTORY (an absolute path), redis://[USER@]HOST[:PORT][/DATABASE], rediss://… \
         with TLS, or redis+unix:/SOCKET"
    )]
    Form,
    /// Not a URL.
    #[error(transparent)]
    Url(#[from] url::ParseError),
    /// In it.
    #[error(
        "whoever sees the configuration would see the password: write it into a file, and name that in password_file"
    )]
    Password,
    /// Redis numbers its databases.
    #[error("the database is a number, as in redis://HOST/1")]
    Database,
    /// Behind a question mark.
    #[error("nothing is known to come behind the question mark but, with redis+unix:, db= and user=")]
    Parameter,
}

impl Server {
    pub(super) fn has_tls(&self) -> bool {
        matches!(self.way, Way::Tcp { tls: true, .. })
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (scheme, rest) = text.split_once(':').ok_or(PlaceError::Form)?;
        match scheme {
            "embedded" if rest.starts_with('/') => Ok(Self::Embedded(rest.into())),
            "redis" | "rediss" => tcp(&Url::parse(text)?).map(Self::Redis),
            "redis+unix" => unix(rest).map(Self::Redis),
            _ => Err(PlaceError::Form),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match self {
            Self::Embedded(path) => return write!(f, "embedded:{}", path.display()),
            Self::Redis(server) => server,
        };
        match &server.way {
            Way::Tcp { host, port, tls } => {
                f.write_str(if *tls { "rediss://" } else { "redis://" })?;
                if let Some(user) = &server.user {
                    write!(f, "{user}@")?;
                }
                if host.contains(':') {
                    write!(f, "[{host}]:{port}")?;
                } else {
                    write!(f, "{host}:{port}")?;
                }
                if server.database > 0 {
                    write!(f, "/{}", server.database)?;
                }
                Ok(())
            }
            Way::Unix(path) => {
                write!(f, "redis+unix:{}", path.display())?;
                let database = (server.database > 0).then(|| format!("db={}", server.database));
                let user = server.user.as_ref().map(|user| format!("user={user}"));
                let parameters: Vec<_> = database.into_iter().chain(user).collect();
                if parameters.is_empty() { Ok(()) } else { write!(f, "?{}", parameters.join("&")) }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn tcp(url: &Url) -> Result<Server, PlaceError> {
    if url.password().is_some() {
        return Err(PlaceError::Password);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(PlaceError::Parameter);
    }
    let host = match url.host().ok_or(PlaceError::Form)? {
        Host::Domain("") => return Err(PlaceError::Form),
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    let user = (!url.username().is_empty()).then(|| url.username().to_owned());
    let way = Way::Tcp { host, port: url.port().unwrap_or(PORT), tls: url.scheme() == "rediss" };
    Ok(Server { way, user, database: database(url.path().trim_start_matches('/'))? })
}

fn unix(rest: &str) -> Result<Server, PlaceError> {
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    // As in file:///PATH.
    let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(PlaceError::Form);
    }
    let mut server = Server { way: Way::Unix(path.into()), user: None, database: 0 };
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("db", number)) => server.database = database(number)?,
            Some(("user", user)) if !user.is_empty() => server.user = Some(user.to_owned()),
            _ => return Err(PlaceError::Parameter),
        }
    }
    Ok(server)
}

fn database(text: &str) -> Result<u16, PlaceError> {
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| PlaceError::Database) }
}

/// That of Redis, with TLS as well.
const PORT: u16 = 6379;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back_as_written() {
        for text in [
            "embedded:/var/lib/backstop",
            "embedded:/",
            "redis://127.0.0.1:6379",
            "redis://backstop@redis.example.com:6380/15",
            "rediss://[2001:db8::1]:6379/1",
            "redis+unix:/run/redis/redis.sock",
            "redis+unix:/run/redis.sock?db=3&user=backstop",
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for (text, same) in [
            ("redis://h", "redis://h:6379"),
            ("redis://h/", "redis://h:6379"),
            ("rediss://h/0", "rediss://h:6379"),
            ("redis+unix:///run/redis.sock", "redis+unix:/run/redis.sock"),
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), same);
        }
    }

    #[test]
    fn what_is_no_place_is_told() {
        for (text, part) in [
            ("", "embedded:/DIRECTORY"),
            ("embedded:", "absolute"),
            ("embedded:state", "absolute"),
            ("/var/lib/backstop", "embedded:"),
            ("redis//x", "redis://"),
            ("memcached://x", "redis://"),
            ("redis:h", "redis://"),
            ("redis:///1", "redis://"),
            ("redis://h:99999", "port"),
            ("redis://u:secret@h", "password_file"),
            ("redis://:secret@h", "password_file"),
            ("redis://h/mail", "number"),
            ("redis://h/70000", "number"),
            ("redis://h?db=1", "question mark"),
            ("redis+unix:run/x", "redis+unix:/SOCKET"),
            ("redis+unix://host/x", "redis+unix:/SOCKET"),
            ("redis+unix:/x?password=secret", "question mark"),
        ] {
            let error = text.parse::<Place>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
