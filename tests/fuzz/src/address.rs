//! Arguments of MAIL and RCPT.

use backstop::address::{
    Address, Delimiters, Domain, Inner, LocalPart, MAX_CANDIDATES, MAX_DEPTH, Path, candidates, mailbox,
    parse_mail, parse_rcpt, routes,
};

/// What is read is shown and read as the same; nothing grows; what is wrong is told in place and safely.
pub(crate) fn run(bytes: &[u8]) {
    let _ = parse_mail(bytes);
    match parse_rcpt(bytes) {
        Ok(Path::Address(address)) => of(&address),
        Ok(Path::Local(local)) => assert_eq!(LocalPart::new(local.as_str()).as_ref(), Ok(&local)),
        Err(error) => {
            assert!(error.at <= bytes.len());
            let domain = error.domain.as_ref().map(ToString::to_string).unwrap_or_default();
            is_safe(&(error.to_string() + &domain));
        }
    }
    if let Ok(domain) = Domain::parse(bytes) {
        assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain), "twice is once");
    }
}

fn of(address: &Address) {
    let shown = address.to_string();
    is_safe(&shown);
    assert_eq!(Address::parse(&shown).as_ref(), Ok(address), "shown as {shown:?}");
    assert_eq!(Address::new(address.local(), address.domain()).as_ref(), Ok(address), "{shown:?}");
    for delimiters in ["", "+", "-=", "+-.=_"] {
        let delimiters = Delimiters::new(delimiters);
        let all: Vec<_> = candidates(address, &delimiters).collect();
        assert!((1..=MAX_CANDIDATES).contains(&all.len()), "{all:?}");
        assert_eq!(&*all[0].address, address);
        let mailbox = mailbox(address, &delimiters);
        assert!(all.iter().any(|candidate| candidate.address == mailbox), "{mailbox} of {all:?}");
        for (at, candidate) in all.iter().enumerate() {
            assert!(!candidate.address.local().is_empty(), "{all:?}");
            assert!(all[..at].iter().all(|earlier| earlier.address != candidate.address), "{all:?}");
        }
    }
    let levels: Vec<_> = routes(address).collect();
    assert!(levels.len() <= MAX_DEPTH + 1, "{levels:?}");
    for level in levels {
        if let Inner::Address(inner) = level {
            is_safe(&inner.to_string());
            assert!(inner.to_string().len() <= 3 * shown.len() + 300, "{inner} of {shown}");
        }
    }
}

/// No control characters, no others that end a line, none that turn the reading direction (UAX #9) for what comes behind.
fn is_safe(shown: &str) {
    let is_bad = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!shown.contains(is_bad), "{shown:?}");
}
