//! Arguments of MAIL and RCPT.

use backstop::address::{
    Address, Delimiters, Domain, Inner, LocalPart, MAX_ARGUMENT, MAX_CANDIDATES, MAX_DEPTH, Path,
    ReversePath, Scheme, Untagged, candidates, mailbox, parse_mail, parse_rcpt, routes, untag,
};

/// What is read is shown and read as the same; nothing grows; what is wrong is told in place and safely.
pub(crate) fn run(bytes: &[u8]) {
    sender(bytes);
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
        assert!(domain.as_str().len() <= Domain::MAX_LENGTH, "{domain}");
    }
    if let Ok(local) = std::str::from_utf8(bytes) {
        tags(local);
    }
}

/// A sender is who he would be as a recipient, as he is written and as he is shown. What names somebody is never a bounce.
fn sender(bytes: &[u8]) {
    match parse_mail(bytes) {
        ReversePath::Address(address) => {
            assert_eq!(parse_rcpt(bytes), Ok(Path::Address(address.clone())), "as a recipient");
            assert!(bytes.len() <= MAX_ARGUMENT, "{} bytes", bytes.len());
            for shown in [address.to_string(), format!("<{address}>"), format!(" <{address}> ")] {
                let is_short = shown.len() <= MAX_ARGUMENT;
                let again = parse_mail(shown.as_bytes());
                assert!(!is_short || again == ReversePath::Address(address.clone()), "{shown:?}: {again:?}");
            }
        }
        ReversePath::Null => assert!(bytes.iter().all(|byte| b" <>".contains(byte)), "somebody is named"),
        ReversePath::Other => {
            assert!(!matches!(parse_rcpt(bytes), Ok(Path::Address(_))), "an address is one");
            let is_nothing = bytes.trim_ascii().is_empty() && bytes.iter().all(|byte| *byte == b' ');
            assert!(!is_nothing && bytes != b"<>", "it names nobody");
        }
    }
}

/// A tag that is undone was around what is left; undoing one that is made gives what it was made of, whatever that is.
fn tags(local: &str) {
    let mut left = local;
    while let Some(Untagged { local, domain, .. }) = untag(left) {
        assert!(
            !local.is_empty() && local.len() < left.len() && left.contains(local),
            "{local:?} of {left:?}"
        );
        assert!(domain.is_none_or(|domain| left.contains(domain)), "{domain:?} of {left:?}");
        left = local;
    }
    let srs = Some("example.org");
    for (tag, scheme, domain) in [
        ("prvs=1234abcdef=", Scheme::Batv, None),
        ("msprvs1=1202020UU5ulBw=", Scheme::Momentum, None),
        ("btv1==760cdc7c545==", Scheme::Barracuda, None),
        ("SRS0=HHH=TT=example.org=", Scheme::Srs0, srs),
        ("SRS1=HHH=first.example==HHH=TT=example.org=", Scheme::Srs1, srs),
    ] {
        for tag in [tag.to_lowercase(), tag.replace("SRS", "srs"), tag.to_owned()] {
            let tagged = tag + local;
            let expected = (!local.is_empty()).then_some(Untagged { scheme, local, domain });
            assert_eq!(untag(&tagged), expected, "{tagged:?}");
        }
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
