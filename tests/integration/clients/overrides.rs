//! Every kind of client, and every way to be spared: a refusal for what a client looks like, the greylist, and a block never
//! reach those whom the admin or a password vouches for, and what the DNS could not tell never counts against anybody.

use std::net::Ipv4Addr;
use std::time::Duration;

use backstop_harness::{Backstop, Dns, Fault, Postfix, Reply, SASL_PASSWORD, SASL_USER, Smtp, wait_until};

use super::{backstop, ip};

/// What a client is told as a stranger: the reason in brackets, or that it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Passes,
    /// Row 2.
    Denied,
    /// Row 6.
    Blocked,
    /// Row 7.
    Dynamic,
    /// Row 16.
    Grey,
}

const CLIENTS: [(&str, &str, Told); 24] = [
    ("a server", "203.0.113.1", Told::Passes),
    ("dynamic by its name", "203.0.113.2", Told::Dynamic),
    ("dynamic by a file", "203.0.113.3", Told::Dynamic),
    ("dynamic by a DNSBL", "203.0.113.4", Told::Dynamic),
    ("the same, but on the DNSWL", "203.0.113.5", Told::Passes),
    ("dynamic by its name and a file, but on the DNSWL", "203.0.113.6", Told::Passes),
    ("dynamic by its name, excepted by it", "203.0.113.7", Told::Passes),
    ("it only claims the name that is excepted", "203.0.113.8", Told::Dynamic),
    ("dynamic by its name, excepted by its network", "203.0.113.9", Told::Passes),
    ("dynamic by its name, but what it calls itself is its own", "203.0.113.10", Told::Passes),
    ("generic", "203.0.113.11", Told::Grey),
    ("without a name", "203.0.113.12", Told::Grey),
    ("a name that is somebody else's", "203.0.113.13", Told::Grey),
    ("its name: SERVFAIL", "203.0.113.14", Told::Passes),
    ("its name: no answer in time", "203.0.113.15", Told::Passes),
    ("its name: no DNS message at all", "203.0.113.16", Told::Passes),
    ("where its name leads: SERVFAIL", "203.0.113.17", Told::Passes),
    ("listed by an error answer", "203.0.113.18", Told::Passes),
    ("dynamic by its name, and the DNSWL refuses to say", "203.0.113.19", Told::Passes),
    ("private, with a name that is dynamic and on the DNSBL", "10.9.1.2", Told::Passes),
    ("dynamic by a DNSBL, IPv6", "2001:db8:1::5", Told::Dynamic),
    ("without a name, IPv6", "2001:db8:1::6", Told::Grey),
    ("denied", "203.0.113.240", Told::Denied),
    ("trusted, with a name that is dynamic, on the DNSBL and denied", "192.0.2.77", Told::Passes),
];

#[test]
fn each_client_as_a_stranger_authenticated_trusted_and_blocked() {
    let dns = Dns::start();
    describe(&dns);
    let builder = backstop(&dns).file("dynamic.cidr", "203.0.113.3\n203.0.113.6\n");
    let networks = builder.path("dynamic.cidr");
    let backstop = builder
        .env("BACKSTOP__CLIENT__DENIED", r#"["203.0.113.240/28", "192.0.2.77"]"#)
        .env("BACKSTOP__CLIENT__DYNAMIC__DNSBL", r#"["pbl.example=127.0.0.10,127.0.0.11"]"#)
        .env("BACKSTOP__CLIENT__DNSWL", r#"["wl.example=127.0.0.0/16"]"#)
        .env("BACKSTOP__CLIENT__DYNAMIC__NETWORKS", &format!("[{:?}]", networks.display().to_string()))
        .env("BACKSTOP__CLIENT__DYNAMIC__EXCEPT", r#"["203.0.113.9", "friend.example"]"#)
        .env("BACKSTOP__DEFENCE__GREYLIST__MODE", "suspicious")
        .env("BACKSTOP__DEFENCE__GREYLIST__DELAY", "1h")
        .start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    for (who, client, told) in CLIENTS {
        let scene = Scene { backstop: &backstop, postfix: &postfix, who, client };
        let is_trusted = client.starts_with("192.0.2.");
        let as_insider = if told == Told::Denied { Told::Denied } else { Told::Passes };

        scene.is_told("a stranger", false, "anna", told);
        scene.is_told("authenticated", true, "anna", as_insider);
        if told == Told::Dynamic {
            scene.is_told("a stranger, to postmaster", false, "postmaster", Told::Passes);
        }

        // Even where nothing speaks against it.
        scene.does("block");
        let is_blocked = told != Told::Denied && !is_trusted;
        scene.is_told("blocked", false, "anna", if is_blocked { Told::Blocked } else { told });
        scene.is_told("blocked and authenticated", true, "anna", as_insider);

        scene.does("trust");
        scene.is_told("trusted for a time, and blocked", false, "anna", as_insider);
        scene.does("release");
        scene.is_told("a stranger again", false, "anna", told);
        scene.does("trust");
        scene.is_told("trusted for a time", false, "anna", as_insider);
    }
    let reverse = backstop.metric_by("backstop_reverse_dns_total", &[], "outcome");
    for outcome in ["confirmed", "unconfirmed", "unnamed", "unknown"] {
        assert!(reverse.get(outcome).is_some_and(|count| *count > 0.0), "{outcome}: {reverse:?}");
    }
}

/// Questions are asked as soon as a client is there, while it still says who it is.
#[test]
fn the_dns_is_asked_while_the_client_still_talks() {
    let dns = Dns::start();
    dns.host(ip("203.0.113.2"), "203-0-113-2.dynamic.isp.example");
    let lists = r#"["pbl.example=127.0.0.10"]"#;
    let backstop = backstop(&dns).env("BACKSTOP__CLIENT__DYNAMIC__DNSBL", lists).start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("proxy.test");
    assert_eq!(smtp.xclient("ADDR=203.0.113.2").code, 220, "{}", smtp.transcript());
    for name in ["2.113.0.203.in-addr.arpa", "203-0-113-2.dynamic.isp.example", "2.113.0.203.pbl.example"] {
        wait_until(Duration::from_secs(10), name, || dns.asked(name) > 0);
    }
    smtp.ehlo("client.test");
    smtp.mail("<sender@elsewhere.test>");
    assert_eq!(smtp.rcpt(ANNA).code, 550, "{}", smtp.transcript());
}

fn describe(dns: &Dns) {
    let v4 = |last: u8| ip(&format!("203.0.113.{last}"));
    let line = |last: u8| format!("203-0-113-{last}.dynamic.isp.example");
    for (last, name) in
        [(1, "mail.one.example"), (3, "three.example"), (4, "four.example"), (5, "five.example")]
    {
        dns.host(v4(last), name);
    }
    for last in [2, 6, 9, 10, 19] {
        dns.host(v4(last), &line(last));
    }
    for last in [4, 5] {
        dns.list("pbl.example", v4(last), PBL);
    }
    for last in [5, 6] {
        dns.list("wl.example", v4(last), Ipv4Addr::new(127, 0, 5, 1));
    }
    dns.host(v4(7), "203-0-113-7.dynamic.friend.example");
    dns.name_of(v4(8), "203-0-113-8.dynamic.friend.example");
    dns.address_of("mx.firm.example", v4(10));
    dns.host(v4(11), "203-0-113-11.town.isp.example");
    dns.name_of(v4(13), "mail.one.example");
    dns.fault_of(v4(14), Some(Fault::ServFail));
    dns.fault_of(v4(15), Some(Fault::Silence));
    dns.fault_of(v4(16), Some(Fault::Garbage));
    dns.name_of(v4(17), "seventeen.example");
    dns.fault("seventeen.example", Some(Fault::ServFail));
    dns.host(v4(18), "eighteen.example");
    for (zone, last) in [("pbl.example", 18), ("wl.example", 19)] {
        dns.list(zone, v4(last), Ipv4Addr::new(127, 255, 255, 254));
    }
    for address in ["10.9.1.2", "192.0.2.77"] {
        dns.host(ip(address), &format!("{}.dynamic.isp.example", address.replace('.', "-")));
        dns.list("pbl.example", ip(address), PBL);
    }
    dns.list("pbl.example", ip("2001:db8:1::5"), PBL);
}

struct Scene<'a> {
    backstop: &'a Backstop,
    postfix: &'a Postfix,
    who: &'a str,
    client: &'a str,
}

impl Scene<'_> {
    #[track_caller]
    fn is_told(&self, how: &str, is_authenticated: bool, local: &str, expected: Told) {
        let (mut smtp, mail) = self.session(is_authenticated);
        let reply = if mail.ok() { smtp.rcpt(&format!("<{local}@example.test>")) } else { mail };
        assert_eq!(told(&reply), Some(expected), "{}, {how}: {}", self.who, smtp.transcript());
        if expected == Told::Passes && local == "anna" {
            let unknown = smtp.rcpt("<nobody@example.test>");
            assert!(unknown.text.ends_with("[unknown-recipient]"), "{}, {how}: {unknown}", self.who);
        }
    }

    /// Up to MAIL, and what that is answered.
    fn session(&self, is_authenticated: bool) -> (Smtp, Reply) {
        let mut smtp = Smtp::connect(self.postfix.port());
        smtp.ehlo("proxy.test");
        let kind = if self.client.contains(':') { "IPV6:" } else { "" };
        let reply = smtp.xclient(&format!("ADDR={kind}{}", self.client));
        assert!(matches!(reply.code, 220 | 554), "{}", smtp.transcript());
        let helo = if self.client.ends_with(".10") { "mx.firm.example" } else { "no.such.example" };
        smtp.ehlo(helo);
        if is_authenticated {
            let reply = smtp.auth_plain(SASL_USER, SASL_PASSWORD);
            assert!(matches!(reply.code, 235 | 554), "{}", smtp.transcript());
        }
        let reply = smtp.mail("<sender@elsewhere.test>");
        (smtp, reply)
    }

    #[track_caller]
    fn does(&self, command: &str) {
        let output = self.backstop.command(&[command, self.client]);
        assert_eq!(output.status, 0, "{}: {command}: {output:?}", self.who);
    }
}

fn told(reply: &Reply) -> Option<Told> {
    let reasons = [
        (250, "", Told::Passes),
        (554, "[denied-client]", Told::Denied),
        (421, "[harvest]", Told::Blocked),
        (550, "[dynamic-client]", Told::Dynamic),
        (450, "[greylisted]", Told::Grey),
    ];
    let fitting = reasons.iter().find(|(code, end, _)| reply.code == *code && reply.text.ends_with(end));
    fitting.map(|(.., told)| *told)
}

const ANNA: &str = "<anna@example.test>";
const PBL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);
