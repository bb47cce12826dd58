//! Backstops that share one Redis, each asked by a Postfix of its own: what one learns the others know, and no mail is lost
//! by a Redis that dies.

mod full;

use std::time::Duration;

use backstop_harness::{Authority, Backstop, Dns, Postfix, Redis, Reply, wait_until};

use crate::mta::{Answer, Mta};
use crate::site;
use crate::standing::{answer, from};

#[test]
fn what_one_learns_the_others_know() {
    let (redis, dns) = (Redis::start(), Dns::start());
    let [here, there] = [(); 2].map(|()| Host::start(&redis, &dns));

    // Who is put off here comes again there, and passes, then everywhere.
    assert_eq!(here.rcpt(GOOD, "<anna@example.test>"), "450 4.7.1 Greylisted, try again later [greylisted]");
    wait_until(SOON, "the retry at the other host", || there.answer(GOOD, "<anna@example.test>") == 250);
    let outcomes = |host: &Host| host.backstop.metric_by("backstop_greylist_total", &[], "outcome");
    assert_eq!((outcomes(&here).get("first"), outcomes(&there).get("returned")), (Some(&1.0), Some(&1.0)));
    assert_eq!(outcomes(&there).get("first"), None, "it was no stranger there");
    wait_until(SOON, "it to pass here as well", || here.answer(GOOD, "<anna@example.test>") == 250);

    // Who guesses here learns nothing there.
    here.guess(HARVESTER);
    let blocked = "421 4.7.0 Too many unknown recipients, try again later [harvest]";
    wait_until(SOON, "the block", || there.rcpt(HARVESTER, "<nobody@example.test>") == blocked);
    for recipient in ["<anna@example.test>", "<unpaid@example.test>", "<guess@example.test>"] {
        assert_eq!(there.rcpt(HARVESTER, recipient), blocked, "{recipient}");
    }
    assert_eq!(there.answer(HARVESTER, "<postmaster@example.test>"), 250);
    assert_eq!(there.answer(GOOD, "<anna@example.test>"), 250);
    assert_eq!(there.answer(GOOD, "<nobody@example.test>"), 550);

    // What is said here counts there.
    here.command(&["block", OTHER, "--reason", "it guesses"]);
    let by_hand = "421 4.7.0 Blocked for a time, try again later [harvest]";
    assert_eq!(there.rcpt(OTHER, "<anna@example.test>"), by_hand);
    let checked = there.backstop.command(&["check", "anna@example.test", "--client", OTHER]);
    assert!(checked.status == 2 && checked.stdout.contains("it guesses"), "{checked:?}");
    there.command(&["release", OTHER]);
    assert_eq!(here.answer(OTHER, "<anna@example.test>"), 450, "greylisted, no longer blocked");
    here.command(&["trust", OTHER]);
    assert_eq!(there.answer(OTHER, "<bob@example.test>"), 250, "an insider does not wait");
    assert!(there.command(&["trusted"]).starts_with(OTHER));
    here.command(&["suspend", "anna@example.test", "--text", "Call us"]);
    let suspended = "550 5.2.1 Call us [suspended-recipient]";
    wait_until(SOON, "the suspension", || there.rcpt(OTHER, "<anna@example.test>") == suspended);
    assert!(there.command(&["suspended"]).starts_with("anna@example.test  since 20"));
    there.command(&["resume", "anna@example.test"]);
    wait_until(SOON, "its end", || here.answer(OTHER, "<anna@example.test>") == 250);
}

#[test]
fn a_redis_with_tls_and_a_password_is_used_as_configured() {
    let (redis, stranger) = (Redis::secured(), Authority::new());
    let start = |ca: &std::path::Path, password: &str| {
        let builder = site::backstop().file("password", &format!("{password}\n"));
        let file = builder.path("password");
        builder
            .env("BACKSTOP__STORE__URL", &redis.url())
            .env("BACKSTOP__STORE__CA_FILE", &ca.display().to_string())
            .env("BACKSTOP__STORE__PASSWORD_FILE", &file.display().to_string())
            .start()
    };
    let here = start(&redis.ca_file(), Redis::PASSWORD);
    let postfix = Postfix::builder().milter(&here.for_postfix()).start();
    assert_eq!(here.metric("backstop_store_up", &[]), 1.0);
    assert_eq!(here.command(&["block", "203.0.113.7"]).status, 0);
    assert_eq!(answer(&postfix, "203.0.113.7", "<anna@example.test>"), 421);
    assert_eq!(redis.command(&["exists", "backstop:blocks:203.0.113.7"]), "1");
    for (ca, password, why) in [
        (stranger.file(), Redis::PASSWORD, "invalid peer certificate"),
        (redis.ca_file(), "wr0ng", "Password authentication failed"),
    ] {
        let there = start(&ca, password);
        let mut mta = Mta::connect(there.milter_port());
        mta.greet();
        mta.mail();
        assert_eq!(
            mta.rcpt("<anna@example.test>"),
            Answer::Continue,
            "203.0.113.7 is blocked where one can tell"
        );
        let status = there.command(&["status"]).stdout;
        let note = status.lines().find(|line| line.starts_with("note: store rediss://")).unwrap_or_default();
        assert!(note.contains(" s: ") && note.contains(why), "{status}");
        let commanded = there.command(&["block", "203.0.113.8"]);
        assert!(commanded.status == 69 && commanded.stderr.contains(why), "{commanded:?}");
        let told = format!("{status}{}{}", there.log(), commanded.stderr);
        assert!(!told.contains("wr0ng") && !told.contains(Redis::PASSWORD), "{told}");
        assert_eq!(there.metric("backstop_store_up", &[]), 0.0);
    }
}

/// What `backstop status` and the other commands say while nobody can tell.
#[test]
fn nothing_false_is_told_while_redis_is_down() {
    let mut redis = Redis::start();
    let backstop = site::backstop().env("BACKSTOP__STORE__URL", &redis.url()).start();
    for args in [["block", "203.0.113.7"], ["trust", "203.0.113.8"], ["suspend", "anna@example.test"]] {
        assert_eq!(backstop.command(&args).status, 0, "{args:?}");
    }
    let status = || backstop.command(&["status"]).stdout;
    let line = "clients trusted for a time: 1, blocked: 1; suspensions by command: 1\n";
    assert!(status().contains(line), "{}", status());
    redis.kill();
    wait_until(SOON, "the metric", || backstop.metric("backstop_store_up", &[]) == 0.0);
    let told = status();
    for note in ["note: the store does not tell in time who is blocked", ": out of use for "] {
        assert!(told.contains(note), "{note}: {told}");
    }
    for wrong in ["clients trusted", "blocked: ", "lost what it was told", "put off", "could not be read yet"]
    {
        assert!(!told.contains(wrong), "{wrong}: {told}");
    }
    for args in [
        &["blocked"][..],
        &["trusted"],
        &["block", "203.0.113.9"],
        &["release", "203.0.113.7"],
        &["suspend", "bob@example.test"],
        &["resume", "anna@example.test"],
    ] {
        let output = backstop.command(args);
        assert_eq!((output.status, output.stdout.as_str()), (69, ""), "{args:?}: {output:?}");
        assert!(output.stderr.contains("the store does not answer"), "{args:?}: {output:?}");
    }
    let checked = backstop.command(&["check", "bob@example.test", "--client", "203.0.113.7"]);
    assert!(checked.status == 0 && !checked.stdout.contains("standing: blocked"), "{checked:?}");
    assert!(
        checked.stdout.contains("standing: could not find out: the store does not answer"),
        "{checked:?}"
    );
    redis.resume();
    wait_until(SOON, "the metric", || backstop.metric("backstop_store_up", &[]) == 1.0);
    wait_until(SOON, "the list", || status().contains("blocked: 0; suspensions by command: 0\n"));
    assert!(status().contains("ago it had lost what it was told"), "{}", status());
    assert!(!status().contains("out of use"), "{}", status());
}

/// Who has logged in over POP is an insider, which only the store knows.
#[test]
fn who_may_be_trusted_for_a_time_is_not_refused_for_good_while_redis_is_down() {
    const LINE: &str = "203.0.113.9";
    let (mut redis, dns) = (Redis::start(), Dns::start());
    for client in [LINE, "203.0.113.10"] {
        let name = format!("{}.dynamic.isp.example", client.replace('.', "-"));
        dns.host(client.parse().expect("an address"), &name);
    }
    let backstop = site::backstop()
        .env("BACKSTOP__STORE__URL", &redis.url())
        .env("BACKSTOP__CLIENT__RESOLVER", &dns.address().to_string())
        .env("BACKSTOP__CLIENT__DYNAMIC__ENFORCE", "rcpt")
        .start();
    let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
    let host = Host { backstop, postfix };
    host.command(&["trust", LINE]);
    let both = || [LINE, "203.0.113.10"].map(|client| host.answer(client, "<anna@example.test>"));
    assert_eq!(both(), [250, 550]);
    redis.kill();
    for _ in 0..5 {
        assert_eq!(both(), [250, 250], "nobody knows who has logged in");
    }
    assert_eq!(host.answer(LINE, "<nobody@example.test>"), 550, "that holds for everybody");
    // It comes back empty.
    redis.resume();
    wait_until(SOON, "it to be back", || host.command(&["status"]).contains("it had lost what it was told"));
    assert_eq!(both(), [250, 250], "nobody knows who had logged in");
}

/// One MX host.
struct Host {
    backstop: Backstop,
    postfix: Postfix,
}

impl Host {
    /// One that puts off whoever comes for the first time, for a second or two.
    fn start(redis: &Redis, dns: &Dns) -> Self {
        let backstop = site::backstop()
            .env("BACKSTOP__STORE__URL", &redis.url())
            .env("BACKSTOP__CLIENT__RESOLVER", &dns.address().to_string())
            .env("BACKSTOP__DEFENCE__GREYLIST__MODE", "all")
            .env("BACKSTOP__DEFENCE__GREYLIST__DELAY", "1s")
            .start();
        let postfix = Postfix::builder().milter(&backstop.for_postfix()).start();
        Self { backstop, postfix }
    }

    fn answer(&self, client: &str, recipient: &str) -> u16 {
        answer(&self.postfix, client, recipient)
    }

    /// The reply, without the address that Postfix puts before its text.
    fn rcpt(&self, client: &str, recipient: &str) -> String {
        let mut smtp = from(&self.postfix, client);
        smtp.mail("<sender@elsewhere.test>");
        let Reply { code, enhanced, text } = smtp.rcpt(recipient);
        let text = text.split_once(">: Recipient address rejected: ").map_or(text.as_str(), |(_, text)| text);
        format!("{code} {} {text}", enhanced.unwrap_or_default())
    }

    /// As many unknown recipients as there may be.
    fn guess(&self, client: &str) {
        let mut smtp = from(&self.postfix, client);
        smtp.mail("<sender@elsewhere.test>");
        for number in 0..20 {
            assert_eq!(
                smtp.rcpt(&format!("<guess{number}@example.test>")).code,
                550,
                "{}",
                smtp.transcript()
            );
        }
    }

    /// What a command says that has to go well.
    #[track_caller]
    fn command(&self, args: &[&str]) -> String {
        let output = self.backstop.command(args);
        assert_eq!(output.status, 0, "{args:?}: {output:?}");
        output.stdout
    }
}

const GOOD: &str = "198.51.100.7";
const HARVESTER: &str = "203.0.113.66";
const OTHER: &str = "203.0.114.9";
const SOON: Duration = Duration::from_secs(20);
