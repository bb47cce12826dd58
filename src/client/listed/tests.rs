//! Lists from real files; the table's language is judged by Postfix itself.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use proptest::{prelude::*, strategy::ValueTree as _};

use super::*;
use crate::{files, telemetry::Registry};

fn open(dir: &tempfile::TempDir, texts: &[&str], means: For) -> Result<Listed, OpenError> {
    let paths: Vec<PathBuf> = (0..texts.len()).map(|n| dir.path().join(format!("list{n}"))).collect();
    for (path, text) in paths.iter().zip(texts) {
        fs::write(path, text).unwrap();
    }
    let keeper = Keeper::new(files::Metrics::register(&Registry::default()));
    Listed::open("client.dynamic.networks", &paths, means, false, &keeper)
        .map(|list| list.expect("has files"))
}

fn holds(list: &Listed, address: &str) -> bool {
    list.contains(address.parse().unwrap())
}

/// Plain lists, as people and download sites write them.
#[test]
fn networks_addresses_and_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let text = "\u{feff}# dynamic\r\n192.0.2.0/24\r\n\r\n198.51.100.7 # one\n198.51.100.10-198.51.100.99\n\
                203.0.113.0/28 ; SBL1234\n2001:db8:1::/48\n2001:db8:2::5-2001:db8:2::9\n; the end\n";
    let list = open(&dir, &[text, "100.64.0.0/10\n"], For::Bad).unwrap();
    for (address, expected) in [
        ("192.0.2.255", true),
        ("192.0.3.0", false),
        ("198.51.100.7", true),
        ("198.51.100.9", false),
        ("198.51.100.10", true),
        ("198.51.100.99", true),
        ("198.51.100.100", false),
        ("203.0.113.15", true),
        ("203.0.113.16", false),
        ("2001:db8:1:ffff::", true),
        ("2001:db8:2::4", false),
        ("2001:db8:2::5", true),
        ("2001:db8:2::9", true),
        ("2001:db8:2::a", false),
        ("::ffff:192.0.2.1", true),
        ("100.127.0.1", true),
    ] {
        assert_eq!(holds(&list, address), expected, "{address}");
    }
    let path = dir.path().join("list0").display().to_string();
    let line = list.explain("198.51.100.7".parse().unwrap()).unwrap();
    let expected = format!("198.51.100.7 in {path}:4 (client.dynamic.networks) [read ");
    assert!(line.starts_with(&expected), "{line}");
    assert_eq!((list.status().entries, list.status().bad_lines), (Some(7), 0));
}

/// access(5), postscreen_access_list: what a table lets pass is not on a list of bad ones, and the other way round.
#[test]
fn results_of_tables_have_their_meaning() {
    let dir = tempfile::tempdir().unwrap();
    let text = "192.0.2.1 OK\n192.0.2.2 dunno\n192.0.2.3 permit_mynetworks\n192.0.2.4 REJECT no\n\
                192.0.2.5 550 no\n192.0.2.6 2147483647\n192.0.2.7 defer_if_permit later\n192.0.2.8 our office\n\
                192.0.2.0/24 reject\n";
    let last = |means| {
        let list = open(&dir, &[text], means).unwrap();
        (1..=9).filter(|last| holds(&list, &format!("192.0.2.{last}"))).collect::<Vec<u8>>()
    };
    assert_eq!(last(For::Bad), [4, 5, 7, 8, 9]);
    assert_eq!(last(For::Good), [1, 3, 6, 8]);
}

#[test]
fn what_makes_no_sense_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let good = "192.0.2.1\n".repeat(100);
    let list = open(&dir, &[&good], For::Bad).unwrap();
    for (line, message) in [
        ("192.0.2.1/24", "did you mean 192.0.2.0/24?"),
        ("192.0.2.9-192.0.2.1", "not a range"),
        ("192.0.2.1-2001:db8::", "not a range"),
        ("192.0.2.0-", "not a range"),
        ("192.0.2.0/24 192.0.3.0/24", "more than one network"),
        ("  192.0.3.0/24", "more than one network"),
        ("endif", "endif without if"),
        ("192.0.2.0/255.255.255.0", "is not a network"),
        ("dyn.example.net", "is not a network"),
        ("if", "is not a network"),
        ("\u{1b}[2J", "is not a network"),
    ] {
        fs::write(dir.path().join("list0"), format!("{good}{line}\n")).unwrap();
        list.file.reload(true);
        let status = list.status();
        let told = status.first_bad.unwrap_or_default();
        assert!(status.bad_lines == 1 && told.contains(message), "{line:?}: {told}");
        assert!(!told.contains('\u{1b}'));
    }
    assert!(open(&dir, &["dyn.example.net\npool.example.net\n"], For::Bad).is_err());
}

#[test]
fn a_list_is_followed_and_held_back_where_it_shrinks() {
    let dir = tempfile::tempdir().unwrap();
    let lines = |range: std::ops::Range<u8>| {
        range.fold(String::new(), |mut text, n| {
            let _ = writeln!(text, "192.0.2.{n}");
            text
        })
    };
    let list = open(&dir, &[&lines(0..50)], For::Bad).unwrap();
    let path = dir.path().join("list0");
    for (range, taken) in [(0..60, 60), (0..1, 60), (0..0, 60), (0..55, 55)] {
        fs::write(&path, lines(range.clone())).unwrap();
        list.file.reload(false);
        assert_eq!(list.status().entries, Some(taken), "{range:?}");
    }
}

/// Hundreds of thousands of prefixes.
#[test]
fn many_prefixes() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for n in 0..300_000_u32 {
        let [a, b, c, d] = (n << 9).to_be_bytes();
        let _ = writeln!(text, "{a}.{b}.{c}.{d}/24");
    }
    let list = open(&dir, &[&text], For::Bad).unwrap();
    assert_eq!(list.status().entries, Some(300_000));
    for n in (0..300_000_u32).step_by(997) {
        let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from(n));
        assert!(list.contains(address((n << 9) + 77)));
        assert!(!list.contains(address((n << 9) + 256)));
    }
}

/// Tables of every construct of cidr_table(5), and what Postfix makes of them.
#[test]
fn tables_mean_what_they_mean_to_postfix() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let addresses: Vec<String> = (0..64)
        .map(|n: u32| format!("10.{}.{}.{}", n & 1, (n >> 1) & 3, ((n >> 3) & 7) * 36))
        .chain((0..32).map(|n: u32| format!("2001:db8:{:x}::{:x}", n & 3, (n >> 2) & 7)))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list0");
    let list = open(&dir, &["192.0.2.1\n"], For::Bad).unwrap();
    for _ in 0..100 {
        let text = table().new_tree(&mut runner).unwrap().current();
        fs::write(&path, &text).unwrap();
        assert!(matches!(list.file.reload(true), files::Outcome::Taken(_)), "{text}");
        let expected = postmap(&path, &addresses);
        for address in &addresses {
            let found = expected.lines().find_map(|line| line.strip_prefix(&format!("{address}\t")));
            let expected = found.is_some_and(|result| result == "REJECT");
            assert_eq!(holds(&list, address), expected, "{address} in\n{text}");
        }
    }
}

/// One table, with `if`s that are closed.
fn table() -> impl Strategy<Value = String> {
    let v4 = (0..2_u8, 0..4_u8, prop_oneof![Just(8_u8), Just(15), Just(16), Just(22), Just(23), Just(24)])
        .prop_map(|(b, c, length)| {
            let net: Ipv4Net = format!("10.{b}.{c}.0/{length}").parse().unwrap();
            net.trunc().to_string()
        });
    let v6 = (0..4_u8, prop_oneof![Just(32_u8), Just(46), Just(47), Just(48)]).prop_map(|(c, length)| {
        let net: Ipv6Net = format!("2001:db8:{c}::/{length}").parse().unwrap();
        net.trunc().to_string()
    });
    let one = (0..64_u32).prop_map(|n| format!("10.{}.{}.{}", n & 1, (n >> 1) & 3, ((n >> 3) & 7) * 36));
    let net = prop_oneof![4 => v4, 2 => v6, 1 => one];
    let negated = prop_oneof![4 => Just(""), 1 => Just("!")];
    let line = (0..8_u8, negated, net, prop_oneof![2 => Just("REJECT"), 1 => Just("OK"), 1 => Just("DUNNO")]);
    proptest::collection::vec(line, 1..14).prop_map(|lines| {
        let (mut text, mut open) = (String::new(), 0);
        for (kind, negated, net, result) in lines {
            match kind {
                0 | 1 => {
                    let _ = writeln!(text, "if {negated}{net}");
                    open += 1;
                }
                2 if open > 0 => {
                    text.push_str("endif\n");
                    open -= 1;
                }
                _ => {
                    let _ = writeln!(text, "{negated}{net} {result}");
                }
            }
        }
        // One entry at least, so that the list is not empty.
        text + &"endif\n".repeat(open) + "192.0.2.1 REJECT\n"
    })
}

fn postmap(table: &std::path::Path, keys: &[String]) -> String {
    let mut command = Command::new("postmap");
    command.args(["-q", "-", &format!("cidr:{}", table.display())]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("Postfix is installed");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all((keys.join("\n") + "\n").as_bytes()).expect("postmap reads");
    drop(stdin);
    let output = child.wait_with_output().expect("postmap ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).expect("text")
}
