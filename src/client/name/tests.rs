//! Names as providers give them, the admin's patterns, and properties of the rules.

use std::{fs, net::Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::files::Metrics;
use crate::telemetry::Registry;
use ClientClass::{Dynamic as D, Generic as G, Server as S};

fn judge(client: &str, name: &str) -> Judged {
    Names::default().judge(client.parse().expect(client), name)
}

fn config(patterns: &[&str], except: &[&str]) -> Dynamic {
    Dynamic {
        patterns: patterns.iter().map(|text| text.parse().expect(text)).collect(),
        except: except.iter().map(|&text| text.to_owned()).collect(),
        ..Dynamic::default()
    }
}

fn build(patterns: &[&str], except: &[&str]) -> Names {
    let keeper = Keeper::new(Metrics::register(&Registry::default()));
    Names::build(&config(patterns, except), &keeper).expect("patterns that can be used")
}

/// Names that servers have, each of which some rule set of the field takes for a line.
#[test]
fn servers_stay_servers() {
    for (client, name) in [
        ("198.51.100.1", "hyperdyne.com"),
        ("198.51.100.1", "www.wireless.org.au"),
        ("195.129.80.16", "relay.dub-t3-1.nwcgroup.com"),
        ("205.158.62.44", "205-158-62-44.outblaze.com"),
        ("198.51.100.1", "smtp-out.west-vlaanderen.be"),
        ("66.220.155.151", "66-220-155-151.mail-mail.facebook.com"),
        ("167.89.97.77", "o167-89-97-77.outbound-mail.sendgrid.net"),
        ("88.198.1.2", "static.88-198-1-2.clients.your-server.de"),
        ("198.51.100.7", "mail7.dynamic.example.com"),
        ("198.51.100.7", "adsl.example.com"),
        ("198.51.100.7", "pool.example.com"),
        ("198.51.100.7", "pool3.example.com"),
        ("198.51.100.7", "dynamic-solutions.example.com"),
        ("198.51.100.7", "cust7.example.com"),
        ("198.51.100.7", "example.com"),
        ("198.51.100.7", "com.example"),
        ("2001:db8::7", "mx.example.com"),
    ] {
        assert_eq!(judge(client, name).class, S, "{name}");
    }
}

#[test]
fn lines_are_dynamic() {
    for (client, name) in [
        ("151.203.19.38", "pool-151-203-19-38.bos.east.verizon.net"),
        ("217.80.138.61", "pD9508A3D.dip.t-dialin.net."),
        ("66.157.233.109", "adsl-157-233-109.jax.bellsouth.net"),
        ("166.84.159.98", "159-98.nyc.dsl.access.net"),
        ("193.1.219.169", "dhcp169.heanet.ie"),
        ("210.214.173.49", "dialpool-210-214-173-49.maa.sify.net"),
        ("148.223.69.170", "customer-148-223-69-170.uninet.net.mx"),
        ("2001:db8:8a2e:12::5", "p20010db88a2e00120000000000000005.dip0.t-ipconnect.de"),
        ("2001:db8:8a2e:12::5", "2001-db8-8a2e-12-0-0-0-5.dyn.example.co.uk"),
    ] {
        let judged = judge(client, name);
        assert_eq!(judged.class, D, "{name}: {}", judged.rule);
    }
}

#[test]
fn names_without_a_word_are_generic_at_most() {
    for (client, name) in [
        ("64.105.189.147", "h-64-105-189-147.chcgilgm.covad.net"),
        ("66.169.115.197", "66-169-115-197.ftwrth.tx.charter.com"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
        ("192.0.2.1", "localhost"),
        ("192.0.2.1", ""),
        ("192.0.2.1", "."),
        ("192.0.2.1", "a b.example.com"),
    ] {
        assert_eq!(judge(client, name).class, G, "{name}");
    }
    let longest = format!("{}.example.com", ["a"; 200].join("."));
    assert_eq!(judge("192.0.2.1", &longest).rule, Rule::NotAHostName);
}

#[test]
fn the_rule_says_why() {
    for (client, name, why) in [
        ("192.0.2.1", "192-0-2-1.dsl.example.com", "the address is in it, and the word \"dsl\""),
        ("192.0.2.1", "2-1.dsl.example.com", "the end of the address is in it, and the word \"dsl\""),
        ("192.0.2.1", "ppp77.example.com", "a number is in it, and the word \"ppp\""),
        ("192.0.2.1", "c-192-0-2-1.x.example.com", "the address is in it"),
        (
            "192.0.2.1",
            "192-0-2-1.static.example.com",
            "the word \"static\" is in it, which no changing address has",
        ),
        ("192.0.2.1", "mx.example.com", "a name of its own"),
    ] {
        assert_eq!(judge(client, name).rule.to_string(), why);
    }
}

#[test]
fn who_says_helo_with_a_name_of_its_own_is_vouched_for() {
    let names = build(&["bad.example"], &[]);
    for (helo, vouches) in [
        ("mail.example.com", true),
        ("example.com", true),
        ("Mail.Example.com.", true),
        ("192-0-2-1.dsl.example.com", false),
        ("192-0-2-1.example.com", false),
        ("dhcp77.example.com", false),
        ("mail.bad.example", false),
        ("[192.0.2.1]", false),
        ("192.0.2.1", false),
        ("1.2.0.192.in-addr.arpa", false),
        ("localhost", false),
        ("", false),
    ] {
        assert_eq!(names.vouches("192.0.2.1".parse().unwrap(), helo), vouches, "{helo}");
    }
}

#[test]
fn the_admins_patterns_come_first() {
    let names = build(&[".pool.example.net", r"/^line\d+\./", "mail.bad.example"], &[]);
    for (name, expected) in [
        ("mail.pool.example.net", "client.dynamic.patterns: .pool.example.net"),
        ("LINE7.example.org.", r"client.dynamic.patterns: /^line\\d+\\./"),
        ("x.mail.bad.example", "client.dynamic.patterns: mail.bad.example"),
        ("pool.example.net", "a name of its own"),
        ("xline7.example.org", "a name of its own"),
    ] {
        assert_eq!(names.judge("192.0.2.1".parse().unwrap(), name).rule.to_string(), expected, "{name}");
    }
}

/// Tables as sites have them for `check_client_access`: access(5), pcre_table(5).
#[test]
fn tables_of_postfix_are_read_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        path
    };
    let pcre = write(
        "clients.pcre",
        "# ours\n/^line1\\.ours\\./ OK\n/^skip\\./ DUNNO\nif /\\.test$/\n/^line\\d/ REJECT a line\n/\\d{4}/\n  450 later\nendif\n\
         /^203\\.0\\.113\\./ 550 this network\n",
    );
    let regexp = write("more.regexp", "/^(dy|vari)n[0-9]/ reject\n/^skip\\./ generic\n");
    let names = build(&[&format!("pcre:{}", pcre.display()), &format!("regexp:{}", regexp.display())], &[]);
    for (client, name, class, line) in [
        ("192.0.2.1", "line1.ours.test", S, Some((&pcre, 2))),
        ("192.0.2.1", "line2.ours.test", D, Some((&pcre, 5))),
        ("192.0.2.1", "line2.ours.example", S, None),
        ("192.0.2.1", "x1234.test", G, Some((&pcre, 6))),
        ("203.0.113.7", "mail.example", D, Some((&pcre, 9))),
        ("::ffff:203.0.113.7", "mail.example", D, Some((&pcre, 9))),
        ("192.0.2.1", "varin7.example", D, Some((&regexp, 1))),
        // what one table says nothing of is the next one's
        ("192.0.2.1", "skip.test", G, Some((&regexp, 2))),
        // and then the built-in rules'
        ("192.0.2.1", "192-0-2-1.dsl.example.com", D, None),
    ] {
        let judged = names.judge(client.parse().unwrap(), name);
        assert_eq!(judged.class, class, "{name}: {}", judged.rule);
        let place = match &judged.rule {
            Rule::Table { path, line, .. } => Some((path, *line)),
            _ => None,
        };
        assert_eq!(place, line.map(|(path, line)| (path, line)), "{name}");
    }
    assert_eq!(names.tables().count(), 2);
    // A rule that can't be tried may have been an exception.
    let broken = write("broken.pcre", "/(/ OK\n/line/ REJECT\n/a/ OK\n/b/ OK\n/c/ OK\n/d/ OK\n");
    let names = build(&[&format!("pcre:{}", broken.display())], &[]);
    assert_eq!(names.judge("192.0.2.1".parse().unwrap(), "line2.ours.test").class, S);
    let missing = config(&[&format!("pcre:{}", dir.path().join("missing").display())], &[]);
    let keeper = Keeper::new(Metrics::register(&Registry::default()));
    assert!(Names::build(&missing, &keeper).is_err());
}

#[test]
fn exceptions_are_names_and_all_below_them() {
    let names = build(&[], &["static.example.net", "192.0.2.0/24", "2001:db8::1", ".example.org"]);
    for (name, entry) in [
        ("1-2-3-4.Static.example.net.", Some("static.example.net")),
        ("x.example.org", Some(".example.org")),
        ("example.org", None),
        ("192.0.2.0", None),
        ("", None),
    ] {
        assert_eq!(names.excepted(name), entry, "{name}");
    }
}

fn some_client() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<u128>().prop_map(|n| Ipv6Addr::from(n).into())]
}

/// Names as they are seen: numbers, also those of the address, words, and what joins them.
fn some_name(client: IpAddr) -> impl Strategy<Value = String> {
    let of_address: Vec<String> = match client {
        IpAddr::V4(client) => client.octets().map(|octet| octet.to_string()).to_vec(),
        IpAddr::V6(client) => client.segments().map(|segment| format!("{segment:x}")).to_vec(),
    };
    let piece = prop_oneof![
        4 => prop::sample::select(of_address),
        2 => prop::sample::select(vec!["dsl", "pool", "dyn", "cust", "bos", "host", "p", "home", "xyz"]).prop_map(str::to_owned),
        1 => (0..1000u32).prop_map(|n| n.to_string()),
    ];
    let joint = prop::sample::select(vec!["-", ".", "", "_"]);
    prop::collection::vec((piece, joint), 1..8).prop_map(|pieces| {
        let mut name: String = pieces.into_iter().map(|(piece, joint)| piece + joint).collect();
        name.truncate(60);
        name.trim_matches(['.', '-']).replace("..", ".") + ".example.net"
    })
}

fn client_and_name() -> impl Strategy<Value = (IpAddr, String)> {
    some_client().prop_flat_map(|client| (Just(client), some_name(client)))
}

proptest! {
    #[test]
    fn any_text_has_a_class(client in some_client(), text in any::<String>()) {
        let names = Names::default();
        prop_assert!(matches!(names.judge(client, &text).class, S | G | D));
        let _ = (names.vouches(client, &text), names.excepted(&text));
    }

    #[test]
    fn case_and_the_last_dot_mean_nothing((client, name) in client_and_name()) {
        let names = Names::default();
        prop_assert_eq!(names.judge(client, &name), names.judge(client, &(name.to_uppercase() + ".")));
    }

    /// Who says that a line is fixed, or that it sends mail, is never worse off.
    #[test]
    fn a_word_that_spares_makes_no_client_dynamic((client, name) in client_and_name(), word in prop::sample::select(vec!["static", "fixed", "mail", "mx", "smtp"])) {
        let names = Names::default();
        for spared in [format!("{word}.{name}"), format!("{word}-{name}")] {
            prop_assert_eq!(names.judge(client, &spared).class, S, "{}", spared);
        }
    }

    /// The registrable domain means nothing, whatever words are in it.
    #[test]
    fn the_domain_means_nothing((client, name) in client_and_name(), domain in prop::sample::select(vec!["dsl.com", "dyn-pool.co.uk", "dhcp12.de"])) {
        let other = name.replace("example.net", domain);
        let names = Names::default();
        prop_assert_eq!(names.judge(client, &name).class, names.judge(client, &other).class);
    }

    /// Without a number nothing is an address, whatever words are there.
    #[test]
    fn words_alone_accuse_nobody(client in any::<[u8; 4]>(), words in prop::collection::vec(prop::sample::select(vec!["dsl", "pool", "dyn", "cust", "dhcp", "ppp"]), 1..5)) {
        // letters that are no hexadecimal digits only
        let name = words.join("-") + ".example.net";
        prop_assert_eq!(Names::default().judge(IpAddr::from(client), &name).class, S, "{}", name);
    }
}

/// What takes the longest: as many numbers as fit, each of which begins as the address does.
#[test]
fn hostile_names_take_no_time() {
    let names = Names::default();
    for piece in ["1", "1-", "001", "1.", "11-", "dsl1-", "a", "-", "."] {
        let name = piece.repeat(60_000);
        let begun = std::time::Instant::now();
        for _ in 0..20 {
            let _ = names.judge("1.1.1.1".parse().unwrap(), &name);
            let _ = names.judge("1.1.1.1".parse().unwrap(), &format!("{}.example.com", &name[..200]));
        }
        assert!(begun.elapsed().as_secs() < 5, "{piece:?} takes {:?}", begun.elapsed());
    }
}
