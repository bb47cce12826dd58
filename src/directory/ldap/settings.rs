//! `[directory.NAME.ldap]`, as meant: what is wrong with it is found here, once.
//!
//! Reads the files that it names, connects nowhere. Failure: a [`SettingError`] for each key that can't be used.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ClientConfig;

use super::{Config, Mechanism, filter::FilterError};
use crate::net::{TlsError, TlsOptions, client_config};

/// How servers are reached, and as whom.
#[derive(Debug)]
pub(in crate::directory) struct Access {
    /// In the order of preference; never empty.
    pub(super) servers: Box<[Server]>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) bind: Bind,
    /// The password may be sent over a plain connection.
    pub(super) allow_plain: bool,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) place: Place,
    pub(super) security: Security,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A name or address (IPv6 without brackets), and a port.
    Tcp { host: String, port: u16 },
    /// A socket on this host.
    Unix(PathBuf),
}

/// Who can read what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// Whoever is on the way; with a unix socket, nobody.
    Plain,
    /// TLS from the first byte.
    Tls,
    /// TLS from the first request on (RFC 4511 §4.14).
    StartTls,
}

/// Who asks (RFC 4513 §5).
#[derive(Debug)]
pub(super) enum Bind {
    Anonymous,
    Simple { dn: String, password: Password },
    External,
    Gssapi,
}

/// A password in a file, which may change.
pub(super) struct Password {
    file: PathBuf,
    /// What could be read last.
    last: Mutex<Arc<str>>,
}

/// A password that can't be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::directory) enum PasswordError {
    /// The file can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A bind without a password is one without a name: whoever sends it sees what anybody sees (RFC 4513 §5.1.2).
    #[error("{}: is empty", .0.display())]
    Empty(PathBuf),
    /// More than a password.
    #[error("{}: holds more than one line", .0.display())]
    Lines(PathBuf),
}

/// A setting that can't be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::directory) enum SettingError {
    #[error("names no server")]
    NoServer,
    #[error("{0:?} is no server: {1}")]
    Url(String, UrlError),
    #[error(
        "the password would go over a connection that others can read: use ldaps://, or start_tls = true, or allow_plain = true"
    )]
    PlainPassword,
    #[error("needs ldap:// URLs: ldaps:// is secure from the start, and ldapi:// never leaves the host")]
    StartTls,
    #[error("{0:?} is no distinguished name such as \"dc=example,dc=com\"")]
    Base(String),
    #[error("needs a password_file")]
    NoPassword,
    #[error("needs a bind_dn")]
    NoName,
    #[error("with sasl the server knows who asks in another way: leave bind_dn and password_file out")]
    TwoBinds,
    #[error("\"external\" needs a certificate (cert_file and key_file) over TLS, or ldapi:// URLs")]
    External,
    #[error(
        "\"gssapi\" needs plain ldap:// URLs without start_tls, with the server's full name: Kerberos itself seals the connection"
    )]
    GssapiTransport,
    #[error("this program was built without GSSAPI (cargo feature `gssapi`)")]
    GssapiBuild,
    #[error("{0}")]
    Password(PasswordError),
    #[error("{0}")]
    Tls(TlsError),
    #[error("needs the other one of cert_file and key_file, too")]
    HalfIdentity,
    #[error("{0}")]
    Filter(FilterError),
    #[error("{0:?} is no name of an attribute")]
    Attribute(String),
    #[error("an empty list would find nobody")]
    NoAttributes,
    #[error("is for schema = \"active-directory\"; with another schema use suspended_filter")]
    SuspendedWhen,
    #[error(
        "must be more than 0 and at most {LONGEST_DEADLINE:?}: Sendmail gives up waiting for an answer after 10 s"
    )]
    Deadline,
    #[error("must be 1 to {0}")]
    Number(u32),
}

/// Not the address of an LDAP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::directory) enum UrlError {
    #[error("it begins with ldap://, ldaps:// or ldapi://")]
    Scheme,
    #[error("a name or address has to follow")]
    Host,
    #[error("the port is a number from 1 to 65535")]
    Port,
    #[error("it ends with the host; base and filter are keys of their own")]
    More,
    #[error("the socket's path is written like ldapi://%2Frun%2Fslapd%2Fldapi")]
    Socket,
}

impl Access {
    /// How `config` wants servers to be reached; `say` is told what can't be used.
    pub(super) fn read(config: &Config, say: &mut dyn FnMut(&'static str, SettingError)) -> Option<Self> {
        let mut sound = true;
        let mut say = |key, error| {
            sound = false;
            say(key, error);
        };
        if config.urls.is_empty() {
            say("urls", SettingError::NoServer);
        }
        let mut servers = Vec::with_capacity(config.urls.len());
        for url in &config.urls {
            match Server::parse(url, config.start_tls) {
                Ok(server) => servers.push(server),
                Err(error) => say("urls", SettingError::Url(url.clone(), error)),
            }
        }
        if config.start_tls && servers.iter().any(|server| server.security != Security::StartTls) {
            say("start_tls", SettingError::StartTls);
        }
        let tls = tls(config, &servers, &mut say);
        let bind = bind(config, &servers, &mut say);
        let (tls, bind) = (tls?, bind?);
        sound.then(|| Self { servers: servers.into(), tls, bind, allow_plain: config.allow_plain })
    }
}

impl Server {
    /// Reads the URL of a server: `ldap://HOST[:PORT]`, `ldaps://HOST[:PORT]`, `ldapi://PATH`, with at most a slash
    /// behind it.
    ///
    /// # Errors
    /// [`UrlError`]
    pub(super) fn parse(url: &str, start_tls: bool) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let host = rest.strip_suffix('/').unwrap_or(rest);
        if host.contains(['/', '?', '#', '@']) {
            return Err(UrlError::More);
        }
        let (port, security) = match scheme.to_ascii_lowercase().as_str() {
            "ldap" if start_tls => (389, Security::StartTls),
            "ldap" => (389, Security::Plain),
            "ldaps" => (636, Security::Tls),
            "ldapi" => {
                let path = PathBuf::from(percent_decode(host).ok_or(UrlError::Socket)?);
                if !path.is_absolute() {
                    return Err(UrlError::Socket);
                }
                return Ok(Self { place: Place::Unix(path), security: Security::Plain });
            }
            _ => return Err(UrlError::Scheme),
        };
        let (host, port) = host_and_port(host, port)?;
        Ok(Self { place: Place::Tcp { host, port }, security })
    }

    /// Whether others can read what is sent to it.
    pub(super) fn is_readable(&self) -> bool {
        self.security == Security::Plain && matches!(self.place, Place::Tcp { .. })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Unix(path) => write!(f, "ldapi:{}", path.display()),
            Place::Tcp { host, port } => {
                let scheme = if self.security == Security::Tls { "ldaps" } else { "ldap" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}

impl Password {
    /// Reads the file; its last line break does not count.
    ///
    /// # Errors
    /// [`PasswordError`]
    pub(super) fn open(file: &Path) -> Result<Self, PasswordError> {
        let last = Mutex::new(read_password(file)?.into());
        Ok(Self { file: file.to_owned(), last })
    }

    /// What is in the file now; while that can't be used, what was there before.
    pub(super) fn current(&self) -> Arc<str> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(password) = read_password(&self.file) {
            *last = password.into();
        }
        Arc::clone(&last)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Password").field(&self.file).finish()
    }
}

/// Tells `say` what is wrong with everything but the servers.
pub(super) fn check(config: &Config, say: &mut dyn FnMut(&'static str, SettingError)) {
    if !config.base.is_empty() && !is_name(&config.base) {
        say("base", SettingError::Base(config.base.clone()));
    }
    if config.deadline.is_zero() || config.deadline > LONGEST_DEADLINE {
        say("deadline", SettingError::Deadline);
    }
    if config.connections == 0 || config.connections > MOST_CONNECTIONS as usize {
        say("connections", SettingError::Number(MOST_CONNECTIONS));
    }
    if config.page_size == 0 || config.page_size > LARGEST_PAGE {
        say("page_size", SettingError::Number(LARGEST_PAGE));
    }
}

/// Whether this can be an attribute's name (RFC 4512 §2.5): a word or an OID, without options.
pub(super) fn is_attribute(name: &str) -> bool {
    let word = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let oid = || {
        !name.is_empty()
            && name.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()))
    };
    word || oid()
}

fn tls(
    config: &Config,
    servers: &[Server],
    say: &mut dyn FnMut(&'static str, SettingError),
) -> Option<Arc<ClientConfig>> {
    let identity = match (&config.cert_file, &config.key_file) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => {
            say("cert_file", SettingError::HalfIdentity);
            None
        }
        (None, Some(_)) => {
            say("key_file", SettingError::HalfIdentity);
            None
        }
    };
    let named = config.ca_file.is_some() || identity.is_some();
    let used = servers.iter().any(|server| server.security != Security::Plain);
    let options = TlsOptions {
        ca_file: config.ca_file.clone(),
        // Without TLS the system's authorities need not be there.
        accept_any: !config.verify_certificate || !(used || named || config.follow_referrals),
        identity,
    };
    let key = match (&config.ca_file, &config.cert_file) {
        (Some(_), _) => "ca_file",
        (None, Some(_)) => "cert_file",
        (None, None) => "urls",
    };
    client_config(&options)
        .map_err(|error| say(key_of(&error, config).unwrap_or(key), SettingError::Tls(error)))
        .ok()
}

/// The key that names the file which can't be used.
fn key_of(error: &TlsError, config: &Config) -> Option<&'static str> {
    let (TlsError::File { path, .. } | TlsError::Certificate { path, .. } | TlsError::Empty(path)) = error
    else {
        return None;
    };
    [("ca_file", &config.ca_file), ("cert_file", &config.cert_file), ("key_file", &config.key_file)]
        .into_iter()
        .find_map(|(key, file)| (file.as_ref() == Some(path)).then_some(key))
}

fn bind(
    config: &Config,
    servers: &[Server],
    say: &mut dyn FnMut(&'static str, SettingError),
) -> Option<Bind> {
    if let Some(mechanism) = config.sasl {
        if config.bind_dn.is_some() || config.password_file.is_some() {
            say("sasl", SettingError::TwoBinds);
        }
        return match mechanism {
            Mechanism::External => {
                let proven = |server: &Server| match server.place {
                    Place::Unix(_) => true,
                    Place::Tcp { .. } => server.security != Security::Plain && config.cert_file.is_some(),
                };
                if !servers.iter().all(proven) {
                    say("sasl", SettingError::External);
                }
                Some(Bind::External)
            }
            Mechanism::Gssapi => {
                if cfg!(not(feature = "gssapi")) {
                    say("sasl", SettingError::GssapiBuild);
                }
                if !servers.iter().all(Server::is_readable) {
                    say("sasl", SettingError::GssapiTransport);
                }
                Some(Bind::Gssapi)
            }
        };
    }
    match (&config.bind_dn, &config.password_file) {
        (None, None) => Some(Bind::Anonymous),
        (Some(_), None) => {
            say("bind_dn", SettingError::NoPassword);
            None
        }
        (None, Some(_)) => {
            say("password_file", SettingError::NoName);
            None
        }
        (Some(dn), Some(file)) => {
            if !config.allow_plain && servers.iter().any(Server::is_readable) {
                say("urls", SettingError::PlainPassword);
            }
            let password =
                Password::open(file).map_err(|error| say("password_file", SettingError::Password(error)));
            // Active Directory also takes `user@domain` and `DOMAIN\user`, so the name is not looked at.
            Some(Bind::Simple { dn: dn.clone(), password: password.ok()? })
        }
    }
}

fn read_password(file: &Path) -> Result<String, PasswordError> {
    let read = fs::read_to_string(file);
    let mut text = read.map_err(|error| PasswordError::Read { path: file.to_owned(), error })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(PasswordError::Empty(file.to_owned()));
    }
    if text.contains(['\n', '\0']) {
        return Err(PasswordError::Lines(file.to_owned()));
    }
    Ok(text)
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(UrlError::Host)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
            (address, port)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(named) {
        return Err(UrlError::Host);
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        None => return Err(UrlError::Host),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|&port| port != 0).ok_or(UrlError::Port)?
        }
        Some(_) => return Err(UrlError::Port),
    };
    Ok((host.to_owned(), port))
}

/// `%2F` is `/` (RFC 3986 §2.1); `None` if that makes no text.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            u8::try_from(digit()? << 4 | digit()?).ok()?
        } else {
            byte
        });
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.contains('\0')).then_some(decoded)
}

/// Whether it looks like a distinguished name (RFC 4514): each part has a type and an equals sign. An escaped comma may
/// be in a value.
fn is_name(text: &str) -> bool {
    let mut escaped = false;
    let mut part = String::new();
    let mut parts = Vec::new();
    for character in text.chars() {
        if character == ',' && !escaped {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(character);
        }
        escaped = character == '\\' && !escaped;
    }
    parts.push(part);
    parts.iter().all(|part| part.split_once('=').is_some_and(|(kind, _)| is_attribute(kind.trim())))
}

/// As for `limits.lookup`.
const LONGEST_DEADLINE: Duration = Duration::from_secs(8);
/// More would ask for more than a directory server gives to one client.
const MOST_CONNECTIONS: u32 = 256;
/// Active Directory gives 1000 at most, OpenLDAP 500 unless told otherwise.
const LARGEST_PAGE: u32 = 100_000;
