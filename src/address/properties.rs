//! What holds for every input, however hostile.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
        read_all(&bytes);
    }

    #[test]
    fn parsing_never_panics_on_what_looks_like_an_address(text in hostile()) {
        read_all(text.as_bytes());
    }

    // A fault lies within the argument, and what is shown holds no control character.
    #[test]
    fn faults_are_in_place_and_safe_to_log(text in hostile()) {
        if let Err(error) = parse_rcpt(text.as_bytes()) {
            prop_assert!(error.at <= text.len());
            prop_assert!(text.is_char_boundary(error.at));
            let domain = error.domain.as_ref().map(ToString::to_string).unwrap_or_default();
            let shown = error.to_string() + &domain;
            prop_assert!(!shown.chars().any(text::is_forbidden));
        }
    }

    // RFC 5321 §4.1.2 and RFC 6531 §3.3: what is shown can be sent, and is the same mailbox.
    #[test]
    fn what_is_shown_reads_back(address in address()) {
        let shown = address.to_string();
        prop_assert!(!shown.chars().any(text::is_forbidden));
        prop_assert_eq!(Address::parse(&shown).unwrap(), address.clone());
        prop_assert_eq!(Address::parse(format!("<{shown}>")).unwrap(), address);
    }

    #[test]
    fn normalising_twice_is_normalising_once(text in hostile()) {
        if let Ok(domain) = Domain::parse(&text) {
            prop_assert_eq!(&Domain::parse(domain.as_str()).unwrap(), &domain);
            prop_assert!(domain.literal().is_none_or(|ip| Domain::from(ip) == domain));
        }
        if let Ok(local) = LocalPart::new(&text) {
            prop_assert_eq!(LocalPart::new(local.as_str()).unwrap(), local);
        }
    }

    // RFC 5321 §2.4 for domains; for local parts by decision.
    #[test]
    fn case_does_not_change_the_key(local in "[a-zA-Z0-9.!%+=]{1,20}", domain in "[a-z][a-zA-Z0-9.-]{0,9}[a-z]") {
        let read = |text: String| parse_rcpt(text.as_bytes()).map_err(|error| error.kind);
        let written = format!("<{local}@{domain}>");
        prop_assert_eq!(read(written.to_uppercase()), read(written.to_lowercase()));
        prop_assert_eq!(read(written.to_uppercase()), read(written));
    }

    // The same letters beyond ASCII: the key of the upper case form is that of the lower case form.
    #[test]
    fn case_does_not_change_the_key_beyond_ascii(local in "[a-z\u{e0}-\u{f6}\u{3b1}-\u{3c9}\u{430}-\u{44f}]{1,20}") {
        let domain = Domain::parse("example.com").unwrap();
        let upper = Address::new(&local.to_uppercase(), &domain).unwrap();
        let lower = Address::new(&local, &domain).unwrap();
        prop_assert_eq!(upper.key(), lower.key());
    }

    // The fast path of `Domain` against IDNA itself, told that the name is Unicode.
    #[test]
    fn an_ascii_domain_equals_what_idna_makes_of_it(name in "([a-zA-Z0-9_]([a-zA-Z0-9_-]{0,5}[a-zA-Z0-9])?[.]){1,3}com") {
        prop_assume!(!name.to_lowercase().contains("xn--"));
        let ascii = Domain::parse(&name).unwrap();
        let other = Domain::parse(name.replacen('.', "\u{3002}", 1)).unwrap();
        prop_assert_eq!(ascii, other);
    }

    #[test]
    fn candidates_are_few_distinct_and_whole(address in tagged(), delimiters in "[-+.=_]{0,3}") {
        let delimiters = Delimiters::new(&delimiters);
        let all: Vec<_> = candidates(&address, &delimiters).collect();
        prop_assert!(all.len() <= MAX_CANDIDATES);
        prop_assert_eq!(&*all[0].address, &address);
        for (at, candidate) in all.iter().enumerate() {
            prop_assert!(!candidate.address.local().is_empty());
            prop_assert_eq!(candidate.form == Form::Written, at == 0);
            prop_assert!(candidate.form == Form::Untagged || candidate.address.domain() == address.domain());
            prop_assert!(all[..at].iter().all(|earlier| earlier.address != candidate.address));
        }
        // What Postfix falls back to (split_addr(3)) is never lost.
        let cut = address.local().char_indices().find(|(at, c)| *at > 0 && delimiters.contains(*c));
        if let Some((cut, _)) = cut {
            let shortest = address.with_local(&address.local()[..cut]).unwrap();
            prop_assert!(all.iter().any(|candidate| *candidate.address == shortest), "{:?}", all);
        }
    }

    #[test]
    fn routes_end(address in address()) {
        let all: Vec<_> = routes(&address).collect();
        prop_assert!(all.len() <= MAX_DEPTH + 1);
        prop_assert_eq!(all.first().cloned(), inner_route(&address));
        let malformed = all.iter().position(|inner| *inner == Inner::Malformed);
        prop_assert!(malformed.is_none_or(|at| at + 1 == all.len()));
    }

    // Whoever hides a foreign host behind an operator is found out.
    #[test]
    fn a_route_is_uncovered(user in "[a-z0-9.+-]{1,9}", host in "[a-z]{1,9}[.]example", form in 0..6usize) {
        let local = match form {
            0 => format!("{user}%{host}"),
            1 => format!("{host}!{user}"),
            2 => format!("\"{user}@{host}\""),
            3 => format!("{user}\\@{host}"),
            4 => format!("\"{host}::{user}\""),
            _ => format!("IMCEASMTP-{}+40{host}", user.replace('+', "+2b")),
        };
        let outer = Address::parse(format!("<{local}@d.example>")).unwrap();
        let inner = Address::new(&user, &Domain::parse(&host).unwrap()).unwrap();
        prop_assert_eq!(inner_route(&outer), Some(Inner::Address(inner)));
    }
}

fn read_all(bytes: &[u8]) {
    let _ = Domain::parse(bytes);
    let _ = parse_mail(bytes);
    if let Ok(Path::Address(address)) = parse_rcpt(bytes) {
        let _ = address.to_string();
        let _ = routes(&address).count();
        let _ = candidates(&address, &Delimiters::new("+-=")).count();
    }
}

/// Text made of the characters that mean something to some mail system, and any others.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[a-zA-Z0-9.]{1,4}",
        6 => "[@%!:<>\"\\\\(),;\\[\\] ]",
        1 => Just("xn--".to_owned()),
        1 => Just("IPv6:".to_owned()),
        1 => Just("IMCEASMTP-".to_owned()),
        1 => Just("SRS0=a=b=".to_owned()),
        1 => Just("prvs=1234abcdef=".to_owned()),
        1 => any::<char>().prop_map(String::from),
        1 => "[\u{ff05}\u{ff20}\u{ff0e}\u{3002}\u{ff61}\u{300}-\u{36f}\u{ad}\u{200d}\u{1e9e}\u{130}\u{345}]",
        1 => "[\0\r\n\t\u{7f}\u{85}\u{202e}]",
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

fn address() -> impl Strategy<Value = Address> {
    (hostile(), hostile()).prop_filter_map("no address", |(local, domain)| {
        let domain = Domain::parse(domain).or_else(|_| Domain::parse("example.com")).ok()?;
        Address::new(&local, &domain).ok()
    })
}

fn tagged() -> impl Strategy<Value = Address> {
    let tag = prop_oneof![
        Just(""),
        Just("prvs=1234abcdef="),
        Just("btv1==1a2b=="),
        Just("srs0=a=b=d.example="),
        Just("SRS0+a=b=x.example="),
        Just("SRS1=a=f.example=-a=b=d.example="),
    ];
    (proptest::collection::vec(tag, 0..5), "[a-c+=._-]{1,16}").prop_map(|(tags, local)| {
        Address::new(&(tags.concat() + &local), &Domain::parse("d.example").unwrap()).unwrap()
    })
}
