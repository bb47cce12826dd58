//! Conversations as Postfix and Sendmail would have them, and ones that they never would.

use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Header, Mail, Rcpt};
use milter_protocol::flags::{Actions, Steps, Version};
use milter_protocol::negotiation::{CURRENT_OFFER, Offer};

pub(crate) struct Script {
    pub(crate) name: &'static str,
    pub(crate) offer: Offer<'static>,
    /// What the filter wants.
    pub(crate) actions: Actions,
    pub(crate) steps: Steps,
    pub(crate) commands: Vec<Step>,
}

pub(crate) enum Step {
    Send(Command<'static>),
    With(&'static [(&'static str, &'static str)], Command<'static>),
    Raw(&'static [u8]),
}

use Step::{Raw, Send, With};

pub(crate) fn scripts() -> Vec<Script> {
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
        script("macros-empty-list", {
            let rcpt = rcpt_command(b"macro a");
            vec![connect(), mail(b"<a>"), With(&[("a", "1")], rcpt), With(&[], rcpt)]
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
