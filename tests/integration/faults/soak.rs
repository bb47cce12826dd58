//! Load, faults and reloads at the same time, for as long as one likes: nobody gets a wrong answer, none comes late, and what
//! was taken (memory, descriptors, threads, sessions) is given back.
//!
//! Who exists is known to the test alone, by the names; what a directory's trouble may change is stated in [`Person::may_be`].

use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use backstop_harness::{Backstop, Postgres, Random, Redis, Slapd, wait_until};
use milter_protocol::command::Command;

use super::{fill_postgres, fill_slapd, ldap_directory, message, said, sql_directory};
use crate::BACKSTOP;

mod full {
    /// An hour, whose last lines are what it counted:
    /// `SOAK_SECONDS=3600 cargo test --locked --test integration -- --exact --nocapture faults::soak::full::for_minutes`
    #[test]
    fn for_minutes() {
        let seconds = std::env::var("SOAK_SECONDS").map_or(240, |text| text.parse().expect("seconds"));
        super::soak(seconds);
    }
}

#[test]
fn for_a_short_time() {
    soak(20);
}

fn soak(seconds: u64) {
    let mut site = Site::start();
    let (mut faults, half) = (Random::new(seconds), Duration::from_secs(seconds / 2));
    // What is taken once, by the first load and the first faults, is taken for good.
    let first = site.run(half, &mut faults);
    let before = site.settled();
    let second = site.run(half, &mut faults);
    let after = site.settled();
    println!("first half: {first:?}\nsecond half: {second:?}\nbefore: {before:?}\nafter: {after:?}");
    let wrong: Vec<&str> = first.wrong.iter().chain(&second.wrong).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    for counted in [first.answers, second.answers] {
        assert!(counted > 10 * seconds, "hardly anything was asked: {counted}");
    }
    let both = |count: fn(&Counted) -> u64| count(&first) + count(&second);
    for (what, times) in [
        ("answers that were put off", both(|counted| counted.unsure)),
        ("faults", both(|counted| counted.faults)),
        ("reloads", both(|counted| counted.reloads)),
    ] {
        assert!(times > 0, "no {what}");
    }
    // A connection may break at any time.
    let (spurious, answers) = (both(|counted| counted.spurious), both(|counted| counted.answers));
    let warnings: Vec<String> =
        site.backstop.log().lines().filter(|line| line.contains(" WARN ")).map(str::to_owned).collect();
    assert!(
        spurious <= 1 + answers / 50_000,
        "{spurious} of {answers} were put off for nothing: {warnings:#?}"
    );
    assert_eq!(site.backstop.metric("backstop_session_panics_total", &[]), 0.0);
    assert!(after.descriptors <= before.descriptors + SLACK_DESCRIPTORS, "{before:?}, then {after:?}");
    assert!(after.threads <= before.threads + SLACK_THREADS, "{before:?}, then {after:?}");
    assert!((MANY..=before.tasks + SLACK_TASKS).contains(&after.tasks), "{before:?}, then {after:?}");
    assert!(
        after.resident <= before.resident + before.resident / 8 + SLACK_MEMORY,
        "{before:?}, then {after:?}"
    );
}

/// Where a recipient's directory is, and whether it knows him.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Person {
    Known,
    Suspended,
    Invented,
}

impl Person {
    /// Whether this answer is right, besides that he is put off: who exists is never refused for good, who does not never passes.
    fn may_be(self, answer: &str) -> bool {
        match self {
            Self::Known => answer == "continue",
            Self::Suspended => answer.starts_with("550 5.2.1"),
            Self::Invented => answer.starts_with("550 5.1.1"),
        }
    }
}

/// What may be out of order; a domain each, but for the store.
const PARTS: [&str; 4] = ["file.test", "ldap.test", "sql.test", "store"];

/// When a part was out of order last, in milliseconds of the run; `u64::MAX`: it is.
#[derive(Default)]
struct Troubles([AtomicU64; PARTS.len()]);

impl Troubles {
    fn may_doubt(&self, part: usize, began: u64) -> bool {
        let last = self.0[part].load(Ordering::SeqCst);
        last > 0 && last.saturating_add(RECOVERY.as_millis() as u64) >= began
    }
}

#[derive(Debug, Default)]
struct Counted {
    sessions: u64,
    answers: u64,
    /// Put off.
    unsure: u64,
    /// Put off, though his directory was well, and had been for a while.
    spurious: u64,
    faults: u64,
    reloads: u64,
    slowest: Duration,
    wrong: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    /// In kilobytes.
    resident: u64,
    descriptors: u64,
    threads: u64,
    tasks: f64,
}

struct Site {
    slapd: Slapd,
    postgres: Postgres,
    redis: Redis,
    config: String,
    backstop: Backstop,
    began: Instant,
}

impl Site {
    fn start() -> Self {
        let (slapd, postgres, redis) = (Slapd::start(), Postgres::start(), Redis::start());
        fill_slapd(&slapd, PEOPLE);
        fill_postgres(&postgres, PEOPLE);
        let known: String = (0..PEOPLE).map(|number| format!("known{number}@file.test\n")).collect();
        let suspended: String = (0..PEOPLE).map(|number| format!("gone{number}@file.test\n")).collect();
        let config = [
            CONFIG.to_owned(),
            ldap_directory(
                &slapd,
                slapd.url(),
                &format!("source = \"live\"\n{TIMES}[directory.corp.cache]\n{SECOND}"),
            ),
            sql_directory(&postgres, &postgres.url(""), &format!("{TIMES}[directory.shop.cache]\n{SECOND}")),
        ]
        .concat();
        let builder = Backstop::builder(BACKSTOP);
        let config = config.replace("{dir}", &builder.path("").display().to_string());
        let backstop = builder
            .file("people", &(known + &suspended))
            .file("suspended", &suspended)
            .config(&config)
            .env("BACKSTOP__STORE__URL", &redis.url())
            .start();
        // Of a database nobody is called unknown before somebody was found there.
        wait_until(Duration::from_secs(20), "both to be asked", || {
            let check = |who: &str| backstop.command(&["check", who]).status;
            assert_eq!(check("known0@sql.test"), 0);
            check("nobody@ldap.test") == 1 && check("nobody@sql.test") == 1
        });
        Self { slapd, postgres, redis, config, backstop, began: Instant::now() }
    }

    /// Load from several MTAs, and one fault after the other.
    fn run(&mut self, time: Duration, faults: &mut Random) -> Counted {
        let (stop, troubles, counted) = (AtomicBool::new(false), Troubles::default(), Mutex::default());
        let (began, port) = (self.began, self.backstop.milter_port());
        let (ends, mut done, mut reloads) = (Instant::now() + time, 0, 0);
        thread::scope(|scope| {
            for number in 0..MTAS {
                let mut random = Random::new(number as u64 + began.elapsed().as_millis() as u64);
                let (stop, troubles, counted) = (&stop, &troubles, &counted);
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        session(port, began, troubles, &mut random, counted);
                        thread::sleep(Duration::from_millis(2));
                    }
                });
            }
            while Instant::now() < ends {
                reloads += self.disturb(faults, &troubles);
                done += 1;
            }
            stop.store(true, Ordering::SeqCst);
        });
        let counted = counted.into_inner().unwrap_or_else(PoisonError::into_inner);
        Counted { faults: done, reloads, ..counted }
    }

    /// One fault, and its end; a few reloads. Gives their number.
    fn disturb(&mut self, random: &mut Random, troubles: &Troubles) -> u64 {
        let part = random.below(PARTS.len());
        let trouble = &troubles.0[part];
        trouble.store(u64::MAX, Ordering::SeqCst);
        let dies = random.once_in(2);
        let people = self.backstop.path("people");
        let aside = self.backstop.path("people.aside");
        match (PARTS[part], dies) {
            // A directory in its place; and, where it does not die, half a list, as a copy that was broken off.
            ("file.test", true) => {
                fs::rename(&people, &aside).expect("it is there");
                fs::create_dir(&people).expect("its place is free");
            }
            ("file.test", false) => {
                let text = fs::read_to_string(&people).expect("it is there");
                fs::rename(&people, &aside).expect("it is there");
                fs::write(&people, &text[..text.len() / 5]).expect("there is room");
            }
            ("ldap.test", true) => self.slapd.kill(),
            ("ldap.test", false) => self.slapd.pause(),
            ("sql.test", true) => self.postgres.kill(),
            ("sql.test", false) => self.postgres.freeze(),
            (_, true) => self.redis.kill(),
            (_, false) => self.redis.freeze(),
        }
        let mut reloads = 0;
        for number in 0..random.below(6) {
            // One that can't be used is said to be, and changes nothing; the others really change something.
            let more = ["", "\n[recipients]\ndelimiters = \"+\"\n", "\n[mistake]\n"][number % 3];
            self.backstop.write("backstop.toml", &format!("{}{more}", self.config));
            let output = self.backstop.command(&["reload"]);
            let may_fail = PARTS[part] == "file.test";
            match number % 3 {
                2 => assert_ne!(output.status, 0, "{output:?}"),
                _ => assert!(output.status == 0 || may_fail, "{} is in trouble: {output:?}", PARTS[part]),
            }
            reloads += 1;
        }
        self.backstop.write("backstop.toml", &self.config);
        thread::sleep(Duration::from_millis(200 + random.below(2500) as u64));
        match (PARTS[part], dies) {
            ("file.test", dies) => {
                if dies {
                    fs::remove_dir(&people).expect("it is empty");
                }
                fs::rename(&aside, &people).expect("its place is free");
            }
            ("ldap.test", true) => self.slapd.restart(),
            ("ldap.test", false) => self.slapd.resume(),
            ("sql.test", true) => self.postgres.resume(),
            ("sql.test", false) => self.postgres.thaw(),
            (_, true) => self.redis.resume(),
            (_, false) => self.redis.thaw(),
        }
        trouble.store(self.began.elapsed().as_millis() as u64, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(random.below(1500) as u64));
        reloads
    }

    /// What it holds when it was left alone for a while.
    fn settled(&self) -> Taken {
        wait_until(Duration::from_secs(30), "the sessions to end", || {
            self.backstop.metric("backstop_sessions_open", &[]) == 0.0
        });
        thread::sleep(Duration::from_secs(3));
        let process = format!("/proc/{}", self.backstop.pid());
        let status = fs::read_to_string(format!("{process}/status")).expect("it runs");
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("proc(5)");
            line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("proc(5)")
        };
        let descriptors = fs::read_dir(format!("{process}/fd")).expect("it runs").count() as u64;
        let tasks = self.backstop.metric("backstop_tasks", &[]);
        Taken { resident: field("VmRSS:"), descriptors, threads: field("Threads:"), tasks }
    }
}

/// One SMTP session of an MTA, some of them with nonsense at the end or cut off.
fn session(port: u16, began: Instant, troubles: &Troubles, random: &mut Random, counted: &Mutex<Counted>) {
    // None that is trusted by itself, and not so many that tables go on growing.
    let client = Ipv4Addr::from(0x0b00_0000 + 4099 * random.below(CLIENTS) as u32);
    let mut mta = message(port, client);
    let mut told = Counted { sessions: 1, ..Counted::default() };
    for _ in 0..=random.below(4) {
        let part = random.below(3);
        let (person, kind) = match random.below(3) {
            0 => (Person::Known, "known"),
            1 => (Person::Suspended, "gone"),
            _ => (Person::Invented, "nobody"),
        };
        let number = random.below(if person == Person::Invented { INVENTED } else { PEOPLE });
        let recipient = format!("{kind}{number}@{}", PARTS[part]);
        let (asked, at) = (Instant::now(), began.elapsed().as_millis() as u64);
        let before = troubles.may_doubt(part, at);
        let answer = said(&mut mta, &recipient);
        let took = asked.elapsed();
        // Trouble may have begun meanwhile.
        let in_doubt = before || troubles.may_doubt(part, at);
        told.answers += 1;
        let is_put_off = answer.starts_with("451 4.4.3");
        told.unsure += u64::from(is_put_off);
        told.spurious += u64::from(is_put_off && !in_doubt);
        told.slowest = told.slowest.max(took);
        if !is_put_off && !person.may_be(&answer) || took > LONGEST {
            told.wrong.push(format!("{at} ms: {recipient} after {took:?}: {answer:?}, in doubt: {in_doubt}"));
        }
    }
    match random.below(12) {
        0 => mta.write(&[0, 0, 0, 0]),
        1 => mta.write(&[0, 0, 1, 0, b'R', b'<']),
        2..=4 => drop(mta),
        _ => {
            let _ = mta.send(&Command::Abort);
            let _ = mta.send(&Command::Quit);
        }
    }
    let mut all = counted.lock().unwrap_or_else(PoisonError::into_inner);
    all.sessions += told.sessions;
    all.answers += told.answers;
    all.unsure += told.unsure;
    all.spurious += told.spurious;
    all.slowest = all.slowest.max(told.slowest);
    all.wrong.extend(told.wrong);
}

/// In each directory, so many of each kind.
const PEOPLE: usize = 40;
const INVENTED: usize = 2000;
const CLIENTS: usize = 1000;
const MTAS: usize = 6;
/// So long after its trouble a directory may still be taken for down: it is tried again after a while.
const RECOVERY: Duration = Duration::from_secs(10);
/// No answer takes longer than 8 s; the rest is this machine's.
const LONGEST: Duration = Duration::from_secs(10);
/// Connections to servers, that are kept.
const SLACK_DESCRIPTORS: u64 = 8;
/// Those for work that blocks stay.
const SLACK_THREADS: u64 = 4;
/// Those of the program's parts.
const MANY: f64 = 10.0;
/// A connection to a server has one.
const SLACK_TASKS: f64 = 4.0;
/// In kilobytes.
const SLACK_MEMORY: u64 = 8 * 1024;

const TIMES: &str = "deadline = \"1s\"\n";
const SECOND: &str = "positive = \"1s\"\nnegative = \"1s\"\n";

const CONFIG: &str = r#"
[domains]
detect = false
names = ["file.test", "ldap.test", "sql.test"]

# They ask again and again.
[defence.harvest]
enabled = false

[suspensions]
files = ["{dir}/suspended"]

[directory.people]
domains = ["file.test"]
[directory.people.file]
path = "{dir}/people"
"#;
