//! Traps from the configuration and from real files.

use std::fs;

use super::*;
use crate::{files, telemetry::Registry};

fn keeper() -> Keeper {
    Keeper::new(files::Metrics::register(&Registry::default()))
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

#[test]
fn lists_and_files_name_traps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("traps");
    fs::write(&path, "# never existed\r\nBait@Example.com\r\n@bait.example\r\n").unwrap();
    let config =
        Config { addresses: vec!["lure@example.com".into(), "hook".into()], files: vec![path.clone()] };
    let traps = Traps::build(&config, &keeper()).unwrap();
    for (text, listed) in [
        ("bait@example.com", true),
        ("BAIT@example.com.", true),
        ("lure@example.com", true),
        ("hook@wherever.example", true),
        ("anyone@bait.example", true),
        ("anna@example.com", false),
    ] {
        assert_eq!(traps.lists(&address(text)), listed, "{text}");
    }
    assert!(!traps.is_empty());
    fs::write(&path, "").unwrap();
    traps.files.as_ref().unwrap().reload(false);
    assert!(!traps.lists(&address("bait@example.com")), "an empty file is believed: it refuses nobody");
    assert!(traps.lists(&address("lure@example.com")));
}

#[test]
fn there_are_none_by_default() {
    let traps = Traps::build(&Config::default(), &keeper()).unwrap();
    assert!(traps.is_empty() && !traps.lists(&address("bait@example.com")));
    assert_eq!(traps.notices(&Rules::default()), [""; 0]);
}

#[test]
fn the_admin_is_told_of_traps_that_are_somebody_s() {
    let traps = Traps::build(&Config::default(), &keeper()).unwrap();
    for n in 0..1000 {
        traps.note_existing(&address(&format!("user{}@example.com", n % 500)));
    }
    let notices = traps.notices(&Rules::default());
    assert_eq!(notices.len(), MOST_NOTED);
    assert_eq!(
        notices[0],
        "traps: user0@example.com is listed, but a directory knows it; mail for it passes"
    );
}

#[test]
fn what_is_no_address_is_told() {
    let config =
        Config { addresses: vec!["bait@example.com".into(), "a b".into(), "@".into()], files: vec![] };
    let mut said = Vec::new();
    config.check(&Locals::default(), &mut |key, message| said.push((key, message)));
    assert_eq!(said.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["addresses", "addresses"]);
    assert!(said[0].1.starts_with("\"a b\" is neither an address"), "{said:?}");
    let missing = Config { addresses: vec![], files: vec!["/nonexistent/traps".into()] };
    assert!(Traps::build(&missing, &keeper()).is_err());
}

/// RFC 5321 §4.5.1, RFC 2142 §4: some addresses must be reachable; who writes to them guesses nothing.
#[test]
fn who_must_be_reachable_is_no_trap() {
    let exempt = Locals::from_iter(["abuse".to_owned()]);
    let listed = ["Postmaster@example.com", "mailer-daemon", "Abuse@example.com", "bait", "example.org"];
    let config = Config { addresses: listed.map(str::to_owned).to_vec(), files: vec![] };
    let mut said = Vec::new();
    config.check(&exempt, &mut |_, message| said.push(message));
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].starts_with("\"Postmaster@example.com\" can be no trap: "), "{said:?}");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("traps");
    fs::write(&path, "postmaster@example.com\nbait@example.com\nabuse\n").unwrap();
    let traps = Traps::build(&Config { addresses: vec![], files: vec![path] }, &keeper()).unwrap();
    let mut notices = traps.notices(&Rules { exempt, ..Rules::default() });
    notices.sort();
    let notice = |entry| {
        format!(
            "traps: {entry} is listed, but must always be reachable, or is in recipients.exempt: it is no trap"
        )
    };
    assert_eq!(notices, [notice("abuse"), notice("postmaster@example.com")]);
}
