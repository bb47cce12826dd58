//! Names in the DNS, by the system's resolver configuration and its hosts file. Answers are remembered for as long as they
//! say.
//!
//! Never waits for longer than the resolver's own time-outs, which are seconds: callers have deadlines. Failure answer:
//! [`DnsError`], which tells "there is none" from "could not find out".

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use hickory_resolver::{
    TokioResolver,
    net::{DnsError as Answer, NetError},
    proto::{op::ResponseCode, rr::RData},
};

/// Asks the DNS. Cheap to clone; clones share what is remembered.
#[derive(Clone, Default)]
pub struct Resolver {
    /// Made when it is first needed, since it reads the system's configuration.
    inner: Arc<OnceLock<Result<TokioResolver, NetError>>>,
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
    /// The addresses of a host, IPv4 and IPv6; at least one.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let found = self.inner(host)?.lookup_ip(host).await.map_err(|error| DnsError::of(host, error))?;
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
        let lookup =
            match self.inner(domain)?.mx_lookup(name).await.map_err(|error| DnsError::of(domain, error)) {
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

    fn inner(&self, name: &str) -> Result<&TokioResolver, DnsError> {
        let made = self.inner.get_or_init(|| TokioResolver::builder_tokio()?.build());
        made.as_ref().map_err(|error| DnsError::Failed { name: name.to_owned(), error: error.clone() })
    }

    #[cfg(test)]
    fn with_server(server: std::net::SocketAddr) -> Self {
        use hickory_resolver::{
            config::{ConnectionConfig, NameServerConfig, ResolverConfig},
            net::runtime::TokioRuntimeProvider,
        };
        let mut udp = ConnectionConfig::udp();
        udp.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![udp]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().timeout = std::time::Duration::from_millis(200);
        builder.options_mut().attempts = 0;
        let inner = OnceLock::new();
        assert!(inner.set(builder.build()).is_ok());
        Self { inner: Arc::new(inner) }
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
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

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, net::Ipv4Addr};

    use hickory_resolver::proto::{
        op::{Message, MessageType},
        rr::{
            Name, Record, RecordType,
            rdata::{A, MX},
        },
        serialize::binary::{BinDecodable, BinEncodable},
    };
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server that knows these records, answers SERVFAIL for `broken.test` and nothing at all for `silent.test`.
    async fn server() -> Resolver {
        let mx = |preference, name: &str| RData::MX(MX::new(preference, Name::from_ascii(name).unwrap()));
        let a = |last| RData::A(A(Ipv4Addr::new(192, 0, 2, last)));
        let records: HashMap<(&str, RecordType), Vec<RData>> = HashMap::from([
            (("two.test.", RecordType::MX), vec![mx(20, "b.two.test."), mx(10, "a.two.test.")]),
            (("null.test.", RecordType::MX), vec![mx(0, ".")]),
            (("plain.test.", RecordType::A), vec![a(1), a(2)]),
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
                let known = ["two.test.", "null.test.", "plain.test."].contains(&&*name);
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
        Resolver::with_server(address)
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
}
