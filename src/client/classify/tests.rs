//! What is known of a client, and the class that follows.

use std::{net::Ipv4Addr, path::PathBuf};

use super::*;
use crate::{
    client::{Clients, Config, Metrics, Shared},
    files::{self, Keeper},
    telemetry::Registry,
};

const LISTED: Listing = Listing::Listed(Ipv4Addr::new(127, 0, 0, 10));

fn classifier(change: impl FnOnce(&mut Config)) -> Arc<Classifier> {
    let mut config = Config::default();
    change(&mut config);
    let registry = Registry::default();
    let keeper = Keeper::new(files::Metrics::register(&registry));
    let shared = Shared::new(Metrics::register(&registry));
    let clients = Clients::build(&config, [], &shared, &keeper).expect("the files are there");
    Arc::clone(clients.classifier())
}

fn named(names: &[(&str, Confirmed)]) -> Reverse {
    let name = |(text, is_confirmed): &(&str, Confirmed)| Name {
        text: (*text).to_owned(),
        is_confirmed: *is_confirmed,
    };
    Reverse::Names(names.iter().map(name).collect())
}

fn seen(reverse: Reverse, bad: &[Listing], good: &[Listing]) -> Seen {
    Seen { at: Instant::now(), reverse, bad: bad.to_vec(), good: good.to_vec() }
}

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const SERVER: &str = "mail.example.org";
const LINE: &str = "203-0-113-9.dynamic.isp.example";

#[test]
fn what_names_say() {
    use Confirmed::{No, Unknown, Yes};
    let classifier = classifier(|_| {});
    for (reverse, expected) in [
        (named(&[(SERVER, Yes)]), ClientClass::Server),
        (named(&[(LINE, Yes)]), ClientClass::Dynamic),
        // Against himself a client is believed.
        (named(&[(LINE, No)]), ClientClass::Dynamic),
        (named(&[(LINE, Unknown)]), ClientClass::Dynamic),
        // For himself he is not.
        (named(&[(SERVER, No)]), ClientClass::Unnamed),
        (named(&[(SERVER, Unknown)]), ClientClass::Unknown),
        (named(&[(LINE, Yes), (SERVER, Yes)]), ClientClass::Server),
        (named(&[(LINE, Yes), (SERVER, No)]), ClientClass::Dynamic),
        (named(&[(LINE, Yes), (SERVER, Unknown)]), ClientClass::Unknown),
        (named(&[(LINE, No), (SERVER, No)]), ClientClass::Unnamed),
        (named(&[(LINE, No), (SERVER, Unknown)]), ClientClass::Unknown),
        (named(&[(LINE, Unknown), (SERVER, Yes)]), ClientClass::Server),
        (named(&[]), ClientClass::Unnamed),
        (Reverse::Unnamed, ClientClass::Unnamed),
        (Reverse::Unknown, ClientClass::Unknown),
        (Reverse::Many, ClientClass::Server),
    ] {
        let judged = classifier.judge(CLIENT, &seen(reverse.clone(), &[], &[]));
        assert_eq!(judged.class, expected, "{reverse:?}: {judged:?}");
    }
}

#[test]
fn what_lists_and_exceptions_say() {
    use Confirmed::{No, Unknown, Yes};
    use Listing::{Clear, Failed, Spared};
    let refused = Listing::Refused(Ipv4Addr::new(127, 255, 255, 254));
    let plain = classifier(|_| {});
    let excepting = classifier(|config| config.dynamic.except = vec!["isp.example".to_owned()]);
    let by_lists_alone = classifier(|config| config.dynamic.reverse_dns = false);
    for (classifier, seen, expected) in [
        (&plain, seen(named(&[(SERVER, Yes)]), &[Clear, LISTED], &[]), ClientClass::Dynamic),
        (&plain, seen(Reverse::Unknown, &[LISTED], &[]), ClientClass::Dynamic),
        (&plain, seen(Reverse::Unnamed, &[LISTED], &[Clear]), ClientClass::Dynamic),
        (&plain, seen(Reverse::Unnamed, &[LISTED], &[LISTED]), ClientClass::Server),
        (&plain, seen(named(&[(LINE, Yes)]), &[], &[LISTED]), ClientClass::Server),
        (&plain, seen(named(&[(LINE, Yes)]), &[], &[Clear, LISTED]), ClientClass::Server),
        // What could not be found out speaks against nobody,
        (&plain, seen(named(&[(SERVER, Yes)]), &[Failed, refused, Spared], &[]), ClientClass::Server),
        (&plain, seen(Reverse::Unnamed, &[Failed], &[]), ClientClass::Unnamed),
        // not even if it is an exception.
        (&plain, seen(named(&[(LINE, Yes)]), &[], &[Failed]), ClientClass::Unknown),
        (&plain, seen(named(&[(LINE, Yes)]), &[], &[Spared, LISTED]), ClientClass::Server),
        (&plain, seen(Reverse::Unnamed, &[LISTED], &[refused]), ClientClass::Unknown),
        (&excepting, seen(named(&[(LINE, Yes)]), &[LISTED], &[]), ClientClass::Server),
        (&excepting, seen(named(&[(LINE, No)]), &[], &[]), ClientClass::Dynamic),
        (&excepting, seen(named(&[(LINE, Unknown)]), &[], &[]), ClientClass::Unknown),
        (&excepting, seen(named(&[(SERVER, No), (LINE, Unknown)]), &[LISTED], &[]), ClientClass::Unknown),
        (&excepting, seen(Reverse::Unknown, &[LISTED], &[]), ClientClass::Unknown),
        // One of so many names may be the exception.
        (&excepting, seen(Reverse::Many, &[LISTED], &[]), ClientClass::Unknown),
        (&plain, seen(Reverse::Many, &[LISTED], &[]), ClientClass::Dynamic),
        (&excepting, seen(Reverse::Unnamed, &[LISTED], &[]), ClientClass::Dynamic),
        (&by_lists_alone, seen(Reverse::Unasked, &[Clear], &[]), ClientClass::Unknown),
        (&by_lists_alone, seen(Reverse::Unasked, &[LISTED], &[]), ClientClass::Dynamic),
    ] {
        let judged = classifier.judge(CLIENT, &seen);
        assert_eq!(judged.class, expected, "{seen:?}: {judged:?}");
    }
}

#[test]
fn networks_from_files_come_before_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("dynamic.cidr");
    std::fs::write(&path, "203.0.113.0/24\n").unwrap();
    let classifier = classifier(|config| config.dynamic.networks = vec![path.clone()]);
    let server = seen(named(&[(SERVER, Confirmed::Yes)]), &[], &[Listing::Clear]);
    let judged = classifier.judge(CLIENT, &server);
    assert_eq!(judged.class, ClientClass::Dynamic);
    let line = format!("203.0.113.0/24 in {}:1 (client.dynamic.networks) [read ", path.display());
    assert!(judged.why.starts_with(&line), "{}", judged.why);
    let other = "198.51.100.1".parse().unwrap();
    assert_eq!(classifier.judge(other, &server).class, ClientClass::Server);
    let in_doubt = Seen { good: vec![Listing::Failed], ..server };
    assert_eq!(classifier.judge(CLIENT, &in_doubt).class, ClientClass::Unknown);
}

#[test]
fn what_a_client_calls_itself() {
    use Confirmed::{No, Unknown, Yes};
    let classifier = classifier(|config| config.dynamic.except = vec!["friend.example".to_owned()]);
    let by_name = seen(named(&[(LINE, Yes)]), &[], &[]);
    let by_list = seen(named(&[(LINE, Yes)]), &[LISTED], &[]);
    for (seen, helo, helps) in [
        (&by_name, "mx.firm.example", true),
        (&by_name, LINE, false),
        (&by_list, "mx.firm.example", false),
        (&by_list, "mx.friend.example", true),
    ] {
        let judged = classifier.judge(CLIENT, seen);
        assert_eq!(judged.class, ClientClass::Dynamic);
        assert_eq!(classifier.may_help(CLIENT, helo, &judged), helps, "{helo}");
        for (confirmed, expected) in
            [(Yes, ClientClass::Server), (No, ClientClass::Dynamic), (Unknown, ClientClass::Unknown)]
        {
            let mut judged = judged.clone();
            judged.weigh(helo, confirmed);
            assert_eq!(judged.class, expected);
            // For the greylist it is not one with all others of its provider.
            let name = judged.classified(seen, Vec::new(), None).name;
            assert_eq!(name.as_deref(), Some(if confirmed == Yes { helo } else { LINE }));
        }
    }
    let server = classifier.judge(CLIENT, &seen(named(&[(SERVER, Yes)]), &[], &[]));
    assert!(!classifier.may_help(CLIENT, "mx.firm.example", &server), "it needs no help");
}

/// Nobody is asked about these.
#[tokio::test]
async fn private_and_excepted_addresses_are_not_judged() {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let classifier = classifier(|config| {
        config.resolver = nowhere;
        config.dynamic.except = vec!["203.0.113.0/28".to_owned(), "2001:db8::/32".to_owned()];
    });
    for (client, expected) in [
        ("10.1.2.3", ClientClass::Unknown),
        ("::ffff:192.168.1.1", ClientClass::Unknown),
        ("fe80::1", ClientClass::Unknown),
        ("203.0.113.9", ClientClass::Server),
        ("2001:db8::1", ClientClass::Server),
    ] {
        let found = classifier.classify(client.parse().unwrap(), Hint::default()).await;
        assert_eq!(found.class, expected, "{client}: {found:?}");
        assert_eq!(found.evidence.len(), 1, "{found:?}");
    }
}
