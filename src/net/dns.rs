//! Names in the DNS, by the system's resolver configuration and its hosts file, or by one name server. Answers are
//! remembered for as long as they say. Changes of the system's configuration are followed.
//!
//! Never waits for longer than the resolver's own time-outs, which are seconds: callers have deadlines. Failure answer:
//! [`DnsError`], which tells "there is none" from "could not find out".

mod source;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    net::{DnsError as Answer, NetError},
    proto::{
        op::ResponseCode,
        rr::{RData, RecordType},
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use source::Source;

/// Asks the DNS. Cheap to clone; clones share what is remembered.
#[derive(Clone)]
pub struct Resolver {
    source: Arc<Source>,
    /// Who asks behind so many others gets no answer; `None`: nobody counts.
    turns: Option<Arc<Semaphore>>,
}

/// Whom to ask: the servers that the system names, or one of one's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum NameServer {
    /// Those in `/etc/resolv.conf`.
    #[default]
    System,
    /// This one, over UDP and TCP.
    At(SocketAddr),
}

/// Not a name server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name server; write `system`, or its address, like 127.0.0.1, 127.0.0.1:5353 or [::1]:5353"
)]
pub struct NameServerError(String);

impl FromStr for NameServer {
    type Err = NameServerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "system" {
            return Ok(Self::System);
        }
        let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
        address.map(Self::At).map_err(|_| NameServerError(text.to_owned()))
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::At(address) if address.port() == 53 => address.ip().fmt(f),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl<'de> serde::Deserialize<'de> for NameServer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for NameServer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// No answer that could be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DnsError {
    /// The DNS says so: there is no such name, or it has no such records.
    #[error("{0} is not in the DNS")]
    None(String),
    /// It has one MX record, which says that it takes no mail (RFC 7505).
    #[error("{0} takes no mail: its MX record says so")]
    NoMail(String),
    /// It was not asked: so many questions are not answered yet that one more is no use.
    #[error("the DNS was not asked where {0} is: too many questions at once")]
    Busy(String),
    /// It could not be found out.
    #[error("the DNS can't tell where {name} is: {error}")]
    Failed {
        /// The name asked for.
        name: String,
        /// The resolver's reason.
        error: NetError,
    },
}

impl Resolver {
    /// Asks this server, which has `timeout` for one question.
    #[must_use]
    pub fn asking(server: NameServer, timeout: Duration) -> Self {
        Self { source: Arc::new(Source::new(server, Some(timeout))), turns: None }
    }

    /// The same, but no more questions at a time than `turns` has; each holds a few
    /// descriptors. One more waits for a moment, and is [`DnsError::Busy`] then.
    #[must_use]
    pub fn taking(&self, turns: Arc<Semaphore>) -> Self {
        Self { source: Arc::clone(&self.source), turns: Some(turns) }
    }

    /// The IPv4 addresses of a name that is written in full, with a dot at its end; at least one.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn addresses_v4(&self, name: &str) -> Result<Vec<Ipv4Addr>, DnsError> {
        let found = self.records(name, RecordType::A, |data| match data {
            RData::A(address) => Some(address.0),
            _ => None,
        });
        found.await
    }

    /// The addresses of a host, of the same family as `like`; at least one. No search list is tried.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn addresses_like(&self, host: &str, like: IpAddr) -> Result<Vec<IpAddr>, DnsError> {
        let name = format!("{}.", host.trim_end_matches('.'));
        let kind = if like.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        self.records(&name, kind, RData::ip_addr).await
    }

    /// The names of an address: its PTR records; at least one. They are whatever the owner of the address says, be it true
    /// or not, and any bytes, escaped as in RFC 1035 §5.1.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn names(&self, address: IpAddr) -> Result<Vec<String>, DnsError> {
        let name = reverse_name(address);
        let found = self.records(&name, RecordType::PTR, |data| match data {
            RData::PTR(name) => Some(name.0.to_ascii()),
            _ => None,
        });
        found.await
    }

    /// The records of one kind, at least one.
    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, DnsError> {
        let _turn = self.turn(name).await?;
        let lookup = self.inner(name).await?.lookup(name, kind).await;
        let lookup = lookup.map_err(|error| DnsError::of(name, error))?;
        let found: Vec<T> = lookup.answers().iter().filter_map(|record| read(&record.data)).collect();
        if found.is_empty() { Err(DnsError::None(name.to_owned())) } else { Ok(found) }
    }

    /// The addresses of a host, IPv4 and IPv6; at least one.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let _turn = self.turn(host).await?;
        let found = self.inner(host).await?.lookup_ip(host).await;
        let found = found.map_err(|error| DnsError::of(host, error))?;
        let addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() { Err(DnsError::None(host.to_owned())) } else { Ok(addresses) }
    }

    /// The hosts that take mail for a domain, the preferred first (RFC 5321 §5.1): its MX records, or itself where it has
    /// none. At least one.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn mail_exchangers(&self, domain: &str) -> Result<Vec<String>, DnsError> {
        // Fully qualified: a search list must not send mail elsewhere.
        let name = format!("{}.", domain.trim_end_matches('.'));
        let _turn = self.turn(domain).await?;
        let lookup = self.inner(domain).await?.mx_lookup(name).await;
        let lookup = match lookup.map_err(|error| DnsError::of(domain, error)) {
            Ok(lookup) => lookup,
            Err(DnsError::None(_)) => return Ok(vec![domain.to_owned()]),
            Err(error) => return Err(error),
        };
        let mut exchangers: Vec<(u16, String)> = lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::MX(mx) => Some((mx.preference, mx.exchange.to_ascii())),
                _ => None,
            })
            .collect();
        exchangers.sort();
        match exchangers.as_slice() {
            [] => Ok(vec![domain.to_owned()]),
            [(_, root)] if root == "." => Err(DnsError::NoMail(domain.to_owned())),
            _ => Ok(exchangers.into_iter().map(|(_, name)| name).filter(|name| name != ".").collect()),
        }
    }

    async fn turn(&self, name: &str) -> Result<Option<OwnedSemaphorePermit>, DnsError> {
        let Some(turns) = &self.turns else { return Ok(None) };
        match timeout(TURN, Arc::clone(turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(Some(turn)),
            _ => Err(DnsError::Busy(name.to_owned())),
        }
    }

    async fn inner(&self, name: &str) -> Result<Arc<TokioResolver>, DnsError> {
        let made = Arc::clone(&self.source).current().await;
        made.map_err(|error| DnsError::Failed { name: name.to_owned(), error })
    }
}

impl Default for Resolver {
    /// Asks the system's servers, with the system's time-outs.
    fn default() -> Self {
        Self { source: Arc::new(Source::new(NameServer::System, None)), turns: None }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("server", &self.source.server()).finish_non_exhaustive()
    }
}

impl DnsError {
    fn of(name: &str, error: NetError) -> Self {
        let none = match &error {
            NetError::Dns(Answer::NoRecordsFound(none)) => {
                matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
            }
            _ => false,
        };
        if none { Self::None(name.to_owned()) } else { Self::Failed { name: name.to_owned(), error } }
    }
}

/// `4.3.2.1.in-addr.arpa.` (RFC 1035 §3.5), or the nibbles below `ip6.arpa.` (RFC 3596 §2.5).
fn reverse_name(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 0xf, octet >> 4]);
            let name: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            name + "ip6.arpa."
        }
    }
}

/// So long a question waits for others to be answered. Behind so many there is no use in waiting.
const TURN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use hickory_resolver::proto::{
        op::{Message, MessageType},
        rr::{
            Name, Record,
            rdata::{A, MX, PTR},
        },
        serialize::binary::{BinDecodable, BinEncodable},
    };
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server that knows these records, answers SERVFAIL for `broken.test` and nothing at all for `silent.test`.
    async fn server() -> Resolver {
        let mx = |preference, name: &str| RData::MX(MX::new(preference, Name::from_ascii(name).unwrap()));
        let a = |last| RData::A(A(Ipv4Addr::new(192, 0, 2, last)));
        let ptr = |name: &str| RData::PTR(PTR(Name::from_ascii(name).unwrap()));
        let records: HashMap<(&str, RecordType), Vec<RData>> = HashMap::from([
            (("two.test.", RecordType::MX), vec![mx(20, "b.two.test."), mx(10, "a.two.test.")]),
            (("null.test.", RecordType::MX), vec![mx(0, ".")]),
            (("plain.test.", RecordType::A), vec![a(1), a(2)]),
            (("9.2.0.192.in-addr.arpa.", RecordType::PTR), vec![ptr("one.test."), ptr("two.test.")]),
        ]);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let mut message = Message::from_bytes(&buffer[..length]).unwrap();
                let query = message.queries[0].clone();
                let name = query.name().to_ascii();
                if name == "silent.test." {
                    continue;
                }
                let known = records.keys().any(|(known, _)| *known == name);
                message.metadata.message_type = MessageType::Response;
                message.metadata.response_code = match name.as_str() {
                    "broken.test." => ResponseCode::ServFail,
                    _ if known => ResponseCode::NoError,
                    _ => ResponseCode::NXDomain,
                };
                for data in records.get(&(name.as_str(), query.query_type())).into_iter().flatten() {
                    message.add_answer(Record::from_rdata(query.name().clone(), 60, data.clone()));
                }
                socket.send_to(&message.to_bytes().unwrap(), client).await.unwrap();
            }
        });
        Resolver::asking(NameServer::At(address), Duration::from_millis(200))
    }

    /// RFC 5321 §5.1, RFC 7505 §3.
    #[tokio::test]
    async fn mail_exchangers() {
        let dns = server().await;
        let found = async |domain| dns.mail_exchangers(domain).await;
        assert_eq!(found("two.test").await.unwrap(), ["a.two.test.", "b.two.test."]);
        assert_eq!(found("plain.test").await.unwrap(), ["plain.test"]);
        assert_eq!(found("gone.test").await.unwrap(), ["gone.test"]);
        assert!(matches!(found("null.test").await, Err(DnsError::NoMail(_))));
        for broken in ["broken.test", "silent.test"] {
            let error = found(broken).await.unwrap_err();
            assert!(matches!(error, DnsError::Failed { .. }), "{broken}: {error:?}");
        }
    }

    #[tokio::test]
    async fn addresses() {
        let dns = server().await;
        let mut found = dns.addresses("plain.test").await.unwrap();
        found.sort();
        assert_eq!(found, [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])]);
        assert!(matches!(dns.addresses("gone.test").await, Err(DnsError::None(_))));
        assert!(matches!(dns.addresses("broken.test").await, Err(DnsError::Failed { .. })));
    }
    #[tokio::test]
    async fn names_of_addresses() {
        let dns = server().await;
        let mut found = dns.names(IpAddr::from([192, 0, 2, 9])).await.unwrap();
        found.sort();
        assert_eq!(found, ["one.test.", "two.test."]);
        assert!(matches!(dns.names(IpAddr::from([192, 0, 2, 10])).await, Err(DnsError::None(_))));
        let like = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(dns.addresses_like("plain.test", like).await.unwrap().len(), 2);
        let v6 = "2001:db8::1".parse().unwrap();
        assert!(matches!(dns.addresses_like("plain.test", v6).await, Err(DnsError::None(_))));
        for broken in ["broken.test", "silent.test"] {
            assert!(matches!(dns.addresses_like(broken, like).await, Err(DnsError::Failed { .. })));
        }
        let name = reverse_name("2001:db8::567:89ab".parse().unwrap());
        assert_eq!(name, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.");
    }

    #[test]
    fn name_servers() {
        for (text, written) in [
            ("system", "system"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1:53", "127.0.0.1"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "::1"),
            ("[::1]:5353", "[::1]:5353"),
        ] {
            assert_eq!(text.parse::<NameServer>().unwrap().to_string(), written);
        }
        for text in ["", "dns.example.net", "127.0.0.1:", "127.0.0.1:99999", "System"] {
            assert!(text.parse::<NameServer>().is_err(), "{text}");
        }
    }
}
