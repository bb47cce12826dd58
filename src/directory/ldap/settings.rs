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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::write(at("password"), "secret\n").unwrap();
        fs::write(at("empty"), "\r\n").unwrap();
        fs::write(at("lines"), "one\ntwo\n").unwrap();
        fs::write(at("junk"), "no certificate").unwrap();
        let text = text.replace("DIR", &dir.path().display().to_string());
        let mut all = String::new();
        if !text.contains("urls") {
            all.push_str("urls = [\"ldapi://%2Frun%2Fldapi\"]\n");
        }
        if !text.contains("base") {
            all.push_str("base = \"dc=example,dc=com\"\n");
        }
        all.push_str(&text);
        let config: Config =
            figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(&all))
                .extract()
                .unwrap();
        let mut said = Vec::new();
        config.check(&mut |key, message| said.push((key.to_owned(), message)));
        said
    }

    #[test]
    fn urls() {
        let tcp = |host: &str, port, security| Server {
            place: Place::Tcp { host: host.to_owned(), port },
            security,
        };
        for (url, start_tls, server) in [
            ("ldap://dc1.example.com", false, tcp("dc1.example.com", 389, Security::Plain)),
            ("LDAP://dc1/", true, tcp("dc1", 389, Security::StartTls)),
            ("ldap://192.0.2.1:3268", false, tcp("192.0.2.1", 3268, Security::Plain)),
            ("ldaps://[2001:db8::1]", false, tcp("2001:db8::1", 636, Security::Tls)),
            ("ldaps://[2001:db8::1]:3269/", false, tcp("2001:db8::1", 3269, Security::Tls)),
            (
                "ldapi://%2Frun%2Fslapd%2fldapi",
                false,
                Server { place: Place::Unix("/run/slapd/ldapi".into()), security: Security::Plain },
            ),
        ] {
            assert_eq!(Server::parse(url, start_tls), Ok(server), "{url}");
        }
        for (url, error) in [
            ("dc1.example.com", UrlError::Scheme),
            ("http://dc1", UrlError::Scheme),
            ("ldap://", UrlError::Host),
            ("ldap:///", UrlError::Host),
            ("ldap://a b", UrlError::Host),
            ("ldap://[::1", UrlError::Host),
            ("ldap://[dc1]", UrlError::Host),
            ("ldap://[::1]x", UrlError::Host),
            ("ldap://dc1:", UrlError::Port),
            ("ldap://dc1:0", UrlError::Port),
            ("ldap://dc1:65536", UrlError::Port),
            ("ldap://dc1:+1", UrlError::Port),
            ("ldap://::1", UrlError::Host),
            ("ldap://1::1", UrlError::Port),
            ("ldap://dc1/dc=x", UrlError::More),
            ("ldap://dc1??sub", UrlError::More),
            ("ldap://joe@dc1", UrlError::More),
            ("ldapi:///", UrlError::Socket),
            ("ldapi://run", UrlError::Socket),
            ("ldapi://%2", UrlError::Socket),
            ("ldapi://%2Fa%00", UrlError::Socket),
        ] {
            assert_eq!(Server::parse(url, false), Err(error), "{url}");
        }
    }

    #[test]
    fn what_is_shown_of_a_server_can_be_read_back() {
        for url in ["ldap://dc1:389", "ldaps://[2001:db8::1]:636"] {
            assert_eq!(Server::parse(url, false).unwrap().to_string(), url);
        }
    }

    #[test]
    fn settings_that_fit() {
        let bind = "bind_dn = \"cn=b\"\npassword_file = \"DIR/password\"";
        for text in [
            String::new(),
            "base = \"\"".to_owned(),
            r#"base = "cn=a\\,b, o=x""#.to_owned(),
            bind.to_owned(),
            format!("urls = [\"ldap://x\"]\nstart_tls = true\nverify_certificate = false\n{bind}"),
            format!("urls = [\"ldap://x\"]\nallow_plain = true\n{bind}"),
            format!("urls = [\"ldaps://x\", \"ldapi://%2Fx\"]\nverify_certificate = false\n{bind}"),
            "sasl = \"external\"".to_owned(),
            "schema = \"active-directory\"\nsuspended_when = [\"disabled\"]".to_owned(),
            "deadline = \"8s\"\nconnections = 256\npage_size = 1".to_owned(),
            "attributes = [\"mail\", \"1.2.3\", \"x-y\"]".to_owned(),
        ] {
            assert_eq!(said(&text), [], "{text}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other() {
        for (text, keys, told) in [
            ("urls = []", &["urls"][..], "names no server"),
            ("urls = [\"dc1\", \"ldap://x/y\"]", &["urls", "urls"], "begins with ldap://"),
            (
                "urls = [\"ldaps://x\"]\nstart_tls = true\nverify_certificate = false",
                &["start_tls"],
                "needs ldap://",
            ),
            ("start_tls = true", &["start_tls"], "needs ldap://"),
            (
                "urls = [\"ldap://x\"]\nbind_dn = \"cn=b\"\npassword_file = \"DIR/password\"",
                &["urls"],
                "others can read",
            ),
            ("bind_dn = \"cn=b\"", &["bind_dn"], "needs a password_file"),
            ("password_file = \"DIR/password\"", &["password_file"], "needs a bind_dn"),
            (
                "bind_dn = \"cn=b\"\npassword_file = \"DIR/none\"",
                &["password_file"],
                "DIR/none: No such file",
            ),
            ("bind_dn = \"cn=b\"\npassword_file = \"DIR/empty\"", &["password_file"], "is empty"),
            ("bind_dn = \"cn=b\"\npassword_file = \"DIR/lines\"", &["password_file"], "more than one line"),
            ("sasl = \"external\"\nbind_dn = \"cn=b\"", &["sasl"], "in another way"),
            (
                "urls = [\"ldaps://x\"]\nsasl = \"external\"\nverify_certificate = false",
                &["sasl"],
                "needs a certificate",
            ),
            ("urls = [\"ldap://x\"]\nsasl = \"external\"", &["sasl"], "needs a certificate"),
            ("ca_file = \"DIR/none\"", &["ca_file"], "DIR/none"),
            ("ca_file = \"DIR/junk\"", &["ca_file"], "no certificate"),
            ("cert_file = \"DIR/junk\"", &["cert_file"], "the other one"),
            ("key_file = \"DIR/junk\"", &["key_file"], "the other one"),
            (
                "verify_certificate = false\ncert_file = \"DIR/junk\"\nkey_file = \"DIR/none\"",
                &["cert_file"],
                "DIR/junk",
            ),
            ("base = \"example.com\"", &["base"], "distinguished name"),
            ("base = \"dc=example,com\"", &["base"], "distinguished name"),
            ("filter = \"(mail=*\"", &["filter"], "ends at character 8"),
            ("filter = \"mail=*\"", &["filter"], "wrong at character 1"),
            ("suspended_filter = \"(a=b)x\"", &["suspended_filter"], "wrong at character 6"),
            ("restricted_filter = \"(a:1.2.3:=x)\"", &["restricted_filter"], "can't be judged here"),
            ("attributes = []", &["attributes"], "would find nobody"),
            (
                "attributes = [\"mail\", \"e mail\", \"mail;x\", \"\"]",
                &["attributes"; 3],
                "\"e mail\" is no name",
            ),
            ("suspended_when = [\"expired\"]", &["suspended_when"], "suspended_filter"),
            ("deadline = \"0s\"", &["deadline"], "at most 8s"),
            ("deadline = \"9s\"", &["deadline"], "at most 8s"),
            ("connections = 0", &["connections"], "1 to 256"),
            ("page_size = 0", &["page_size"], "1 to 100000"),
            ("deadline = \"9s\"\nconnections = 0\nurls = []", &["deadline", "connections", "urls"], ""),
        ] {
            let said = said(text);
            assert_eq!(
                said.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
                keys,
                "{text}: {said:?}"
            );
            assert!(said[0].1.contains(told.trim_start_matches("DIR")), "{text}: {said:?}");
        }
    }

    #[test]
    #[cfg(not(feature = "gssapi"))]
    fn kerberos_needs_the_feature() {
        let said = said("urls = [\"ldap://dc1.example.com\"]\nsasl = \"gssapi\"");
        assert!(said[0].0 == "sasl" && said[0].1.contains("built without GSSAPI"), "{said:?}");
    }

    #[test]
    #[cfg(feature = "gssapi")]
    fn kerberos_seals_plain_connections() {
        assert_eq!(said("urls = [\"ldap://dc1.example.com\"]\nsasl = \"gssapi\""), []);
        let said =
            said("urls = [\"ldaps://dc1.example.com\"]\nsasl = \"gssapi\"\nverify_certificate = false");
        assert!(said[0].0 == "sasl" && said[0].1.contains("seals the connection"), "{said:?}");
    }

    #[test]
    fn a_password_is_read_again_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        fs::write(&file, "one two \r\n").unwrap();
        let password = Password::open(&file).unwrap();
        assert_eq!(&*password.current(), "one two ");
        fs::write(&file, "two").unwrap();
        assert_eq!(&*password.current(), "two");
        for unusable in ["", "\n"] {
            fs::write(&file, unusable).unwrap();
            assert_eq!(&*password.current(), "two");
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(&*password.current(), "two");
        assert!(!format!("{password:?}").contains("two"));
    }
}
