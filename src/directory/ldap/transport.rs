//! The stream below LDAP: TCP or a unix socket, TLS where it is wanted, and messages that are fit to be read.
//!
//! Bytes of the server pass through [`ber`] before the LDAP library sees them: between the two there is a pair of
//! sockets and a task. That also makes TLS our own: names, addresses and certificates are checked as everywhere else.
//! It sets no time limit; whoever calls does. Failure: [`Fault`].

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream, asn1};
use rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    net::{TcpStream, UnixStream, lookup_host},
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use super::{
    ber,
    fault::{Code, Fault},
    url::{Place, Security, Server},
};

/// Holds answers back while whoever gets them has enough: the library takes in whatever the server sends, and keeps it.
/// Open at first.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<watch::Sender<bool>>);

/// A gate that is closed until this is dropped.
#[derive(Debug)]
pub(super) struct Closed<'a>(&'a Gate);

impl Gate {
    /// A gate for the connections of one user.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Closes it. Only one at a time may.
    pub(super) fn close(&self) -> Closed<'_> {
        self.0.send_replace(true);
        Closed(self)
    }

    fn is_closed(&self) -> bool {
        *self.0.borrow()
    }

    async fn opened(&self) {
        // The sender is in here, so that it can't be gone.
        drop(self.0.subscribe().wait_for(|closed| !closed).await);
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.0.send_replace(false);
    }
}

/// An open connection.
pub(super) struct Opened {
    pub(super) ldap: Ldap,
    /// It was cut from here, because of a message that is not taken.
    pub(super) is_unfit: Arc<AtomicBool>,
}

/// A connection to the server, secured as it should be, on which nobody is bound yet. Tasks of `tasks` drive it until
/// the last handle is dropped. By `until` it gives up one address of the server's for the next, no more than that.
pub(super) async fn connect(
    server: &Server,
    tls: &Arc<ClientConfig>,
    sealed: bool,
    until: Instant,
    gate: &Gate,
    tasks: &TaskTracker,
) -> Result<Opened, Fault> {
    let (ours, theirs) = UnixStream::pair()?;
    let is_unfit = Arc::new(AtomicBool::new(false));
    let ends = Ends { library: ours, sealed, gate: gate.clone(), is_unfit: Arc::clone(&is_unfit) };
    let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs.into_std()?));
    match &server.place {
        Place::Unix(path) => tasks.spawn(relay(UnixStream::connect(path).await?, ends)),
        Place::Tcp { host, port } => {
            let mut stream = tcp(host, *port, until).await?;
            if server.security == Security::StartTls {
                start_tls(&mut stream).await?;
            }
            if server.security == Security::Plain {
                tasks.spawn(relay(stream, ends))
            } else {
                let name = ServerName::try_from(host.clone()).map_err(|_| Fault::Name)?;
                let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
                tasks.spawn(relay(stream.map_err(Fault::Tls)?, ends))
            }
        }
    };
    let (driver, ldap) = LdapConnAsync::with_settings(settings, "ldapi:///").await?;
    // How it ends its handles learn.
    tasks.spawn(async { drop(driver.drive().await) });
    Ok(Opened { ldap, is_unfit })
}

/// Tries all addresses of the host; the time is shared among them.
async fn tcp(host: &str, port: u16, until: Instant) -> Result<TcpStream, Fault> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    let mut last = Fault::Io(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    for (tried, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share =
            until.saturating_duration_since(now) / (addresses.len() - tried).try_into().unwrap_or(u32::MAX);
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                keep_alive(&stream)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error.into(),
            Err(_) => last = Fault::TimedOut,
        }
    }
    Err(last)
}

/// Firewalls forget connections on which nothing moves, and servers that lost power never say so.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let often = TcpKeepalive::new().with_time(IDLE).with_interval(PROBE).with_retries(PROBES);
    socket.set_tcp_keepalive(&often)?;
    // What was sent and is not acknowledged, too.
    socket.set_tcp_user_timeout(Some(IDLE + PROBE * PROBES))?;
    stream.set_nodelay(true)
}

/// RFC 4511 §4.14: asks for TLS; after a granted request the next bytes are TLS. Not a byte more than the answer is
/// read, so nothing that was slipped in before TLS counts afterwards.
async fn start_tls(stream: &mut TcpStream) -> Result<(), Fault> {
    stream.write_all(START_TLS).await?;
    let mut answer = Vec::new();
    if !ber::read(stream, false, &mut answer).await? {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let code = extended_result(&answer).ok_or(Fault::Malformed)?;
    if code.number() == 0 { Ok(()) } else { Err(Fault::StartTls(code)) }
}

/// The result in `LDAPMessage { messageID, [APPLICATION 24] { resultCode, matchedDN, diagnosticMessage, … } }`.
fn extended_result(message: &[u8]) -> Option<Code> {
    let (_, message) = asn1::parse_tag(message).ok()?;
    let response = message.expect_constructed()?.into_iter().nth(1)?.match_id(EXTENDED_RESPONSE)?;
    let mut fields = response.expect_constructed()?.into_iter();
    let code = fields.next()?.expect_primitive()?;
    let text = fields.nth(1)?.expect_primitive()?;
    let &[code] = code.as_slice() else { return None };
    Some(Code::new(code.into(), &String::from_utf8_lossy(&text)))
}

/// What a relay needs besides the server.
struct Ends {
    library: UnixStream,
    sealed: bool,
    gate: Gate,
    is_unfit: Arc<AtomicBool>,
}

/// Carries requests to the server, and answers that are fit back, until either side is done.
async fn relay<S: AsyncRead + AsyncWrite>(server: S, ends: Ends) {
    let Ends { library, sealed, gate, is_unfit } = ends;
    let (from_server, mut to_server) = tokio::io::split(server);
    let (mut from_library, to_library) = library.into_split();
    let requests = async {
        let mut buffer = vec![0; 4096];
        loop {
            let count = from_library.read(&mut buffer).await?;
            if count == 0 {
                if !sealed {
                    to_server.write_all(UNBIND).await?;
                }
                return to_server.shutdown().await;
            }
            to_server.write_all(buffer.get(..count).unwrap_or_default()).await?;
            to_server.flush().await?;
        }
    };
    let answers = async {
        let mut from_server = BufReader::with_capacity(16 * 1024, from_server);
        let mut to_library = BufWriter::with_capacity(16 * 1024, to_library);
        let mut message = Vec::new();
        loop {
            let read = ber::read(&mut from_server, sealed, &mut message).await;
            // Known before the library learns of the end.
            if read.as_ref().is_err_and(|error| error.get_ref().is_some_and(|error| error.is::<ber::Unfit>()))
            {
                is_unfit.store(true, Ordering::Release);
            }
            if !read? {
                break;
            }
            if gate.is_closed() {
                to_library.flush().await?;
                gate.opened().await;
            }
            to_library.write_all(&message).await?;
            if from_server.buffer().is_empty() {
                to_library.flush().await?;
            }
            // One giant must not be paid for as long as the connection lives.
            message.shrink_to(64 * 1024);
        }
        to_library.flush().await
    };
    let ended: io::Result<()> = tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an LDAP connection ended");
    }
}

/// `LDAPMessage { 1, [APPLICATION 23] { [0] "1.3.6.1.4.1.1466.20037" } }`
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
const EXTENDED_RESPONSE: u64 = 24;
/// `LDAPMessage { 2^31-1, [APPLICATION 2] NULL }` (RFC 4511 §4.3): what a client says when it goes.
const UNBIND: &[u8] = b"\x30\x08\x02\x04\x7f\xff\xff\xff\x42\x00";

/// Until the first keep-alive probe.
const IDLE: Duration = Duration::from_secs(15);
/// Between probes.
const PROBE: Duration = Duration::from_secs(5);
/// Unanswered probes until the connection counts as dead.
const PROBES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_start_tls() {
        // RFC 4511 §4.12; slapd without TLS answers 2.
        let granted = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";
        assert_eq!(extended_result(granted), Some(Code::new(0, "")));
        let refused = b"\x30\x0e\x02\x01\x01\x78\x09\x0a\x01\x02\x04\x00\x04\x02no";
        assert_eq!(extended_result(refused), Some(Code::new(2, "no")));
        for other in [
            &b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"[..],
            b"\x30\x05\x02\x01\x01\x78\x00",
            b"\x30\x00",
            b"\x30\x09\x02\x01\x01\x78\x04\x0a\x02\x00\x00",
        ] {
            assert_eq!(extended_result(other), None, "{other:?}");
        }
        assert_eq!(START_TLS.len(), 2 + usize::from(START_TLS[1]));
    }
}
