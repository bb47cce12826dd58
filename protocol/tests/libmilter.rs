//! The original is the judge: the same scripts are played to a filter on libmilter (`libmilter_filter.c`, compiled here) and to
//! the same filter on a [`Session`], and everything that they reply is compared.
//!
//! Where they differ on purpose, `docs/libmilter-differences.md` says so, with both transcripts and the reason; this test
//! reads that table, and fails for a difference that is not in it, for one that is gone, and for one that has changed.
//!
//! A script is written at once, and the writing side is closed: what comes back until the end is the transcript, so
//! nothing here waits for a time.

#![cfg(test)]

use std::collections::BTreeMap;
use std::env::temp_dir;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use milter_protocol::client::Client;
use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Header, Mail, Rcpt};
use milter_protocol::flags::{Actions, Steps, Version};
use milter_protocol::frame::next_frame;
use milter_protocol::negotiation::{CURRENT_OFFER, Offer, Wanted};
use milter_protocol::reply::{Modification, Reply};
use milter_protocol::session::{Ask, Event, Session};
use milter_protocol::smtp_reply::SmtpReply;
use milter_protocol::verdict::*;

#[test]
fn replies_are_those_of_libmilter() {
    let directory = Directory::new();
    let filter = compile(&directory.0);
    let mut found = BTreeMap::new();
    let scripts = scripts();
    for script in &scripts {
        let theirs = {
            let socket = directory.0.join(format!("{}.libmilter", script.name));
            let _running = Libmilter::start(&filter, &socket, script);
            play(script, &socket)
        };
        let ours = {
            let socket = directory.0.join(format!("{}.session", script.name));
            let listener = UnixListener::bind(&socket).unwrap();
            let wanted = Wanted::new(script.actions, script.steps).unwrap();
            let server = thread::spawn(move || serve(listener.accept().unwrap().0, wanted));
            let transcript = play(script, &socket);
            server.join().unwrap();
            transcript
        };
        println!("{:28} {theirs}", script.name);
        if theirs != ours {
            println!("{:28} {ours}   <- ours", "");
            found.insert(script.name.to_owned(), (theirs, ours));
        }
    }
    assert_eq!(scripts.len(), scripts.iter().map(|s| (s.name, ())).collect::<BTreeMap<_, _>>().len());
    assert_eq!(found, documented(), "left: found now; right: docs/libmilter-differences.md");
}

struct Script {
    name: &'static str,
    offer: Offer<'static>,
    /// What the filter wants.
    actions: Actions,
    steps: Steps,
    commands: Vec<Step>,
}

enum Step {
    Send(Command<'static>),
    With(&'static [(&'static str, &'static str)], Command<'static>),
    Raw(&'static [u8]),
}

use Step::{Raw, Send, With};

/// A conversation as Postfix or Sendmail would have it, or one that they never would.
fn scripts() -> Vec<Script> {
    let mut all = vec![
        script("message", vec![]).plus(message()).send(Command::Quit),
        script("message-all-actions", message()).wants(Actions(0xFF), Steps::NONE),
        script("two-messages", message())
            .send(Command::Abort)
            .plus(message().split_off(2))
            .send(Command::Quit),
        script("two-messages-no-abort", message()).plus(message().split_off(2)),
        script("version-2", message()).offers(2, 0x1FF, 0x7F),
        script("version-2-zero-words", message()).offers(2, 0, 0),
        script("version-3", message()).offers(3, 0x3F, 0x1FF),
        script("version-8", message()).offers(8, 0x1FF, 0x1F_FFFF),
        script("version-1", message()).offers(1, 0x0F, 0x3F),
        script("data-size-bits", message()).offers(6, 0x1FF, 0x301F_FFFF),
        script("actions-not-offered", message()).offers(6, 0x01, 0x1F_FFFF).wants(Actions(0x03), Steps::NONE),
        script("no-steps", message()).wants(Actions::NONE, Steps(0x377)),
        script("no-steps-not-offered", message()).offers(2, 0x1FF, 0x7F).wants(Actions::NONE, Steps::NO_DATA),
        script("no-headers-not-offered", message())
            .offers(6, 0x1FF, 0x0F)
            .wants(Actions::NONE, Steps::NO_HEADERS),
        script("no-reply-steps", message()).wants(Actions::NONE, no_replies()),
        script("no-reply-steps-not-offered", message())
            .offers(2, 0x1FF, 0x7F)
            .wants(Actions::NONE, no_replies()),
        script(
            "no-mail",
            vec![connect(), rcpt(b"<reject>"), rcpt(b"<a>"), Send(Command::EndOfMessage(b"")), rcpt(b"<a>")],
        )
        .wants(Actions::NONE, Steps::NO_HELO | Steps::NO_MAIL),
        script("refusals", vec![connect(), mail(b"<a>"), rcpt(b"<reject>"), rcpt(b"<defer>"), rcpt(b"<a>")]),
        script("percent-and-lines", vec![connect(), mail(b"<a>"), rcpt(b"<percent>"), rcpt(b"<lines>")]),
        script("parameters", vec![connect(), mail(b"<a>"), Raw(b"\0\0\0\x12Rparameters\0A=1\0B\0")]),
        script("mail-refused", vec![connect(), mail(b"<reject>"), mail(b"<a>"), rcpt(b"<a>")]),
        script("mail-accepted", vec![connect(), mail(b"<accept>"), mail(b"<a>"), rcpt(b"<a>")]),
        script("mail-discarded", vec![connect(), mail(b"<discard>"), Send(Command::Abort), mail(b"<a>")]),
        script(
            "helo-refused",
            vec![connect(), Send(Command::Helo(b"reject")), Send(Command::Helo(b"a")), mail(b"<a>")],
        ),
        script(
            "header-refused",
            vec![connect(), mail(b"<a>"), rcpt(b"<a>"), header(b"X-Reject", b"why"), mail(b"<b>")],
        ),
        script("body-skipped", body(b"skip")).wants(Actions::NONE, Steps::SKIP),
        script("body-discarded", body(b"discard")),
        script("body-in-end", {
            vec![connect(), mail(b"<a>"), rcpt(b"<a>"), Send(Command::EndOfMessage(b"rest of the body"))]
        }),
        script("no-content", vec![connect(), mail(b"<a>"), rcpt(b"<a>"), Send(Command::EndOfMessage(b""))]),
        script(
            "unknown-command",
            vec![connect(), Send(Command::Unknown(b"FOO")), Send(Command::Unknown(b"REJECT")), mail(b"<a>")],
        ),
        script("unknown-within-message", {
            vec![
                connect(),
                mail(b"<a>"),
                Send(Command::Unknown(b"FOO")),
                rcpt(b"<a>"),
                Send(Command::Unknown(b"FOO")),
                rcpt(b"<b>"),
            ]
        }),
        script("unknown-before-data", {
            vec![connect(), mail(b"<a>"), rcpt(b"<a>"), Send(Command::Unknown(b"FOO")), Send(Command::Data)]
        }),
        script(
            "abort-repeated",
            vec![connect(), mail(b"<a>"), abort(), abort(), abort(), mail(b"<a>"), rcpt(b"<a>")],
        ),
        script("abort-before-connect", vec![abort(), connect(), mail(b"<a>")]),
        script(
            "helo-repeated",
            vec![connect(), helo(), helo(), mail(b"<a>"), helo(), mail(b"<a>"), rcpt(b"<a>")],
        ),
        script("mail-repeated", vec![connect(), mail(b"<a>"), mail(b"<b>"), rcpt(b"<a>")]),
        script("null-senders", vec![connect(), mail(b"<>"), abort(), mail(b"")]),
        script("new-connection", vec![])
            .plus(message())
            .send(Command::QuitNewConnection)
            .plus(message())
            .send(Command::Quit),
        script(
            "new-connection-within-message",
            vec![connect(), mail(b"<a>"), rcpt(b"<a>"), Send(Command::QuitNewConnection), connect()],
        ),
        script("after-quit", vec![connect(), Send(Command::Quit), connect()]),
        script("rcpt-first", vec![connect(), rcpt(b"<a>"), mail(b"<a>"), rcpt(b"<a>")]),
        script(
            "rcpt-after-data",
            vec![connect(), mail(b"<a>"), rcpt(b"<a>"), Send(Command::Data), rcpt(b"<a>"), mail(b"<a>")],
        ),
        script("end-without-message", vec![connect(), Send(Command::EndOfMessage(b"")), mail(b"<a>")]),
        script(
            "end-after-data",
            vec![
                connect(),
                mail(b"<a>"),
                rcpt(b"<a>"),
                Send(Command::Data),
                Send(Command::EndOfMessage(b"")),
            ],
        ),
        script(
            "body-after-header",
            vec![connect(), mail(b"<a>"), rcpt(b"<a>"), header(b"A", b"b"), Send(Command::Body(b"b"))],
        ),
        script("mail-before-connect", vec![mail(b"<a>"), rcpt(b"<a>")]),
        script("connect-twice", vec![connect(), connect(), mail(b"<a>")]),
        script(
            "offer-twice",
            vec![connect(), Raw(b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff"), mail(b"<a>")],
        ),
        script("suppressed-helo", vec![connect(), Raw(b"\0\0\0\x03Ha\0"), mail(b"<a>")])
            .wants(Actions::NONE, Steps::NO_HELO),
        script("length-0", vec![connect(), Raw(b"\0\0\0\0"), mail(b"<a>")]),
        script("length-over-the-limit", vec![connect(), Raw(b"\0\x01\0\x01B"), mail(b"<a>")]),
        script("length-negative", vec![connect(), Raw(b"\xff\xff\xff\xffB"), mail(b"<a>")]),
        script("length-at-the-limit", body(Box::leak(vec![b'x'; 65_535].into_boxed_slice()))),
        script("unknown-byte", vec![connect(), Raw(b"\0\0\0\x01z"), mail(b"<a>")]),
        script("helo-without-nul", vec![connect(), Raw(b"\0\0\0\x02Ha"), mail(b"<a>")]),
        script("helo-with-two-strings", vec![connect(), Raw(b"\0\0\0\x05Ha\0b\0"), mail(b"<a>")]),
        script("mail-without-nul", vec![connect(), Raw(b"\0\0\0\x04M<a>"), mail(b"<a>")]),
        script("mail-cut-parameter", vec![connect(), Raw(b"\0\0\0\x08M<a>\0SIZ"), rcpt(b"<a>")]),
        script("mail-empty", vec![connect(), Raw(b"\0\0\0\x01M"), mail(b"<a>")]),
        script("header-of-one-string", vec![connect(), mail(b"<a>"), rcpt(b"<a>"), Raw(b"\0\0\0\x03La\0")]),
        script(
            "header-of-three-strings",
            vec![connect(), mail(b"<a>"), rcpt(b"<a>"), Raw(b"\0\0\0\x07La\0b\0c\0")],
        ),
        script(
            "data-with-payload",
            vec![connect(), mail(b"<a>"), rcpt(b"<a>"), Raw(b"\0\0\0\x02Tx"), mail(b"<a>")],
        ),
        script("abort-with-payload", vec![connect(), Raw(b"\0\0\0\x02Ax"), mail(b"<a>")]),
        script("macros-empty-frame", vec![connect(), Raw(b"\0\0\0\x01D"), mail(b"<a>")]),
        script("macros", {
            let rcpt_macros = &[("{rcpt_addr}", "a@b"), ("i", "Q2"), ("{x}", "braced")];
            vec![
                With(&[("j", "mx"), ("i", "Q1")], connect_command()),
                mail(b"<a>"),
                With(rcpt_macros, rcpt_command(b"macro {rcpt_addr}")),
                With(rcpt_macros, rcpt_command(b"macro i")),
                With(rcpt_macros, rcpt_command(b"macro {i}")),
                With(rcpt_macros, rcpt_command(b"macro x")),
                With(rcpt_macros, rcpt_command(b"macro j")),
                With(rcpt_macros, rcpt_command(b"macro {none}")),
            ]
        }),
        script("macros-long-name-unbraced", {
            vec![connect(), mail(b"<a>"), With(&[("{rcpt_addr}", "a@b")], rcpt_command(b"macro rcpt_addr"))]
        }),
        script(
            "macros-odd",
            vec![connect(), mail(b"<a>"), Raw(b"\0\0\0\x08DRa\x001\0b\0"), rcpt(b"macro a")],
        ),
        script(
            "macros-odd-name",
            vec![connect(), mail(b"<a>"), Raw(b"\0\0\0\x08DRa\x001\0b\0"), rcpt(b"macro b")],
        ),
        script("macros-cut", vec![connect(), mail(b"<a>"), Raw(b"\0\0\0\x07DRa\x001\0b"), rcpt(b"macro a")]),
        script(
            "macros-unknown-stage",
            vec![connect(), mail(b"<a>"), Raw(b"\0\0\0\x06DZa\x001\0"), rcpt(b"macro a")],
        ),
        script(
            "macros-of-header-stage",
            vec![connect(), mail(b"<a>"), Raw(b"\0\0\0\x06DLa\x001\0"), rcpt(b"macro a")],
        ),
        script("macros-twice-in-a-frame", {
            vec![connect(), mail(b"<a>"), Raw(b"\0\0\0\x0aDRa\x001\0a\x002\0"), rcpt(b"macro a")]
        }),
        script("macros-after-abort", {
            vec![
                connect(),
                With(&[("i", "Q1")], mail_command(b"<a>")),
                abort(),
                mail(b"<a>"),
                rcpt(b"macro i"),
            ]
        }),
        script("macros-of-helo-after-abort", {
            vec![
                connect(),
                With(&[("h", "H1")], Command::Helo(b"a")),
                abort(),
                mail(b"<a>"),
                rcpt(b"macro h"),
            ]
        }),
        script("macros-of-rcpt-before", {
            vec![connect(), mail(b"<a>"), With(&[("a", "1")], rcpt_command(b"macro a")), rcpt(b"macro a")]
        }),
        script("macros-of-rcpt-after-mail", {
            vec![
                connect(),
                mail(b"<a>"),
                With(&[("a", "1")], rcpt_command(b"<a>")),
                abort(),
                mail(b"<a>"),
                rcpt(b"macro a"),
            ]
        }),
        script("macros-after-new-connection", message()).plus(vec![
            Send(Command::QuitNewConnection),
            connect(),
            mail(b"<a>"),
            rcpt(b"macro j"),
            rcpt(b"macro i"),
        ]),
        script("macros-after-end", message()).plus(vec![
            mail(b"<a>"),
            rcpt(b"macro j"),
            rcpt(b"macro {mail_addr}"),
        ]),
    ];
    let addresses: [(&'static str, &'static [u8]); 13] = [
        ("address-inet", b"Cshow\x004\x12\x671.2.3.4\0"),
        ("address-inet6", b"Cshow\x006\x12\x672001:db8::1\0"),
        ("address-inet6-prefix", b"Cshow\x006\x12\x67IPv6:0:0:0:0:0:0:0:1\0"),
        ("address-inet6-lower-prefix", b"Cshow\x006\x12\x67ipv6:::1\0"),
        ("address-inet6-brackets", b"Cshow\x006\x12\x67[::1]\0"),
        ("address-inet6-mapped", b"Cshow\x006\x12\x67::ffff:1.2.3.4\0"),
        ("address-unix", b"Cshow\x00L\0\0/tmp/socket\0"),
        ("address-unknown-family", b"Cshow\x00U"),
        ("address-xclient-unknown", b"Cshow\x004\0\0unknown\0"),
        ("address-strange-family", b"Cshow\x00X\0\0what\0"),
        ("address-short-form", b"Cshow\x004\0\x01127.1\0"),
        ("address-missing", b"Cshow\x004"),
        ("address-without-nul", b"Cshow\x004\x12\x671.2.3.4"),
    ];
    for (name, payload) in addresses {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        all.push(script(name, vec![Raw(Box::leak([&length[..], payload].concat().into_boxed_slice()))]));
    }
    all
}

fn script(name: &'static str, commands: Vec<Step>) -> Script {
    Script { name, offer: CURRENT_OFFER, actions: Actions::NONE, steps: Steps::NONE, commands }
}

impl Script {
    fn offers(mut self, version: u32, actions: u32, steps: u32) -> Script {
        self.offer =
            Offer { version: Version(version), actions: Actions(actions), steps: Steps(steps), macros: &[] };
        self
    }

    fn wants(mut self, actions: Actions, steps: Steps) -> Script {
        (self.actions, self.steps) = (actions, steps);
        self
    }

    fn plus(mut self, commands: Vec<Step>) -> Script {
        self.commands.extend(commands);
        self
    }

    fn send(self, command: Command<'static>) -> Script {
        self.plus(vec![Send(command)])
    }
}

fn message() -> Vec<Step> {
    vec![
        With(&[("j", "mx.example.test")], connect_command()),
        With(&[], Command::Helo(b"client.example")),
        With(&[("{mail_addr}", "a@b.example")], mail_command(b"<a@b.example>")),
        With(&[("{rcpt_addr}", "c@d.example")], rcpt_command(b"<c@d.example>")),
        With(&[("i", "Q1")], Command::Data),
        header(b"Subject", b"t"),
        header(b"X-A", b"b\n c"),
        Send(Command::EndOfHeaders),
        Send(Command::Body(b"hello\r\n")),
        Send(Command::EndOfMessage(b"")),
    ]
}

fn body(chunk: &'static [u8]) -> Vec<Step> {
    vec![
        connect(),
        mail(b"<a>"),
        rcpt(b"<a>"),
        Send(Command::EndOfHeaders),
        Send(Command::Body(chunk)),
        Send(Command::EndOfMessage(b"")),
    ]
}

/// All but RCPT's.
fn no_replies() -> Steps {
    Steps(0xF_F080) - Steps::NR_RCPT
}

fn connect_command() -> Command<'static> {
    Command::Connect(Connect {
        host: b"client.example",
        address: ClientAddress::Inet([192, 0, 2, 1].into(), 4711),
    })
}

fn connect() -> Step {
    Send(connect_command())
}

fn helo() -> Step {
    Send(Command::Helo(b"client.example"))
}

fn mail_command(address: &'static [u8]) -> Command<'static> {
    Command::Mail(Mail { address, parameters: CStrings::default() })
}

fn mail(address: &'static [u8]) -> Step {
    Send(mail_command(address))
}

fn rcpt_command(address: &'static [u8]) -> Command<'static> {
    Command::Rcpt(Rcpt { address, parameters: CStrings::default() })
}

fn rcpt(address: &'static [u8]) -> Step {
    Send(rcpt_command(address))
}

fn header(name: &'static [u8], value: &'static [u8]) -> Step {
    Send(Command::Header(Header { name, value }))
}

fn abort() -> Step {
    Send(Command::Abort)
}

/// Plays a script. The transcript: each reply's byte, with what is in it in parentheses.
fn play(script: &Script, socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut client = Client::new(script.offer);
    let mut output = BytesMut::new();
    client.negotiate(&mut output);
    stream.write_all(&output).unwrap();
    let mut replies = Vec::new();
    let mut transcript = String::new();
    while transcript.is_empty() {
        if !read_some(&mut stream, &mut replies) {
            return "(closed)".to_owned();
        }
        let mut input = &replies[..];
        if let Some(reply) = client.receive(&mut input).unwrap() {
            transcript = describe(&reply);
            assert!(input.is_empty(), "more than the answer to the offer");
        }
    }
    replies.clear();
    output.clear();
    for step in &script.commands {
        match step {
            Send(command) => drop(client.send(command, None, &mut output)),
            With(macros, command) => drop(client.send(command, Some(macros), &mut output)),
            Raw(bytes) => output.extend_from_slice(bytes),
        }
    }
    // Who closes before it has read everything breaks the pipe; what it had replied can still be read.
    match stream.write_all(&output).and_then(|()| stream.shutdown(Shutdown::Write)) {
        Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::NotConnected) => {
            panic!("{error}")
        }
        _ => {}
    }
    while read_some(&mut stream, &mut replies) {}
    let mut input = &replies[..];
    while let Some(frame) = next_frame(&mut input, 1 << 20).unwrap() {
        transcript.push(' ');
        transcript.push_str(&describe(&Reply::parse(frame).unwrap()));
    }
    assert!(input.is_empty(), "half a reply");
    transcript
}

/// `false`: closed.
fn read_some(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk) {
        Ok(0) => false,
        Ok(length) => {
            bytes.extend_from_slice(&chunk[..length]);
            true
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        Err(error) => panic!("no reply and no end: {error}"),
    }
}

fn describe(reply: &Reply<'_>) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    match reply {
        Reply::Negotiate(o) => {
            format!("O({} {:x} {:x}{})", o.version, o.actions.0, o.steps.0, text(o.macros))
        }
        Reply::ReplyCode(bytes) => format!("y({})", text(bytes)),
        Reply::Modify(_) => {
            let mut output = BytesMut::new();
            reply.encode(&mut output);
            format!("{}({})", char::from(reply.code()), text(&output[5..]))
        }
        _ => char::from(reply.code()).to_string(),
    }
}

/// The filter of `libmilter_filter.c`, on a [`Session`].
fn serve(mut stream: UnixStream, wanted: Wanted) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut session = Session::new(wanted);
    let mut bytes = Vec::new();
    loop {
        let mut input = &bytes[..];
        let mut output = BytesMut::new();
        let open = loop {
            match session.next(&mut input, &mut output) {
                Ok(Some(Event::Quit)) | Err(_) => break false,
                Ok(Some(event)) => decide(&mut session, event, &mut output),
                Ok(None) => break true,
            }
        };
        stream.write_all(&output).unwrap();
        let read = bytes.len() - input.len();
        bytes.drain(..read);
        if !open || !read_some(&mut stream, &mut bytes) {
            return;
        }
    }
}

fn decide(session: &mut Session, event: Event<'_>, output: &mut BytesMut) {
    fn give<V: Verdict>(session: &mut Session, ask: Option<Ask<V>>, verdict: V, output: &mut BytesMut) {
        if let Some(ask) = ask {
            session.answer(ask, verdict, output);
        }
    }
    match event {
        Event::Connect(connect, ask) if connect.host == b"show" => {
            let text = match connect.address {
                ClientAddress::Inet(ip, port) => format!("{ip} {port}"),
                ClientAddress::Inet6(ip, port) => format!("{ip} {port}"),
                ClientAddress::Unix(path) => String::from_utf8(path.to_vec()).unwrap(),
                ClientAddress::Unknown => "unknown".to_owned(),
            };
            give(session, ask, ConnectVerdict::Refuse(reply(554, "5.7.1", &[&text])), output);
        }
        Event::Connect(_, ask) => give(session, ask, ConnectVerdict::Continue, output),
        Event::Helo(b"reject", ask) => {
            give(session, ask, HeloVerdict::Refuse(reply(550, "5.7.1", &["No"])), output);
        }
        Event::Helo(_, ask) => give(session, ask, HeloVerdict::Continue, output),
        Event::Mail(mail, ask) => {
            let verdict = match mail.address {
                b"<reject>" => MailVerdict::Refuse(reply(550, "5.7.1", &["No"])),
                b"<accept>" => MailVerdict::Accept,
                b"<discard>" => MailVerdict::Discard,
                _ => MailVerdict::Continue,
            };
            give(session, ask, verdict, output);
        }
        Event::Rcpt(rcpt, ask) => {
            let verdict = match rcpt.address {
                b"<reject>" => RcptVerdict::Refuse(reply(550, "5.1.1", &["No such user"])),
                b"<defer>" => RcptVerdict::Refuse(reply(451, "4.4.3", &["Try again"])),
                b"<percent>" => RcptVerdict::Refuse(reply(550, "5.1.1", &["100% unknown"])),
                b"<lines>" => RcptVerdict::Refuse(reply(550, "5.1.1", &["one", "two", "three"])),
                b"parameters" => {
                    let parameters = rcpt.parameters.iter().map(|p| std::str::from_utf8(p).unwrap());
                    let text = ["with"].into_iter().chain(parameters).collect::<Vec<_>>().join(" ");
                    RcptVerdict::Refuse(reply(550, "5.7.1", &[&text]))
                }
                other => match other.strip_prefix(b"macro ") {
                    Some(name) => {
                        let value = session.macros().get(std::str::from_utf8(name).unwrap());
                        let value = value.map_or("none", |value| std::str::from_utf8(value).unwrap());
                        RcptVerdict::Refuse(reply(550, "5.7.1", &[&format!("value {value}")]))
                    }
                    None => RcptVerdict::Continue,
                },
            };
            give(session, Some(ask), verdict, output);
        }
        Event::Data(ask) => give(session, ask, DataVerdict::Continue, output),
        Event::Header(header, ask) if header.name == b"X-Reject" => {
            let why = std::str::from_utf8(header.value).unwrap();
            give(session, ask, HeaderVerdict::Refuse(reply(550, "5.7.1", &[why])), output);
        }
        Event::Header(_, ask) => give(session, ask, HeaderVerdict::Continue, output),
        Event::EndOfHeaders(ask) => give(session, ask, EndOfHeadersVerdict::Continue, output),
        Event::Body(b"skip", ask) => give(session, ask, BodyVerdict::Skip, output),
        Event::Body(b"discard", ask) => give(session, ask, BodyVerdict::Discard, output),
        Event::Body(_, ask) => give(session, ask, BodyVerdict::Continue, output),
        Event::EndOfMessage(_, ask) => {
            if session.agreed().unwrap().actions.is_empty() {
                return session.answer(ask, EndOfMessageVerdict::Continue, output);
            }
            let parameter = |text| CStrings::from_wire(text).unwrap();
            let changes = [
                Modification::AddHeader { name: b"X-Added", value: b"a" },
                Modification::InsertHeader { index: 1, name: b"X-Inserted", value: b"b" },
                Modification::ChangeHeader { index: 2, name: b"X-Changed", value: b"c" },
                Modification::AddRcpt(b"<more>"),
                Modification::AddRcptPar { address: b"<more>", parameters: parameter(b"NOTIFY=NEVER\0") },
                Modification::DeleteRcpt(b"<less>"),
                Modification::ChangeFrom { address: b"<from>", parameters: parameter(b"SIZE=1\0") },
                Modification::ReplaceBody(b"body\r\n"),
            ];
            for change in changes {
                session.modify(&ask, &change, output).unwrap();
            }
            session.progress(&ask, output);
            session.modify(&ask, &Modification::Quarantine(b"held"), output).unwrap();
            session.answer(ask, EndOfMessageVerdict::Accept, output);
        }
        Event::Unknown(b"REJECT", ask) => {
            give(session, ask, UnknownVerdict::Refuse(reply(500, "5.5.1", &["No"])), output);
        }
        Event::Unknown(_, ask) => give(session, ask, UnknownVerdict::Continue, output),
        Event::Negotiated | Event::Abort | Event::NewConnection | Event::Quit => {}
    }
}

fn reply(code: u16, enhanced: &str, lines: &[&str]) -> SmtpReply {
    SmtpReply::new(code, enhanced.parse().unwrap(), lines).unwrap()
}

/// The table of the documentation: script, what libmilter replies, what we reply.
fn documented() -> BTreeMap<String, (String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/libmilter-differences.md");
    let text = fs::read_to_string(path).unwrap_or_default();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, theirs, ours, why, _] = cells[..] else { panic!("not four columns: {line}") };
        assert!(!why.is_empty(), "no reason: {line}");
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        (code(name), (code(theirs), code(ours)))
    })
    .collect()
}

/// Compiles the C filter.
fn compile(directory: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libmilter_filter.c");
    assert!(
        Path::new("/usr/include/libmilter/mfapi.h").exists(),
        "this test compares with libmilter: install it (Debian: apt-get install libmilter-dev)"
    );
    let program = directory.join("filter");
    let compiler =
        Process::new("cc").arg("-o").arg(&program).args([source, "-lmilter", "-lpthread"]).output();
    let output =
        compiler.expect("this test needs a C compiler named cc (Debian: apt-get install gcc libc6-dev)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// The C filter at work; ends with the value.
struct Libmilter(Child);

impl Libmilter {
    fn start(program: &Path, socket: &Path, script: &Script) -> Libmilter {
        let mut process = Process::new(program);
        process.arg(format!("local:{}", socket.display()));
        process.args([format!("{:x}", script.actions.0), format!("{:x}", script.steps.0)]);
        let child = process.stdin(Stdio::null()).spawn().unwrap();
        let mut running = Libmilter(child);
        let start = Instant::now();
        // It says nothing when it is ready: try until it takes a connection, which is closed at once.
        while let Err(error) = UnixStream::connect(socket) {
            assert!(start.elapsed() < DEADLINE, "{error}");
            assert!(running.0.try_wait().unwrap().is_none(), "the libmilter filter has ended");
            thread::sleep(Duration::from_millis(2));
        }
        running
    }
}

impl Drop for Libmilter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let path = temp_dir().join(format!("milter-protocol-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const DEADLINE: Duration = Duration::from_secs(20);
