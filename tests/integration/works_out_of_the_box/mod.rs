//! Promise 1 without configuration: whatever detection would refuse, the same MTA without Backstop refuses. No exception.
//!
//! Each test is one configuration of a real MTA. It says which domains detection must see whole and which only in part;
//! then a generated universe of addresses is asked of both, the MTA (RCPT, no milter) and the decision engine over what was
//! detected.

mod judge;
mod live;
mod postfix;
mod sendmail;
mod universe;

use std::net::Ipv4Addr;

use backstop_harness::Smtp;

use judge::Judge;

/// Sendmail relays for this address, and so does a Postfix that has it in mynetworks.
const INSIDER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Nobody relays for this one.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// What a configuration must lead to.
#[derive(Clone, Copy)]
struct Expected<'a> {
    /// Local parts with a meaning in this configuration.
    locals: &'a [&'a str],
    /// Domains whose recipients are all known: at least one address of each is refused.
    whole: &'a [&'a str],
    /// Domains that are only half known: no address of theirs is refused. With a part of the reason.
    partial: &'a [(&'a str, &'a str)],
    /// Addresses that the MTA must take, as a check of the configuration itself.
    taken: &'a [&'a str],
    /// Addresses that must be refused.
    refused: &'a [&'a str],
}

/// Compares detection with the MTA on `port`.
#[track_caller]
fn compare(judge: &Judge, port: u16, expected: &Expected<'_>) {
    println!("{}", judge.findings());
    for domain in expected.whole {
        assert_eq!(judge.partial(domain), Some(Vec::new()), "{domain} should be whole");
    }
    for (domain, reason) in expected.partial {
        let partial = judge.partial(domain).unwrap_or_else(|| panic!("{domain} was not found"));
        assert!(
            partial.iter().any(|why| why.contains(reason)),
            "{domain} should be partial for {reason}: {partial:?}"
        );
    }
    let domains: Vec<&str> =
        expected.whole.iter().copied().chain(expected.partial.iter().map(|(name, _)| *name)).collect();
    let mut addresses = universe::addresses(expected.locals, &domains);
    addresses.extend(expected.taken.iter().chain(expected.refused).map(|address| (*address).to_owned()));

    let mut mta = Mta::new(STRANGER, port);
    let mut wrong = Vec::new();
    let mut refused = Vec::new();
    for address in &addresses {
        let Some(reason) = judge.refuses(address) else { continue };
        let reply = mta.rcpt(address);
        if !(500..600).contains(&reply.code) {
            wrong.push(format!("<{address}>: we say {reason}, the MTA says {} {}", reply.code, reply.text));
        }
        refused.push((address, reason));
    }
    // Whom the MTA relays for, it also takes routes from. (Of several MTAs, one takes from its insiders what is for the
    // domain of another, which then refuses it: a bounce.)
    let mut mta = Mta::new(INSIDER, port);
    let single = judge.findings().mtas.len() == 1;
    for address in addresses.iter().filter(|address| single && address.contains(['%', '!', '"'])) {
        let Some(reason) = judge.refuses_to(INSIDER, address) else { continue };
        let reply = mta.rcpt(address);
        if !(500..600).contains(&reply.code) {
            let insider =
                format!("we say {reason} to an insider, the MTA says {} {}", reply.code, reply.text);
            wrong.push(format!("<{address}>: {insider}"));
        }
    }
    println!("{} addresses, {} refused", addresses.len(), refused.len());
    assert!(wrong.is_empty(), "{} wrong refusals:\n{}", wrong.len(), wrong.join("\n"));

    for address in expected.taken {
        let reply = mta.rcpt(address);
        assert_eq!(reply.code, 250, "the MTA should take <{address}>: {}", reply.text);
        assert_eq!(judge.refuses(address), None, "<{address}>");
    }
    for address in expected.refused {
        assert!(judge.refuses(address).is_some(), "<{address}> should be refused");
    }
    // The test has teeth: unknown users of whole domains are refused, nobody of a partial one is.
    for domain in expected.whole {
        let of_domain = |address: &str| address.ends_with(&format!("@{domain}"));
        assert!(refused.iter().any(|(address, _)| of_domain(address)), "nothing was refused in {domain}");
    }
    for (domain, _) in expected.partial {
        let of_domain =
            |address: &str| address.to_lowercase().trim_end_matches('.').ends_with(&format!("@{domain}"));
        let found = refused.iter().find(|(address, _)| of_domain(address));
        assert_eq!(found, None, "{domain} is partial");
    }
}

/// Asks an MTA for one recipient after the other.
struct Mta {
    from: Ipv4Addr,
    port: u16,
    client: Smtp,
    asked: usize,
}

impl Mta {
    fn new(from: Ipv4Addr, port: u16) -> Self {
        Self { from, port, client: begin(from, port), asked: 0 }
    }

    fn rcpt(&mut self, address: &str) -> backstop_harness::Reply {
        self.asked += 1;
        if self.asked.is_multiple_of(PER_SESSION) {
            self.client = begin(self.from, self.port);
        }
        self.client.rcpt(&format!("<{address}>"))
    }
}

fn begin(from: Ipv4Addr, port: u16) -> Smtp {
    let mut client = Smtp::connect_from(Some(from.into()), (Ipv4Addr::LOCALHOST, port).into());
    assert_eq!(client.ehlo("client.example.org").code, 250);
    let reply = client.mail("<sender@elsewhere.test> SMTPUTF8");
    if reply.code != 250 {
        assert_eq!(client.mail("<sender@elsewhere.test>").code, 250);
    }
    client
}

/// Recipients of one session: under Postfix' smtpd_recipient_limit.
const PER_SESSION: usize = 400;
