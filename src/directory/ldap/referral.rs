//! Referrals (RFC 4511 §4.1.10): asks the servers that an answer names, with the same bind.
//!
//! What is secured at home is secured there; a password never goes over a plain connection unless that is allowed. Depth,
//! number and time are bounded. Failure: an answer that could not be fetched is told beside those that could.

use tokio::time::{Instant, timeout_at};

use super::{
    connection::{Servers, share},
    fault::Fault,
    object::Object,
    schema::Shape,
    search::Question,
    settings::{Access, Bind},
    url::{Place, Security, Server, percent_decode},
};
use crate::directory::remote::Failure;

/// An LDAP URL (RFC 4516) that a server sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Referral {
    scheme: String,
    host: String,
    /// Where to look there; empty: as here.
    pub(super) base: String,
}

impl Referral {
    /// Reads `scheme://host:port/dn?attributes?scope?…`; what follows the name is not needed.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (host, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let base = percent_decode(rest.split('?').next()?)?;
        Some(Self { scheme: scheme.to_ascii_lowercase(), host: host.to_owned(), base })
    }

    /// The server it names, secured like those that are configured.
    fn server(&self, access: &Access) -> Result<Server, &'static str> {
        let home = access.servers.first().expect("there is one");
        let url = format!("{}://{}", self.scheme, self.host);
        let mut server = Server::parse(&url, home.security == Security::StartTls)
            .map_err(|_| "it is no address of a server")?;
        let Place::Tcp { port, .. } = &mut server.place else { return Err("it is no address of a server") };
        if home.security == Security::Tls && server.security == Security::Plain {
            // Servers name their plain ports. Of those that have a secure one beside them, that is known.
            *port = match *port {
                389 => 636,
                3268 => 3269,
                _ => return Err("it is a plain port, and this directory is asked over TLS"),
            };
            server.security = Security::Tls;
        }
        match access.bind {
            Bind::Simple { .. } if server.is_readable() && !access.allow_plain => {
                Err("the password would go over a plain connection")
            }
            Bind::External if server.security == Security::Plain => {
                Err("only a certificate could prove who asks")
            }
            Bind::Gssapi if server.security != Security::Plain => Err("Kerberos is for plain connections"),
            _ => Ok(server),
        }
    }
}

/// Asks wherever `references` lead, until `until`. What was found, and what was wrong with those that could not be asked.
pub(super) async fn follow(
    servers: &Servers,
    shape: &Shape,
    question: &Question,
    references: Vec<String>,
    until: Instant,
) -> (Vec<Object>, Option<Failure>) {
    let mut objects = Vec::new();
    let mut failure = None;
    let mut asked: Vec<String> = Vec::new();
    let mut waiting: Vec<(usize, String)> = references.into_iter().map(|url| (1, url)).collect();
    while let Some((depth, url)) = waiting.pop() {
        if asked.contains(&url)
            || Referral::parse(&url).is_some_and(|referral| shape.is_aside(&referral.base))
        {
            continue;
        }
        asked.push(url.clone());
        let result = if asked.len() > MOST || depth > DEEPEST {
            Err(Fault::Referral(url.clone(), "there are too many"))
        } else {
            fetch(servers, question, &url, share(until, waiting.len() + 1)).await
        };
        match result {
            Ok((found, more)) => {
                objects.extend(found);
                waiting.extend(more.into_iter().map(|url| (depth + 1, url)));
            }
            Err(fault) => failure = Some(fault.at(&super::fault::printable(&url))),
        }
        if asked.len() > MOST {
            break;
        }
    }
    (objects, failure)
}

async fn fetch(
    servers: &Servers,
    question: &Question,
    url: &str,
    until: Instant,
) -> Result<(Vec<Object>, Vec<String>), Fault> {
    let wrong = |why| Fault::Referral(super::fault::printable(url), why);
    let referral = Referral::parse(url).ok_or_else(|| wrong("it is no URL"))?;
    let server = referral.server(servers.access()).map_err(wrong)?;
    let mut question = question.clone();
    if !referral.base.is_empty() {
        question.base = referral.base;
    }
    let asked = async {
        let mut opened = servers.open(&server, until).await?;
        question.ask(&mut opened.ldap).await
    };
    let found = timeout_at(until, asked).await.unwrap_or(Err(Fault::TimedOut))?;
    if found.is_cut_short && found.objects.is_empty() {
        return Err(Fault::TooMany);
    }
    Ok((found.objects, found.references))
}

/// Referrals for one question.
const MOST: usize = 8;
/// Referrals of referrals.
const DEEPEST: usize = 3;
