//! What no peer can bring about: a session that panics.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use milter_protocol::{
    client::Client,
    command::{CStrings, Command, Mail, Rcpt},
    flags::{Actions, Steps, Version},
    negotiation::Offer,
};

use super::*;
use crate::{
    client::{self, Clients},
    defence::{self, Defences},
    directory::{self, Directories, Domains, Recipients},
    files::{self, Keeper},
    net::{Endpoint, Inherited},
    policy::Rules,
    store,
    suspension::{self, Suspensions},
    telemetry::Registry,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_own_session_alone() {
    let registry = Registry::default();
    let server = server(&registry);
    let endpoint = Endpoint::Inet { host: "127.0.0.1".to_owned(), port: 0 };
    let mut listeners = Listener::bind(&endpoint, &mut Inherited::default()).await.expect("a free port");
    let listener = listeners.pop().expect("one address");
    let address = listener.address().trim_start_matches("inet:").to_owned();
    let accepting = TaskTracker::new();
    accepting.spawn(Arc::clone(&server).accept(listener));

    let peers = tokio::task::spawn_blocking(move || {
        let mut other = negotiated(&address);
        let mut panics = negotiated(&address);
        assert_eq!(ask(&mut panics, FAULT), b"", "the connection is closed without an answer");
        assert_eq!(ask(&mut other, b"<anna@example.test>"), b"\0\0\0\x01c");
        assert_eq!(ask(&mut negotiated(&address), b"<anna@example.test>"), b"\0\0\0\x01c");
    });
    peers.await.expect("the peers find it so");
    let waited = server.drain(Duration::from_secs(20)).await;
    assert_eq!((waited, server.metrics.session_panics.get(), server.metrics.sessions_open.get()), (0, 1, 0));
}

/// Panics where a fault is put in: [`FAULT`] is a recipient of no real MTA.
pub(super) fn fault(recipient: &[u8]) {
    assert_ne!(recipient, FAULT, "a fault put in by a test");
}

const FAULT: &[u8] = b"<fault@panic.invalid>";

fn server(registry: &Registry) -> Arc<Server> {
    let keeper = Keeper::new(files::Metrics::register(registry));
    let metrics = directory::Metrics::register(registry);
    let directories = Directories::build(
        &Domains { detect: false, ..Domains::default() },
        &Recipients::default(),
        &directory::Configs::default(),
        &keeper,
        &directory::Remotes::new(metrics.clone()),
        &metrics,
        Arc::new(ArcSwap::default()),
    );
    let store = store::Store::in_memory(store::Metrics::register(registry));
    let commanded = Arc::new(suspension::Commanded::new(store.clone()));
    let suspensions =
        Suspensions::build(&suspension::Config::default(), &keeper, commanded).expect("no files");
    let asked = client::Shared::new(client::Metrics::register(registry));
    let clients = Clients::build(&client::Config::default(), [], &asked, &keeper).expect("no files");
    let shared = defence::Shared::new(store, defence::Metrics::register(registry));
    let defences =
        Defences::build(&defence::Config::default(), &shared, Vec::new(), &keeper).expect("no files");
    let directories = Arc::new(directories.expect("no files"));
    let limits = Limits::default();
    let snapshot = Snapshot::new(
        Rules::default(),
        directories,
        Arc::new(suspensions),
        Arc::new(clients),
        Arc::new(defences),
        limits.lookup,
    );
    Server::new(snapshot, &limits, Metrics::register(registry))
}

fn negotiated(address: &str) -> TcpStream {
    let steps = Steps::NO_CONNECT | Steps::NO_HELO | Steps::NR_MAIL;
    let offer = Offer { version: Version::MAX, actions: Actions(0x1ff), steps, macros: &[] };
    let mut output = BytesMut::new();
    Client::new(offer).negotiate(&mut output);
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it is open");
    stream.write_all(&output).expect("it reads");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("it answers");
    let mut rest = vec![0; u32::from_be_bytes(answer) as usize];
    stream.read_exact(&mut rest).expect("it answers");
    stream
}

/// The answer to a recipient; nothing where the connection was closed instead.
fn ask(stream: &mut TcpStream, address: &[u8]) -> Vec<u8> {
    let mut output = BytesMut::new();
    let parameters = CStrings::default();
    let connect = milter_protocol::command::Connect {
        host: b"h",
        address: milter_protocol::command::ClientAddress::Unknown,
    };
    Command::Connect(connect).encode(&mut output);
    Command::Mail(Mail { address: b"<sender@elsewhere.test>", parameters }).encode(&mut output);
    Command::Rcpt(Rcpt { address, parameters }).encode(&mut output);
    stream.write_all(&output).expect("it reads");
    let mut answers = Vec::new();
    let mut some = [0; 64];
    // Connect is answered, too: NR_CONNECT is not offered.
    while answers.len() < 10 {
        match stream.read(&mut some) {
            Ok(length) if length > 0 => answers.extend_from_slice(&some[..length]),
            _ => return Vec::new(),
        }
    }
    answers.split_off(5)
}
