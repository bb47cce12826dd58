//! Clients that guess recipients, through real MTAs: who is blocked, what he still learns (nothing), and who never is.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use backstop_harness::{
    Backstop, BackstopBuilder, Postfix, Reply, SASL_PASSWORD, SASL_USER, Sendmail, Smtp, wait_until,
};

use crate::{BACKSTOP, site};

#[test]
fn beyond_the_limit_everybody_looks_alike() {
    let backstop = site::backstop().start();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main(&format!("relay_domains = {}\nallow_untrusted_routing = yes", site::DOMAINS.join(", ")))
        .start();
    let harvester = "198.51.100.66";
    let mut open = transaction(&postfix, harvester);
    guess_up_to_the_limit(&postfix, harvester);
    assert_eq!(
        open.rcpt("<anna@example.test>").code,
        421,
        "a session that is open already: {}",
        open.transcript()
    );

    let replies: BTreeSet<String> =
        MIXED.iter().map(|rcpt| transaction(&postfix, harvester).rcpt(rcpt).to_string()).collect();
    let only = "421 4.7.0 Too many unknown recipients, try again later [harvest]";
    assert_eq!(replies, BTreeSet::from([only.to_owned()]));

    // Whom everybody may write to, and whoever else writes.
    for (client, rcpt, code) in [
        (harvester, "<postmaster@example.test>", 250),
        (harvester, "<somebody@foreign.test>", 554),
        (harvester, "<abuse@example.test>", 550),
        ("198.51.100.67", "<anna@example.test>", 250),
        ("198.51.100.67", "<nobody@example.test>", 550),
    ] {
        let mut smtp = transaction(&postfix, client);
        assert_eq!(smtp.rcpt(rcpt).code, code, "{}", smtp.transcript());
    }
    let mut insider = session(&postfix, harvester);
    assert_eq!(insider.auth_plain(SASL_USER, SASL_PASSWORD).code, 235, "{}", insider.transcript());
    insider.mail("<sender@elsewhere.test>");
    assert_eq!(insider.rcpt("<anna@example.test>").code, 250, "{}", insider.transcript());

    assert_eq!(backstop.metric("backstop_harvesters_blocked", &[]), 1.0);
    assert_eq!(backstop.metric("backstop_harvest_blocks_total", &[]), 1.0);
    assert_eq!(
        backstop.log().matches("client blocked, it guesses recipients").count(),
        1,
        "not one per guess"
    );
    let checked = backstop.command(&["check", "anna@example.test", "--client", harvester]);
    assert_eq!(checked.status, 2, "{checked:?}");
    assert!(checked.stdout.contains("asked lately for 20 unknown and 0 known recipients"), "{checked:?}");
}

#[test]
fn on_sendmail() {
    // Sendmail knows no XCLIENT: the clients are other addresses of this host.
    let backstop = site::backstop().env("BACKSTOP__DEFENCE__HARVEST__PRIVATE", "true").start();
    let sendmail = Sendmail::builder().milter(&backstop.for_sendmail()).start();
    let transaction = |last| {
        let mut smtp =
            Smtp::connect_from(Some(IpAddr::from(Ipv4Addr::new(127, 0, 0, last))), sendmail.ipv4());
        smtp.ehlo("client.elsewhere.test");
        smtp.mail("<sender@elsewhere.test>");
        smtp
    };
    let mut smtp = transaction(66);
    for number in 0..LIMIT {
        assert_eq!(smtp.rcpt(&format!("<guess{number}@example.test>")).code, 550, "{}", smtp.transcript());
    }
    for rcpt in ["anna@example.test", "nobody@example.test", "unpaid@example.test"] {
        let expected = "421 4.7.0 Too many unknown recipients, try again later [harvest]";
        assert_eq!(transaction(66).rcpt(&format!("<{rcpt}>")).to_string(), expected);
    }
    assert_eq!(transaction(67).rcpt("<anna@example.test>").code, 250);
}

/// Postfix refuses unknown recipients by itself and only tells; whom it lets pass is still kept from the harvester.
#[test]
fn what_the_mta_refuses_counts() {
    let backstop = site::backstop().start();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main("relay_recipient_maps = inline:{ { anna@example.test = x }, { bob@example.test = x } }")
        .main("smtpd_recipient_restrictions = check_recipient_access inline:{ { bob@example.test = 450 4.7.1 Later } }")
        .start();
    let mut grey = transaction(&postfix, "198.51.100.67");
    for _ in 0..LIMIT + 5 {
        assert_eq!(grey.rcpt("<bob@example.test>").code, 450, "{}", grey.transcript());
    }
    assert_eq!(grey.rcpt("<anna@example.test>").code, 250, "put off is not unknown: {}", grey.transcript());

    let mut smtp = transaction(&postfix, "198.51.100.66");
    for number in 0..LIMIT {
        let reply = smtp.rcpt(&format!("<guess{number}@example.test>"));
        assert!(reply.code == 550 && reply.text.contains("User unknown"), "{}", smtp.transcript());
    }
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 421, "{}", smtp.transcript());
    let reasons = backstop.metric_by("backstop_decisions_total", &[("stage", "rcpt")], "reason");
    assert_eq!(reasons.get("unknown-recipient"), None, "{reasons:?}");
}

/// Postfix knows its recipients by itself, and puts off all who exist, as a greylist before it does: a list with 2 % dead
/// addresses is told of these first, and must not pay for that.
#[test]
fn whom_the_mta_puts_off_counts_as_known() {
    let backstop = town(1000).start();
    let known: String = (0..1000).map(|number| format!("user{number}@example.test x\n")).collect();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .map("hash", "known", &known)
        .main("relay_domains = example.test\nrelay_recipient_maps = hash:$config_directory/known")
        .main("smtpd_recipient_restrictions = reject_unlisted_recipient, check_client_access static:{450 4.2.0 Greylisted}")
        .main("smtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 5000")
        .start();
    let mut smtp = session(&postfix, "198.51.100.10");
    for number in 0..1050 {
        if number % 50 == 0 {
            smtp.rset();
            smtp.mail("<list-bounces@lists.test>");
        }
        let (rcpt, code) = match number % 50 {
            7 => (format!("dead{number}"), 550),
            _ => (format!("user{}", number % 1000), 450),
        };
        assert_eq!(smtp.rcpt(&format!("<{rcpt}@example.test>")).code, code, "{rcpt}: {}", smtp.transcript());
    }
    assert_eq!(backstop.metric("backstop_harvesters_blocked", &[]), 0.0);
}

/// An admin who only watches what a client looks like, before he refuses for it, blocks nobody by that.
#[test]
fn whom_a_watched_client_knows_counts() {
    let builder = town(600).file("dynamic", "198.51.100.10\n");
    let networks = format!("[{:?}]", builder.path("dynamic").display().to_string());
    let backstop = builder
        .env("BACKSTOP__CLIENT__DYNAMIC__ENFORCE", "rcpt")
        .env("BACKSTOP__CLIENT__DYNAMIC__NETWORKS", &networks)
        .env("BACKSTOP__MONITOR__REASONS", r#"["dynamic-client"]"#)
        .start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let mut smtp = transaction(&postfix, "198.51.100.10");
    for number in 0..500 {
        let (rcpt, code) = match number % 20 {
            7 => (format!("dead{number}"), 550),
            _ => (format!("user{number}"), 250),
        };
        assert_eq!(smtp.rcpt(&format!("<{rcpt}@example.test>")).code, code, "{rcpt}: {}", smtp.transcript());
    }
    assert_eq!(backstop.metric("backstop_harvesters_blocked", &[]), 0.0);
    let watched = [("reason", "dynamic-client"), ("enforced", "no")];
    assert_eq!(backstop.metric("backstop_decisions_total", &watched), 475.0);
}

/// A partner was blocked, and the admin excepts him. Whom he has blocked himself stays out.
#[test]
fn whoever_is_excepted_is_let_in_at_once() {
    let backstop = town(3).start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    guess_up_to_the_limit(&postfix, "198.51.100.66");
    assert_eq!(backstop.command(&["block", "198.51.100.67"]).status, 0);
    let answers = || {
        ["198.51.100.66", "198.51.100.67"]
            .map(|ip| transaction(&postfix, ip).rcpt("<user1@example.test>").code)
    };
    assert_eq!(answers(), [421, 421]);
    let config = format!(
        "[domains]\ndetect = false\nnames = [\"example.test\"]\n[directory.people.file]\npath = {:?}\n\
         [defence.harvest]\nexcept = [\"198.51.100.0/24\"]\n",
        backstop.path("addresses")
    );
    backstop.write("backstop.toml", &config);
    assert_eq!(backstop.command(&["reload"]).status, 0);
    assert_eq!(answers(), [250, 421]);
}

/// The same of Sendmail and its local users. It tells of no others: not of those whom check_rcpt, an access_db or a virtusertable
/// refuses.
#[test]
fn what_sendmail_refuses_counts() {
    let backstop = site::backstop().env("BACKSTOP__DEFENCE__HARVEST__PRIVATE", "true").start();
    let sendmail = Sendmail::builder()
        .milter(&backstop.for_sendmail())
        .file("local-host-names", "example.test\n")
        .file("aliases", "anna: root\n")
        .mc(SENDMAIL_WITH_USERS)
        .start();
    let transaction = |last| {
        let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
        let mut smtp = Smtp::connect_from(Some(from), sendmail.ipv4());
        smtp.ehlo("client.elsewhere.test");
        smtp.mail("<sender@elsewhere.test>");
        smtp
    };
    let mut smtp = transaction(66);
    for number in 0..LIMIT {
        let reply = smtp.rcpt(&format!("<guess{number}@example.test>"));
        assert!(reply.code == 550 && reply.text.contains("User unknown"), "{}", smtp.transcript());
    }
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 421, "{}", smtp.transcript());
    assert_eq!(transaction(67).rcpt("<anna@example.test>").code, 250);
    let reasons = backstop.metric_by("backstop_decisions_total", &[("stage", "rcpt")], "reason");
    assert_eq!(reasons.get("unknown-recipient"), None, "{reasons:?}");
    assert_eq!(reasons.get("mta-refused"), Some(&f64::from(LIMIT)), "{reasons:?}");
}

/// Who has a /64 has an address for each guess.
#[test]
fn an_ipv6_client_can_not_hide_in_its_network() {
    let backstop = site::backstop().start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let ask = |client: &str, rcpt: &str| transaction(&postfix, client).rcpt(rcpt).code;
    for number in 0..LIMIT {
        let client = format!("IPV6:2001:db8:1:2::{number:x}");
        assert_eq!(ask(&client, &format!("<guess{number}@example.test>")), 550, "{client}");
    }
    for (client, code) in
        [("IPV6:2001:db8:1:2:3:4:5:6", 421), ("IPV6:2001:db8:1:3::1", 250), ("198.51.100.66", 250)]
    {
        assert_eq!(ask(client, "<anna@example.test>"), code, "{client}");
    }
}

/// Where no directory is in charge nobody counts as known: what the MTA refuses must not be all that is counted.
#[test]
fn where_only_the_mta_knows_who_exists_nobody_is_blocked() {
    let backstop =
        Backstop::builder(BACKSTOP).config("[domains]\ndetect = false\nnames = [\"example.test\"]\n").start();
    let postfix = Postfix::builder()
        .milter(&backstop.for_postfix())
        .main("relay_recipient_maps = regexp:{ { /^user/ x } }")
        .start();
    let mut smtp = transaction(&postfix, "198.51.100.10");
    for number in 0..3 * LIMIT {
        let (name, code) = if number % 2 == 0 { ("user", 250) } else { ("dead", 550) };
        let reply = smtp.rcpt(&format!("<{name}{number}@example.test>"));
        assert_eq!(reply.code, code, "{}", smtp.transcript());
    }
    assert_eq!(backstop.metric("backstop_harvest_blocks_total", &[]), 0.0);
}

#[test]
fn a_mailing_list_with_dead_addresses_is_never_blocked() {
    let backstop = town(600).start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let (mut dead, mut smtp) = (0, session(&postfix, "198.51.100.10"));
    for number in 0..1500 {
        if number % 50 == 0 {
            smtp.rset();
            smtp.mail("<list-bounces@lists.test>");
        }
        let rcpt = if number % 50 == 7 { format!("dead{number}") } else { format!("user{}", number % 600) };
        let reply = smtp.rcpt(&format!("<{rcpt}@example.test>"));
        dead += u32::from(rcpt.starts_with("dead"));
        assert_eq!(reply.code, if rcpt.starts_with("dead") { 550 } else { 250 }, "{rcpt}: {reply}");
    }
    assert_eq!(dead, 30, "2 %, and more than the limit");
    // Nor a machine that writes to one dead address again and again.
    for _ in 0..100 {
        let mut smtp = transaction(&postfix, "198.51.100.11");
        assert_eq!(smtp.rcpt("<left-in-2019@example.test>").code, 550, "{}", smtp.transcript());
    }
    assert_eq!(backstop.metric("backstop_harvesters_blocked", &[]), 0.0);
}

#[test]
fn a_harvest_from_500_clients_is_seen() {
    let backstop = site::backstop().start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    assert_eq!(backstop.metric("backstop_harvest_distributed", &[]), 0.0);
    for client in 0..500_u32 {
        let mut smtp = transaction(&postfix, &format!("203.0.{}.{}", client / 250, client % 250 + 1));
        for number in 0..2 {
            let reply = smtp.rcpt(&format!("<guess{}@example.test>", client * 2 + number));
            assert_eq!(reply.code, 550, "each of them guesses little: {}", smtp.transcript());
        }
    }
    assert_eq!(backstop.metric("backstop_harvest_distributed", &[]), 1.0);
    assert_eq!(backstop.log().matches("a distributed harvest").count(), 1);
    let status = backstop.command(&["status"]).stdout;
    assert!(status.contains("note: a distributed harvest is under way"), "{status}");
    // The limit is lower now; mail for users passes.
    let mut smtp = transaction(&postfix, "198.51.100.66");
    for number in 0..5 {
        assert_eq!(smtp.rcpt(&format!("<other{number}@example.test>")).code, 550, "{}", smtp.transcript());
    }
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 421, "{}", smtp.transcript());
    assert_eq!(transaction(&postfix, "198.51.100.67").rcpt("<anna@example.test>").code, 250);
}

/// A spammer forges senders here, and many honest servers verify them: none of them is to have a lower limit for that.
#[test]
fn call_outs_for_forged_senders_are_no_harvest() {
    let backstop = site::backstop().start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    for client in 0..150_u32 {
        let mut smtp = session(&postfix, &format!("203.0.113.{}", client + 1));
        // As Exim asks, and as Postfix does.
        smtp.mail(if client % 2 == 0 { "<>" } else { "<double-bounce@mail.elsewhere.test>" });
        for number in 0..5 {
            let reply = smtp.rcpt(&format!("<forged{}@example.test>", client * 5 + number));
            assert_eq!(reply.code, 550, "{}", smtp.transcript());
        }
    }
    assert_eq!(backstop.metric("backstop_harvest_distributed", &[]), 0.0);
    assert_eq!(backstop.metric("backstop_harvest_blocks_total", &[]), 0.0);
    // One alone that asks for as many as a harvester has the limit of one.
    let mut smtp = session(&postfix, "203.0.113.1");
    smtp.mail("<>");
    for number in 5..LIMIT {
        assert_eq!(smtp.rcpt(&format!("<other{number}@example.test>")).code, 550, "{}", smtp.transcript());
    }
    assert_eq!(smtp.rcpt("<anna@example.test>").code, 421, "{}", smtp.transcript());
}

#[test]
fn a_harvest_from_one_ipv6_48_is_blocked_as_one() {
    let backstop = site::backstop().start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let client = |number: u32| format!("IPV6:2001:db8:1:{number:x}::25");
    for number in 0..8 * LIMIT / 4 {
        let mut smtp = transaction(&postfix, &client(number));
        for guess in 0..4 {
            let reply = smtp.rcpt(&format!("<guess{}@example.test>", number * 4 + guess));
            assert_eq!(reply.code, 550, "{number}: {}", smtp.transcript());
        }
    }
    let answer = |client: &str| transaction(&postfix, client).rcpt("<anna@example.test>").to_string();
    let refused = "421 4.7.0 Too many unknown recipients, try again later [harvest]";
    assert_eq!(answer(&client(0xabcd)), refused);
    assert!(answer("IPV6:2001:db8:2:abcd::25").starts_with("250 "), "the neighbour");
    let blocked = backstop.command(&["blocked"]).stdout;
    assert!(blocked.starts_with("2001:db8:1::/48  for ") && blocked.lines().count() == 1, "{blocked}");
    let check = backstop.command(&["check", "anna@example.test", "--client", "2001:db8:1:abcd::25"]).stdout;
    assert!(check.contains("all of 2001:db8:1::/48 is blocked, but for those with a good name\n"), "{check}");
    let released = backstop.command(&["release", "2001:db8:1:77::1"]);
    assert_eq!(released.status, 0, "{released:?}");
    assert!(released.stdout.contains("note: nor is all of 2001:db8:1::/48"), "{released:?}");
    assert!(answer(&client(0xabcd)).starts_with("250 "));
    assert_eq!(backstop.command(&["blocked"]).stdout, "");
    assert_eq!(backstop.command(&["release", "2001:db8:1::/48"]).status, 1, "as it is listed");
}

mod full {
    use super::*;

    /// Ten thousand guesses, with those who exist among them: after the limit there is one reply only, always.
    #[test]
    fn a_dictionary_of_10000_learns_nothing() {
        let backstop = town(1000).start();
        let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
        let harvester = "198.51.100.66";
        guess_up_to_the_limit(&postfix, harvester);
        let mut replies = BTreeSet::new();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for number in 0..10_000 {
            let (rcpt, times) = match number % 10 {
                0 => (format!("user{}", number / 10), &mut known),
                _ => (format!("word{number}"), &mut unknown),
            };
            let mut smtp = transaction(&postfix, harvester);
            let begun = Instant::now();
            let reply = smtp.rcpt(&format!("<{rcpt}@example.test>"));
            times.push(begun.elapsed());
            replies.insert(reply.to_string());
        }
        // Neither by the time that it takes: the difference is less than what a network adds.
        let [known, unknown] = [known, unknown].map(median);
        assert!(known.abs_diff(unknown) < unknown / 5, "known {known:?}, unknown {unknown:?}");
        println!("half of the answers within: known {known:?}, unknown {unknown:?}");
        let only = "421 4.7.0 Too many unknown recipients, try again later [harvest]";
        assert_eq!(replies, BTreeSet::from([only.to_owned()]));
        assert_eq!(backstop.log().matches("client blocked, it guesses recipients").count(), 1);
        // Neither do more sessions at once.
        let all: BTreeSet<String> = std::thread::scope(|scope| {
            let postfix = &postfix;
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    scope.spawn(move || {
                        let other = |number| format!("<user{}@example.test>", thread * 10 + number);
                        let ask = |number| transaction(postfix, harvester).rcpt(&other(number)).to_string();
                        (0..10).map(ask).collect::<BTreeSet<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
        });
        assert_eq!(all, BTreeSet::from([only.to_owned()]));
    }

    /// A list posts to everybody again and again, for as long as five windows. 2 % of each post are dead, and others each time.
    #[test]
    fn a_mailing_list_that_goes_on_and_on_is_never_blocked() {
        let backstop = town(294).env("BACKSTOP__DEFENCE__HARVEST__WINDOW", "5s").start();
        let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
        let mut smtp = session(&postfix, "198.51.100.10");
        let (begun, every) = (Instant::now(), Duration::from_millis(400));
        for post in 0..60 {
            wait_until(10 * every, "the next post", || begun.elapsed() >= every * post);
            smtp.mail("<list-bounces@lists.test>");
            for number in 0..300 {
                let (rcpt, code) = match number % 50 {
                    7 => (format!("dead{post}-{number}"), 550),
                    _ => (format!("user{}", number - (number + 42) / 50), 250),
                };
                let reply = smtp.rcpt(&format!("<{rcpt}@example.test>"));
                assert_eq!(reply.code, code, "post {post}, {rcpt}: {reply}");
            }
            smtp.rset();
        }
        assert_eq!(backstop.metric("backstop_harvest_blocks_total", &[]), 0.0);
    }

    fn median(mut times: Vec<Duration>) -> Duration {
        times.sort();
        times[times.len() / 2]
    }

    /// A block ends, and the counts with it.
    #[test]
    fn a_block_ends() {
        let backstop = site::backstop()
            .env("BACKSTOP__DEFENCE__HARVEST__WINDOW", "2s")
            .env("BACKSTOP__DEFENCE__HARVEST__BLOCK", "8s")
            .start();
        let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
        let harvester = "198.51.100.66";
        let passes = || transaction(&postfix, harvester).rcpt("<anna@example.test>").code == 250;
        wait_until(Duration::from_secs(60), "a block", || {
            let mut smtp = transaction(&postfix, harvester);
            (0..LIMIT).any(|number| smtp.rcpt(&format!("<guess{number}@example.test>")).code == 421)
                || !passes()
        });
        assert_eq!(backstop.metric("backstop_harvesters_blocked", &[]), 1.0);
        wait_until(Duration::from_secs(30), "the end of the block", passes);
        assert_eq!(backstop.metric("backstop_harvesters_blocked", &[]), 0.0);
    }
}

/// Users, `user0` and on, of example.test.
fn town(users: u32) -> BackstopBuilder {
    let addresses: String = (0..users).map(|number| format!("user{number}@example.test\n")).collect();
    Backstop::builder(BACKSTOP).file("addresses", &addresses).config(
        "[domains]\ndetect = false\nnames = [\"example.test\"]\n\
         [directory.people.file]\npath = \"{dir}/addresses\"\n",
    )
}

fn session(postfix: &Postfix, client: &str) -> Smtp {
    let mut smtp = Smtp::connect(postfix.port());
    smtp.ehlo("client.elsewhere.test");
    smtp.xclient(&format!("ADDR={client} NAME=client.elsewhere.test"));
    smtp.ehlo("client.elsewhere.test");
    smtp
}

fn transaction(postfix: &Postfix, client: &str) -> Smtp {
    let mut smtp = session(postfix, client);
    smtp.mail("<sender@elsewhere.test>");
    smtp
}

fn guess_up_to_the_limit(postfix: &Postfix, client: &str) {
    let mut smtp = transaction(postfix, client);
    for number in 0..LIMIT {
        let reply: Reply = smtp.rcpt(&format!("<guess{number}@example.test>"));
        assert_eq!(reply.code, 550, "{}", smtp.transcript());
    }
}

/// In a directory that others may write to, as /tmp is.
const SENDMAIL_WITH_USERS: &str = "\
    define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe, ClassFileInUnsafeDirPath, MapInUnsafeDirPath, \
    WorldWritableAliasFile, GroupWritableAliasFile')dnl\n\
    FEATURE(`use_cw_file')dnl\ndefine(`ALIAS_FILE', `{dir}/aliases')dnl";

/// The default of `unknown`.
const LIMIT: u32 = 20;

/// Of every kind that the decision table knows behind its row 6.
const MIXED: [&str; 12] = [
    "<anna@example.test>",
    "<anna+shop@example.test>",
    "<nobody@example.test>",
    "<guess1@example.test>",
    "<unpaid@example.test>",
    "<anybody@suspended.test>",
    "<anybody@catchall.test>",
    "<late@virtual.test>",
    "<nobody@virtual.test>",
    "<bad..dots@example.test>",
    "<x%foreign.test@example.test>",
    "<o%neil@example.test>",
];
