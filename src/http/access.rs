//! Who may ask, and for what.
//!
//! A page on loopback is still within reach of every web site that its reader visits: it is not shown by a name that leads to
//! 127.0.0.1 (DNS rebinding), nor to another site's page. What machines ask for tells of no mail, and scrapers call a host by
//! any name. Failure: a refusal says in general
//! words what is wrong, never what was sent.

use std::net::Ipv6Addr;

use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{hmac, rand::SystemRandom};

use crate::net::{Password, PasswordError};

use super::{Config, Shown};

/// What the configuration says of it.
#[derive(Debug)]
pub struct Access {
    token: Option<Password>,
    /// In lower case.
    names: Vec<String>,
    /// How the status page shows addresses.
    pub(super) addresses: Shown,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Method,
    Long,
    Host,
    CrossSite,
    Token,
}

impl Access {
    /// Reads the token, if there is to be one.
    ///
    /// # Errors
    /// [`PasswordError`]
    pub fn open(config: &Config) -> Result<Self, PasswordError> {
        let token = config.token_file.as_deref().map(Password::open).transpose()?;
        let own = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let names = config.names.iter().cloned().chain(own).map(|name| name.to_ascii_lowercase()).collect();
        Ok(Self { token, names, addresses: config.addresses })
    }

    /// Whether the request is answered.
    pub(super) async fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Refused::Method);
        }
        if uri.path_and_query().is_some_and(|it| it.as_str().len() > LONGEST) {
            return Err(Refused::Long);
        }
        let is_for_machines = matches!(uri.path(), "/metrics" | "/live" | "/ready");
        if !is_for_machines && !self.serves(uri, headers) {
            return Err(Refused::Host);
        }
        if is_cross_site(headers) {
            return Err(Refused::CrossSite);
        }
        match &self.token {
            Some(token) if !matches!(uri.path(), "/live" | "/ready") => {
                let given = token_of(headers).ok_or(Refused::Token)?;
                let token = token.current().await;
                if same(given.as_bytes(), token.as_bytes()) { Ok(()) } else { Err(Refused::Token) }
            }
            _ => Ok(()),
        }
    }

    /// Whether the name that was asked for is ours. A client that names none is no browser (HTTP/1.0).
    fn serves(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (uri.authority(), hosts.next(), hosts.next()) {
            (Some(authority), _, None) => authority.as_str(),
            (None, Some(host), None) => match host.to_str() {
                Ok(host) => host,
                Err(_) => return false,
            },
            (None, None, None) => return true,
            _ => return false,
        };
        let Some(name) = without_port(host) else { return false };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_address = name.parse::<std::net::Ipv4Addr>().is_ok()
            || name
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|literal| literal.parse::<Ipv6Addr>().is_ok());
        is_address || name == "localhost" || self.names.contains(&name)
    }
}

impl Refused {
    /// Status, and one sentence.
    pub(super) fn told(self) -> (StatusCode, &'static str) {
        match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"),
            Self::Long => (StatusCode::URI_TOO_LONG, "the address of the page is too long\n"),
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "not by this name: ask by IP address or as localhost, or list the name in http.names\n",
            ),
            Self::CrossSite => (StatusCode::FORBIDDEN, "not from another site's page\n"),
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                "the token in http.token_file is needed: as password of any user, or as Bearer\n",
            ),
        }
    }
}

/// Whether a page of another origin asks, and shows what it gets in itself. Somebody who follows a link asks for himself. Browsers
/// that send no such header (<https://www.w3.org/TR/fetch-metadata/>) are kept off by the other headers of the answer.
pub(super) fn is_cross_site(headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, value: &str| headers.get(name).is_some_and(|it| it == value);
    comes_from_elsewhere(headers) && !(is(&MODE, "navigate") && is(&DEST, "document"))
}

/// Whether another origin's page made the request, also by a link.
pub(super) fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get(&SITE).is_some_and(|site| site != "same-origin" && site != "none")
}

/// `Basic` with any user, or `Bearer` (RFC 7617, RFC 6750).
fn token_of(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = given.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

/// Whether both are the same, in a time that tells nothing of where they differ, nor of how long either is.
fn same(given: &[u8], token: &[u8]) -> bool {
    let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()) else { return false };
    hmac::verify(&key, given, hmac::sign(&key, token).as_ref()).is_ok()
}

fn without_port(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, port) = host.split_at(end);
    let is_port = port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    (port.is_empty() || is_port).then_some(name)
}

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// Of path and query, in bytes.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let list = list
            .iter()
            .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap()));
        list.collect()
    }

    /// Who owns a name may have it lead anywhere; an address leads where it says.
    #[tokio::test]
    async fn names_of_others_are_not_answered() {
        let config = Config { names: vec!["MX1.example.com".to_owned()], ..Config::default() };
        let access = Access::open(&config).unwrap();
        let own = nix::unistd::gethostname().unwrap().into_string().unwrap();
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:9890", true),
            ("localhost.:9890", true),
            ("127.0.0.1", true),
            ("192.0.2.7:9890", true),
            ("[::1]", true),
            ("[2001:db8::1]:9890", true),
            ("mx1.example.com:9890", true),
            (&own, true),
            ("mx1.example.com.evil.test", false),
            ("evil.test", false),
            ("evil.test:9890", false),
            ("127.0.0.1.evil.test", false),
            ("localhost.evil.test", false),
            ("[::1].evil.test", false),
            ("::1", false),
            ("[::1", false),
            ("localhost:evil", false),
            ("", false),
            (":9890", false),
        ] {
            let found = access.check(&Method::GET, &Uri::from_static("/"), &headers(&[("host", host)])).await;
            assert_eq!(found.is_ok(), expected, "{host}: {found:?}");
        }
        assert_eq!(access.check(&Method::GET, &Uri::from_static("/"), &HeaderMap::new()).await, Ok(()));
        let mut two = headers(&[("host", "localhost")]);
        two.append(header::HOST, "localhost".parse().unwrap());
        assert!(!access.serves(&Uri::from_static("/"), &two), "which of them?");
    }

    #[test]
    fn pages_of_others_do_not_ask() {
        for (list, expected) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")], false),
            (&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                false,
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "iframe"),
                ],
                true,
            ),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], true),
            // another port of this host may be another user's
            (&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")], true),
        ] {
            assert_eq!(is_cross_site(&headers(list)), expected, "{list:?}");
        }
    }

    #[test]
    fn tokens_are_read() {
        for (given, expected) in [
            ("Bearer secret", Some("secret")),
            ("bearer  secret", Some("secret")),
            ("Basic YW55OnNlY3JldA==", Some("secret")),
            ("basic OnNlY3JldA==", Some("secret")),
            // any:se:cret
            ("Basic YW55OnNlOmNyZXQ=", Some("se:cret")),
            ("Basic secret", None),
            ("Basic c2VjcmV0", None),
            ("Digest secret", None),
            ("Bearer", None),
            ("", None),
        ] {
            let found = token_of(&headers(&[("authorization", given)]));
            assert_eq!(found.as_deref(), expected, "{given}");
        }
        assert!(same(b"secret", b"secret"));
        for other in [&b""[..], b"secre", b"secret1", b"Secret"] {
            assert!(!same(other, b"secret"));
        }
    }
}
