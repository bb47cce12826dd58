//! `[directory.NAME.smtp]`, as meant: read once, used from then on.

use std::{sync::Arc, time::Duration};

use rustls::ClientConfig;

use super::{
    Config, TlsPolicy,
    conversation::Tls,
    routes::{RouteError, Routes},
};
use crate::{
    address::{Address, AddressError, AddressErrorKind, Domain, LocalPart},
    net::{TlsError, TlsOptions, client_config, smtp_reply::Status},
};

/// What the configuration asks for.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) routes: Routes,
    /// Who we say we are; `None`: our address.
    pub(super) helo: Option<String>,
    pub(super) control: Control,
    /// Status codes that mean "unknown" besides the usual ones.
    pub(super) absent: Vec<Status>,
    pub(super) tls: Tls,
    /// There unless TLS is never used.
    pub(super) tls_config: Option<Arc<ClientConfig>>,
    pub(super) deadline: Duration,
    pub(super) connections: usize,
}

/// A recipient who is known to exist.
#[derive(Debug)]
pub(super) enum Control {
    /// In the domain that is asked about.
    Local(LocalPart),
    Address(Address),
}

/// A setting that can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingError {
    #[error("names no server: set `host`, `hosts` or `transport_map`")]
    NoServer,
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("{0:?} is neither a full host name nor an address in brackets")]
    Helo(String),
    #[error("{0:?} is no recipient: {1}")]
    Control(String, AddressErrorKind),
    #[error("{0:?} is no enhanced status code of a refusal, such as 5.4.1 (RFC 3463)")]
    Code(String),
    #[error("is used with tls = \"verify\" only")]
    UnusedAuthority,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "must be more than 0 and at most {MOST_DEADLINE:?}: Sendmail gives up waiting for an answer after 10 s"
    )]
    Deadline,
    #[error("must be from 1 to {MOST_CONNECTIONS}")]
    Connections,
}

impl Settings {
    /// Tells `say` which key can't be used, and why; what is returned then is not to be used either.
    pub(super) fn build(config: &Config, say: &mut dyn FnMut(&'static str, SettingError)) -> Self {
        if config.host.is_none() && config.hosts.is_empty() && config.transport_map.is_none() {
            say("", SettingError::NoServer);
        }
        let routes = Routes::build(config, &mut |key, error| say(key, error.into()));
        let helo = match &config.helo {
            Some(name) => helo(name).or_else(|| {
                say("helo", SettingError::Helo(name.clone()));
                None
            }),
            None => nix::unistd::gethostname().ok().and_then(|name| helo(name.to_str()?)),
        };
        let control = control(&config.control).unwrap_or_else(|kind| {
            say("control", SettingError::Control(config.control.clone(), kind));
            Control::Local(LocalPart::new("postmaster").expect("postmaster is a local part"))
        });
        let mut absent = Vec::new();
        for code in &config.absent_codes {
            match Status::parse(code) {
                Some(status) if status.class == 5 => absent.push(status),
                _ => say("absent_codes", SettingError::Code(code.clone())),
            }
        }
        if config.deadline.is_zero() || config.deadline > MOST_DEADLINE {
            say("deadline", SettingError::Deadline);
        }
        if !(1..=MOST_CONNECTIONS).contains(&config.connections) {
            say("connections", SettingError::Connections);
        }
        if config.ca_file.is_some() && config.tls != TlsPolicy::Verify {
            say("ca_file", SettingError::UnusedAuthority);
        }
        let (tls, accept_any) = match config.tls {
            TlsPolicy::Off => (Tls::Never, true),
            TlsPolicy::May => (Tls::WhereOffered, true),
            TlsPolicy::Verify => (Tls::Always, false),
        };
        let options = TlsOptions { ca_file: config.ca_file.clone(), accept_any, identity: None };
        let tls_config = match (tls != Tls::Never).then(|| client_config(&options)) {
            Some(Ok(config)) => Some(config),
            Some(Err(error)) => {
                say(if config.ca_file.is_some() { "ca_file" } else { "tls" }, error.into());
                None
            }
            None => None,
        };
        let (deadline, connections) = (config.deadline, config.connections);
        Self { routes, helo, control, absent, tls, tls_config, deadline, connections }
    }

    /// The recipient who has to be taken for a refusal in this domain to count.
    pub(super) fn control(&self, domain: &Domain) -> Address {
        match &self.control {
            Control::Local(local) => local.clone().complete(domain),
            Control::Address(address) => address.clone(),
        }
    }
}

fn control(text: &str) -> Result<Control, AddressErrorKind> {
    if text.contains('@') {
        let address = Address::parse(text).map_err(|AddressError { kind, .. }| kind)?;
        return Ok(Control::Address(address));
    }
    LocalPart::new(text).map(Control::Local)
}

/// RFC 5321 §4.1.4: a fully qualified name or an address literal. Only those that servers take as a rule.
fn helo(name: &str) -> Option<String> {
    let domain = Domain::parse(name).ok()?;
    let full = domain.as_str().contains('.') || domain.as_str().starts_with('[');
    (full && domain.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte)))
        .then(|| domain.to_string())
}

/// Sendmail waits 10 s for an answer by default; the rest is for the way.
const MOST_DEADLINE: Duration = Duration::from_secs(8);
const MOST_CONNECTIONS: usize = 100;

#[cfg(test)]
mod tests {
    use figment::{
        Figment,
        providers::{Format, Toml},
    };

    use super::*;

    fn wrong(toml: &str) -> Vec<(String, String)> {
        let config: Config = Figment::from(Toml::string(toml)).extract().unwrap();
        let mut found = Vec::new();
        config.check(&mut |key, message| found.push((key.to_owned(), message)));
        found
    }

    #[test]
    fn what_can_be_wrong() {
        assert_eq!(wrong("host = 'mail.x.test'"), []);
        assert_eq!(wrong("hosts = { 'x.test' = 'mail.x.test:2525', '.x.test' = 'lmtp:unix:/run/x' }"), []);
        let host = "host = 'mail.x.test'\n";
        for (toml, key) in [
            ("control = 'x'".to_owned(), ""),
            ("host = 'a b'".to_owned(), "host"),
            ("hosts = { 'x.test' = 'a b' }".to_owned(), "hosts"),
            ("hosts = { 'x y' = 'a' }".to_owned(), "hosts"),
            ("transport_map = '/nowhere/transport'".to_owned(), "transport_map"),
            (format!("{host}control = 'a@'"), "control"),
            (format!("{host}control = ''"), "control"),
            (format!("{host}control = \"a\\nb\""), "control"),
            (format!("{host}helo = 'a b'"), "helo"),
            (format!("{host}helo = 'short'"), "helo"),
            (format!("{host}absent_codes = ['5.4.1', '4.1.1']"), "absent_codes"),
            (format!("{host}absent_codes = ['550']"), "absent_codes"),
            (format!("{host}deadline = '0s'"), "deadline"),
            (format!("{host}deadline = '8001ms'"), "deadline"),
            (format!("{host}connections = 0"), "connections"),
            (format!("{host}ca_file = '/nowhere/ca.pem'"), "ca_file"),
            (format!("{host}tls = 'verify'\nca_file = '/nowhere/ca.pem'"), "ca_file"),
        ] {
            let found = wrong(&toml);
            assert_eq!(found.len(), 1, "{toml}: {found:?}");
            assert_eq!(found[0].0, key, "{toml}");
        }
    }

    #[test]
    fn a_map_as_main_cf_names_it() {
        let found = wrong("transport_map = 'hash:/etc/postfix/transport'");
        assert!(found.len() == 1 && found[0].1.contains("without its type"), "{found:?}");
    }

    #[test]
    fn the_control_recipient() {
        let settings = |control: &str| {
            let toml = format!("host = 'a'\ncontrol = '{control}'");
            let config: Config = Figment::from(Toml::string(&toml)).extract().unwrap();
            Settings::build(&config, &mut |key, error| panic!("{key}: {error}"))
        };
        let domain = Domain::parse("x.test").unwrap();
        for (control, address) in
            [("postmaster", "postmaster@x.test"), ("Joe", "joe@x.test"), ("joe@y.test", "joe@y.test")]
        {
            assert_eq!(settings(control).control(&domain).to_string(), address);
        }
    }

    #[test]
    fn names_for_hello() {
        for (name, said) in [
            ("mx.example.com", Some("mx.example.com")),
            ("MX.example.com.", Some("mx.example.com")),
            ("[192.0.2.1]", Some("[192.0.2.1]")),
            ("localhost", None),
            ("a b.example", None),
            ("a\r\nMAIL.x", None),
        ] {
            assert_eq!(helo(name).as_deref(), said, "{name:?}");
        }
    }
}
