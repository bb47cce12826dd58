//! Suspensions from real files.

use std::{fs, path::PathBuf};

use super::*;
use crate::{
    address::{Delimiters, candidates},
    files,
    store::{self, Store},
    telemetry::Registry,
};

fn suspensions(dir: &tempfile::TempDir, texts: &[&str]) -> Result<Suspensions, OpenError> {
    let write = |(n, text): (usize, &&str)| -> PathBuf {
        let path = dir.path().join(format!("toriss_suspensions{n}.txt"));
        fs::write(&path, text).unwrap();
        path
    };
    let files = texts.iter().enumerate().map(write).collect();
    build(&Config { files })
}

fn build(config: &Config) -> Result<Suspensions, OpenError> {
    let registry = Registry::default();
    let store = Store::in_memory(store::Metrics::register(&registry));
    let keeper = Keeper::new(files::Metrics::register(&registry));
    Suspensions::build(config, &keeper, Arc::new(Commanded::new(store)))
}

fn check(suspensions: &Suspensions, address: &str) -> Option<Suspension> {
    let address = Address::parse(address).unwrap();
    let delimiters = Delimiters::default();
    let forms: Vec<_> = candidates(&address, &delimiters).collect();
    forms
        .iter()
        .map(|form| &form.address)
        .filter(|form| form.domain() == address.domain())
        .find_map(|form| suspensions.check(form))
}

/// CRLF and any case, as Toriss writes it.
#[test]
fn addresses_local_parts_and_domains_are_suspended() {
    let dir = tempfile::tempdir().unwrap();
    let first =
        "\u{feff}Joe@Example.COM\r\n# unpaid\r\nANN   # everywhere\r\n\r\n@example.org\r\nbob.jones\r\n";
    let suspensions = suspensions(&dir, &[first, "example.net\n"]).unwrap();
    use Suspension::{Address, Domain, Local};
    for (address, expected) in [
        ("joe@example.com", Some(Address)),
        ("JOE@example.com.", Some(Address)),
        ("joe+news@example.com", Some(Address)),
        ("prvs=0123456789=joe@example.com", Some(Address)),
        ("joe@example.edu", None),
        ("jo@example.com", None),
        ("ann@anything.example", Some(Local)),
        ("anna@example.com", None),
        ("anyone@example.org", Some(Domain)),
        ("anyone@sub.example.org", None),
        ("anyone@example.net", Some(Domain)),
        ("bob.jones@example.com", Some(Local)),
        // A forwarder's tag for somebody elsewhere who happens to bear a suspended name.
        ("SRS0=abcd=xy=example.org=x@example.com", None),
    ] {
        assert_eq!(check(&suspensions, address), expected, "{address}");
    }
}

#[test]
fn without_files_nobody_is_suspended() {
    let dir = tempfile::tempdir().unwrap();
    let none = suspensions(&dir, &[]).unwrap();
    assert_eq!((check(&none, "joe@example.com"), none.is_empty()), (None, true));
    let empty = suspensions(&dir, &["# nobody\n"]).unwrap();
    assert_eq!((check(&empty, "joe@example.com"), empty.is_empty()), (None, true));
    assert_eq!(empty.notices(), [""; 0]);
}

/// Unlike a list of recipients, this one refuses those whom it names: shorter is safer.
#[test]
fn whoever_is_gone_from_the_file_is_let_in_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let suspensions = suspensions(&dir, &["joe\nann\nbob\n"]).unwrap();
    for (text, suspended) in [("ann\n", [false, true]), ("", [false, false])] {
        fs::write(dir.path().join("toriss_suspensions0.txt"), text).unwrap();
        suspensions.files.as_ref().unwrap().reload(false);
        assert_eq!(["joe@x", "ann@x"].map(|address| check(&suspensions, address).is_some()), suspended);
    }
}

#[test]
fn a_file_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(suspensions(&dir, &["joe@example.com until tomorrow\nann@example.com unpaid\n"]).is_err());
    assert!(build(&Config { files: vec![dir.path().join("missing")] }).is_err());
}

/// The one that says more comes first; either is enough.
#[tokio::test]
async fn files_and_commands_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let suspensions = suspensions(&dir, &["joe@example.com\nann@example.com\n"]).unwrap();
    let text = Some("Ask the owner".to_owned());
    for what in ["joe@example.com", "bob@example.com"] {
        let record = Record { text: text.clone(), ..Record::default() };
        let subject = Subject::parse(what).unwrap();
        assert!(!suspensions.commanded().suspend(&subject, record).await.unwrap());
    }
    let texts = ["joe+x@example.com", "ann@example.com", "bob@example.com", "eve@example.com"]
        .map(|address| check(&suspensions, address).map(|found| found.text().map(str::to_owned)));
    assert_eq!(texts, [Some(text.clone()), Some(None), Some(text), None]);
    assert_eq!(suspensions.len(), 4);
    suspensions.commanded().resume(&Subject::parse("joe@example.com").unwrap()).await.unwrap();
    assert_eq!(check(&suspensions, "joe@example.com"), Some(Suspension::Address));
}
