//! What no peer can bring about: a session that panics, an answer that is late, a host without memory.

mod simulation;

use std::{
    cell::Cell,
    io::{Read, Write},
    net::TcpStream,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use backstop_harness::{Dns, Fault};
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
    net::{Connection, Endpoint, Inherited, NameServer, event_loop::served},
    policy::{self, ClientClass, Facts, Rules},
    store,
    suspension::{self, Suspensions},
    telemetry::Registry,
};

#[test]
fn a_panic_ends_its_own_session_alone() {
    served(async {
        let registry = Registry::default();
        let server = server(&registry);
        let address = listen(&server).await;
        let peers = tokio::task::spawn_blocking(move || {
            let mut other = negotiated(&address);
            let mut panics = negotiated(&address);
            assert_eq!(ask(&mut panics, FAULT), b"", "the connection is closed without an answer");
            assert_eq!(ask(&mut other, b"<anna@example.test>"), b"\0\0\0\x01c");
            assert_eq!(ask(&mut negotiated(&address), b"<anna@example.test>"), b"\0\0\0\x01c");
        });
        peers.await.expect("the peers find it so");
        let waited = server.drain(Duration::from_secs(20)).await;
        assert_eq!(
            (waited, server.metrics.session_panics.get(), server.metrics.sessions_open.get()),
            (0, 1, 0)
        );
    });
}

/// accept(2): what passes, and what does not, or is of one connection alone.
#[test]
fn a_shortage_is_waited_for() {
    use nix::errno::Errno;
    let is_one = |errno: Errno| is_shortage(&io::Error::from_raw_os_error(errno as i32));
    for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM] {
        assert!(is_one(errno), "{errno}");
    }
    for errno in [Errno::EBADF, Errno::EINVAL, Errno::ECONNABORTED] {
        assert!(!is_one(errno), "{errno}");
    }
}

/// The end is told by another thread, at once; what has come, by the event loop in its next turn.
#[test]
fn a_message_that_has_begun_to_come_is_no_victim_of_the_end() {
    served(async {
        let server = server(&Registry::default());
        let address = listen(&server).await;
        let mut mta = tokio::task::spawn_blocking(move || negotiated(&address)).await.expect("it is served");
        tell(&mut mta, b"<anna@example.test>");
        server.waits.begin_end();
        let answer = tokio::task::spawn_blocking(move || answer(&mut mta)).await.expect("it waits");
        assert_eq!(answer, b"\0\0\0\x01c");
    });
}

/// Nothing of this wants an answer, and all of it is there at once.
#[test]
fn one_that_writes_much_takes_turns_with_the_others() {
    served(async {
        let server = server(&Registry::default());
        let (mut connection, mut mta) = Connection::of_pair();
        let mut frames = offer();
        frames.extend_from_slice(&b"\0\0\0\x01K".repeat(100_000));
        mta.set_nonblocking(true).expect("it is open");
        let written = mta.write(&frames).expect("there is room for some");
        assert!(written > 50_000, "{written} bytes");
        mta.shutdown(std::net::Shutdown::Write).expect("it is open");
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        event_loop::spawn(Box::pin(async move {
            loop {
                counted.set(counted.get() + 1);
                tokio::task::yield_now().await;
            }
        }));
        session::Session::new(1, server).run(&mut connection).await;
        assert!(turns.get() > written / 5 / 100, "{} turns, {written} bytes", turns.get());
    });
}

/// Ten thousand of them are open on a busy host, and nearly all of them wait.
#[tokio::test]
async fn an_idle_connection_takes_little() {
    let server = server(&Registry::default());
    let (mut connection, _mta) = Connection::of_pair();
    let mut session = session::Session::new(1, server);
    let own = size_of_val(&session) + size_of_val(&connection);
    let waiting = size_of_val(&session.run(&mut connection));
    assert!(own + waiting <= 1300, "{own} and {waiting} bytes");
}

/// They are kept as `backstop check` would explain them.
#[test]
fn the_last_decisions_tell_what_led_to_them() {
    served(async {
        let registry = Registry::default();
        let server = server(&registry);
        let address = listen(&server).await;
        let written: [&[u8]; 2] = [b"<anna@example.test>", b"<anna@elsewhere.test>"];
        let peers = tokio::task::spawn_blocking(move || {
            for recipient in written {
                assert_eq!(ask(&mut negotiated(&address), recipient), b"\0\0\0\x01c");
            }
        });
        peers.await.expect("all pass");
        let recents = server.history.recent();
        assert_eq!((recents.decisions.len(), recents.left_out), (2, 0));
        for (kept, written) in recents.decisions.iter().rev().zip(written) {
            assert_eq!(kept.recipient.as_bytes(), written);
            let who = (kept.client, kept.name.as_deref(), kept.sender.as_deref(), kept.is_insider);
            assert_eq!(who, (None, Some("h"), Some("<sender@elsewhere.test>"), false));
            assert_eq!((kept.stage, kept.verdict), (policy::Stage::Rcpt, policy::Verdict::Continue));

            let snapshot = server.snapshot();
            let (recipient, bare) = recipient(written, || None);
            for (is_brief, mut asked) in [(false, Asked::explained()), (true, Asked::default())] {
                let mut facts = Facts { recipient: recipient.clone(), bare, ..Facts::default() };
                let decision = decide(&snapshot, Envelope::default(), &mut facts, Some(&mut asked)).await;
                assert_eq!(decision.reason, kept.reason);
                let mut steps = vec![client_step(None, &facts, Vec::new())];
                steps.extend(asked.steps(&facts));
                assert!(steps.len() > 1);
                for (step, kept) in steps.iter().zip(&kept.explanation.0) {
                    assert_eq!(
                        (&step.question, &step.about, &step.answer),
                        (&kept.question, &kept.about, &kept.answer)
                    );
                    let evidence = if is_brief { &Vec::new() } else { &kept.evidence };
                    assert_eq!(&step.evidence, evidence);
                }
                assert_eq!(steps.len(), kept.explanation.0.len());
            }
        }
    });
}

/// Panics where a fault is put in: [`FAULT`] is a recipient of no real MTA.
pub(super) fn fault(recipient: &[u8]) {
    assert_ne!(recipient, FAULT, "a fault put in by a test");
}

const FAULT: &[u8] = b"<fault@panic.invalid>";

/// Has it listen; gives where.
async fn listen(server: &Arc<Server>) -> String {
    let endpoint = Endpoint::Inet { host: "127.0.0.1".to_owned(), port: 0 };
    let mut listeners = Listener::bind(&endpoint, &mut Inherited::default()).await.expect("a free port");
    let listener = listeners.pop().expect("one address");
    let address = listener.address().trim_start_matches("inet:").to_owned();
    let server = Arc::clone(server);
    let accepted = async move { server.accept(Arc::new(listener)).await.expect("it is not broken") };
    event_loop::spawn(Box::pin(accepted));
    address
}

fn server(registry: &Registry) -> Arc<Server> {
    let snapshot = snapshot(registry, &client::Config::default(), Rules::default());
    Server::new(snapshot, &Limits::default(), Metrics::register(registry), Arc::default())
}

fn snapshot(registry: &Registry, client: &client::Config, rules: Rules) -> Snapshot {
    let keeper = Keeper::new(files::Metrics::register(registry));
    let metrics = directory::Metrics::register(registry);
    let directories = Directories::build(
        &Domains { detect: false, names: vec!["example.test".to_owned()], ..Domains::default() },
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
    let clients = Clients::build(client, [], &asked, &keeper).expect("no files");
    let shared = defence::Shared::new(store, defence::Metrics::register(registry));
    let defences =
        Defences::build(&defence::Config::default(), &shared, &Default::default(), Vec::new(), &keeper)
            .expect("no files");
    let directories = Arc::new(directories.expect("no files"));
    Snapshot::new(
        rules,
        directories,
        Arc::new(suspensions),
        Arc::new(clients),
        Arc::new(defences),
        Limits::default().lookup,
    )
}

/// Sendmail waits 10 s for an answer by default (README, `T=R:10s`). The DNS is silent for longer than that.
#[tokio::test(start_paused = true)]
async fn no_answer_takes_longer_than_an_mta_waits() {
    let dns = Dns::start();
    dns.fault("arpa", Some(Fault::Silence));
    let dynamic = client::Dynamic { deadline: Duration::from_secs(60), ..client::Dynamic::default() };
    let resolver = NameServer::At(dns.address());
    let config = client::Config { resolver, dynamic, ..client::Config::default() };
    let snapshot = snapshot(&Registry::default(), &config, strict());
    let envelope = Envelope { client: Some([203, 0, 113, 9].into()), ..Envelope::default() };
    let mut facts = Facts { stage: policy::Stage::Connect, ..Facts::default() };
    let begun = tokio::time::Instant::now();
    let decision = decide(&snapshot, envelope, &mut facts, None).await;
    assert_eq!((decision.reply, facts.class), (None, Some(ClientClass::Unknown)));
    let took = begun.elapsed();
    assert!(took >= LONGEST_REPLY && took < LONGEST_REPLY + Duration::from_secs(1), "{took:?}");
}

/// Whatever there was no time for, nobody is refused for good.
#[tokio::test]
async fn what_is_given_up_refuses_nobody() {
    let snapshot = snapshot(&Registry::default(), &client::Config::default(), strict());
    let mut asked = 0;
    for stage in [policy::Stage::Connect, policy::Stage::Rcpt, policy::Stage::EndOfMessage] {
        for (to, null_sender, is_outsider) in [
            ("anna@example.test", false, false),
            ("anna@example.test", true, false),
            ("a@b@c", true, false),
            ("anna@example.test", false, true),
            ("anna@example.test", true, true),
        ] {
            let (recipient, bare) = recipient(format!("<{to}>").as_bytes(), || None);
            let mut facts = Facts { stage, recipient, bare, null_sender, ..Facts::default() };
            let decision = loop {
                match policy::next(&snapshot.rules, &facts) {
                    policy::Step::Decide(decision) => break decision,
                    policy::Step::Ask(question) => {
                        asked += 1;
                        assert!(asked < 1000, "{question} is asked again");
                        decide::give_up(&snapshot, &mut facts, question).await;
                        let is_standing = question == policy::Question::Standing;
                        assert!(facts.may_be_insider() || !is_standing, "nobody knows that he is none");
                        // Who may be an insider is asked about less.
                        facts.is_unsure &= !is_outsider;
                    }
                }
            };
            let is_permanent = decision.reply.is_some_and(|reply| reply.code.is_permanent());
            assert!(!is_permanent, "{stage:?} {to}: {}", decision.reason);
        }
    }
    assert!(asked > 12, "{asked}");
}

/// All defences.
fn strict() -> Rules {
    let defences = policy::Defences {
        denied: true,
        standing: true,
        dynamic: true,
        dynamic_at_connect: true,
        traps: true,
        greylist: true,
        unsolicited: true,
    };
    Rules { defences, ..Rules::default() }
}

fn offer() -> BytesMut {
    let steps = Steps::NO_CONNECT | Steps::NO_HELO | Steps::NR_MAIL;
    let offer = Offer { version: Version::MAX, actions: Actions(0x1ff), steps, macros: &[] };
    let mut output = BytesMut::new();
    Client::new(offer).negotiate(&mut output);
    output
}

fn negotiated(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it is open");
    stream.write_all(&offer()).expect("it reads");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("it answers");
    let mut rest = vec![0; u32::from_be_bytes(answer) as usize];
    stream.read_exact(&mut rest).expect("it answers");
    stream
}

/// The answer to a recipient; nothing where the connection was closed instead.
fn ask(stream: &mut TcpStream, address: &[u8]) -> Vec<u8> {
    tell(stream, address);
    answer(stream)
}

fn tell(stream: &mut TcpStream, address: &[u8]) {
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
}

fn answer(stream: &mut TcpStream) -> Vec<u8> {
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
