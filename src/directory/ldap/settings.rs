//! `[directory.NAME.ldap]`, as meant: what is wrong with it is found here, once.
//!
//! Reads the files that it names, connects nowhere. Failure: a [`SettingError`] for each key that can't be used.

use std::{sync::Arc, time::Duration};

use rustls::ClientConfig;

use super::{
    Config, Mechanism,
    filter::FilterError,
    url::{Place, Security, Server, UrlError},
};
use crate::net::{Password, PasswordError, TlsError, TlsOptions, client_config};

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

/// Who asks (RFC 4513 §5).
#[derive(Debug)]
pub(super) enum Bind {
    Anonymous,
    Simple { dn: String, password: Password },
    External,
    Gssapi,
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
    use std::fs;

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
}
