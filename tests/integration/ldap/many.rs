//! Many questions at once: one for each recipient, however many sessions ask; and no flood, however many recipients are
//! invented.

use std::thread;
use std::time::{Duration, Instant};

use backstop_harness::Slapd;

use super::{OK, UNKNOWN, decides, decision, person, wait_for_addresses};

#[test]
fn sessions_that_ask_for_the_same_recipient_share_one_question() {
    let slapd = Slapd::builder().errors().start();
    let slow = ["mail: slow@example.test", "objectClass: errAuxObject", "errCode: 51", "errSleepTime: 1"];
    slapd.add(&person("slow", &slow));
    let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, "source = \"live\"")).start();
    let postfix = super::postfix(&backstop);
    let sessions: Vec<_> = (0..10).map(|_| super::session(&postfix)).collect();
    thread::scope(|scope| {
        for mut smtp in sessions {
            scope.spawn(move || decision(&mut smtp, "<slow@example.test>"));
        }
    });
    let log = slapd.log();
    let questions =
        log.lines().filter(|line| line.contains("SRCH base") && line.contains("=slow@example.test"));
    assert!((1..=2).contains(&questions.count()), "{log}");
}

/// A replica asks about those whom it does not know at most fifty times a second; the rest has to try again.
#[test]
fn invented_recipients_do_not_flood_the_directory() {
    let mut slapd = Slapd::start();
    slapd.seed(100);
    let backstop = super::backstop(&super::reader(&[slapd.url()], &slapd, "feed = \"paged\"")).start();
    let postfix = super::postfix(&backstop);
    wait_for_addresses(&backstop, 200);
    let asked = || {
        slapd.log().lines().filter(|line| line.contains("=invented") && line.contains("SRCH base")).count()
    };
    let begun = Instant::now();
    let decisions: Vec<String> = thread::scope(|scope| {
        let attack = |number: usize| {
            let mut smtp = super::session(&postfix);
            scope.spawn(move || {
                let one = |index| decision(&mut smtp, &format!("<invented{number}-{index}@example.test>"));
                (0..100).map(one).collect::<Vec<_>>()
            })
        };
        let attacks: Vec<_> = (0..8).map(attack).collect();
        let mut smtp = super::session(&postfix);
        decides(&mut smtp, "meanwhile", &[("u000000", OK), ("a000099", OK), ("u000042+x", OK)]);
        attacks.into_iter().flat_map(|attack| attack.join().expect("all were decided")).collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let (refused, put_off) = (
        decisions.iter().filter(|said| *said == UNKNOWN).count(),
        decisions.iter().filter(|said| said.starts_with("451")).count(),
    );
    assert_eq!(refused + put_off, decisions.len(), "{decisions:?}");
    let most = 50.0 * (seconds + 1.0);
    assert!((asked() as f64) <= most, "{} questions in {seconds} s", asked());
    assert!(put_off > 0 || (decisions.len() as f64) <= most, "{refused} in {seconds} s");
    let mut smtp = super::session(&postfix);
    backstop_harness::wait_until(Duration::from_secs(5), "answers again", || {
        decision(&mut smtp, "<stranger@example.test>") == UNKNOWN
    });
}

mod full {
    use super::*;

    /// The whole list of a large directory, by each feed that OpenLDAP has.
    #[test]
    fn a_hundred_thousand_entries() {
        let mut slapd = Slapd::start();
        slapd.seed(100_000);
        for feed in ["auto", "paged"] {
            let more = format!("feed = {feed:?}");
            let backstop =
                super::super::backstop(&super::super::reader(&[slapd.url()], &slapd, &more)).start();
            let begun = Instant::now();
            let all = || super::super::addresses(&backstop) == 200_000.0;
            backstop_harness::wait_until(Duration::from_secs(120), "all addresses", all);
            println!("{feed}: 200 000 addresses after {:?}", begun.elapsed());
            let postfix = super::super::postfix(&backstop);
            let table = [("u000000", OK), ("a099999", OK), ("u100000", UNKNOWN), ("A050505+x", OK)];
            decides(&mut super::super::session(&postfix), feed, &table);
        }
    }
}
