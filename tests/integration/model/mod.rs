//! Backstop and a second, slow and obvious implementation of its decision table go through the same sites, outages and
//! sessions, all made up. They must agree about every answer.

mod table;
mod world;

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command as Program;

use backstop_harness::{Backstop, Random, free_port};
use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Mail, Rcpt};

use crate::BACKSTOP;
use crate::mta::{Answer, Mta};

use table::{Client, To};
use world::{DOMAINS, PEOPLE, World};

#[test]
fn they_agree() {
    all((0..10).map(|number| 7_000 + number));
}

mod full {
    #[test]
    fn they_agree_about_much_more() {
        super::all(1..=60);
    }
}

/// One site alone, if `MODEL_SEED` says so.
fn all(seeds: impl IntoIterator<Item = u64>) {
    let seeds: Vec<u64> = match std::env::var("MODEL_SEED") {
        Ok(seed) => vec![seed.parse().expect("MODEL_SEED is a number")],
        Err(_) => seeds.into_iter().collect(),
    };
    let (mut asked, mut wrong) = (0, Vec::new());
    for seed in seeds {
        let told = disagreements(seed, &mut asked);
        if !told.is_empty() {
            wrong.push(format!(
                "again: MODEL_SEED={seed} cargo test --locked --test integration -- --exact --nocapture model::they_agree"
            ));
        }
        wrong.extend(told);
    }
    println!("{asked} answers");
    assert!(wrong.is_empty(), "of {asked} answers some differ:\n{}", wrong[..wrong.len().min(12)].join("\n"));
    assert!(asked > SESSIONS, "hardly anything was asked");
}

/// With each site; two reloads make two others of it.
const SESSIONS: usize = 210;

/// What Backstop answers otherwise than the model, in the words of both.
fn disagreements(seed: u64, asked: &mut usize) -> Vec<String> {
    let mut random = Random::new(seed);
    let (mut world, down) = (World::new(&mut random), free_port());
    let backstop = Backstop::builder(BACKSTOP);
    let (config, files) = world.config("0-", down);
    let place = backstop.path("");
    lay_out(&place, files);
    let backstop = backstop.config(&config).start();
    let blocked = backstop.command(&["block", &BLOCKED.to_string()]);
    assert_eq!(blocked.status, 0, "{blocked:?}");
    let mut wrong = Vec::new();
    for number in 0..SESSIONS {
        // Another site by a reload, with all that was remembered of the one before.
        if number > 0 && number % (SESSIONS / 3) == 0 {
            world = World::new(&mut random);
            let (config, files) = world.config(&format!("{number}-"), down);
            lay_out(&place, files);
            backstop.write("backstop.toml", &config.replace("{dir}", &place.display().to_string()));
            let output = backstop.command(&["reload"]);
            assert_eq!(output.status, 0, "{output:?}");
        }
        for told in session(&backstop, &world, number, &mut random, asked) {
            wrong.push(format!("seed {seed}, session {number}: {told}\n    {world:?}"));
        }
    }
    wrong
}

/// Writes these files there; statements make a database.
fn lay_out(place: &Path, files: Vec<(String, String)>) {
    for (name, text) in files {
        match name.strip_suffix(".sql") {
            None => fs::write(place.join(name), text).expect("there is room"),
            Some(table) => {
                let made = Program::new("sqlite3").arg(place.join(table)).arg(&text).status();
                assert!(made.expect("sqlite3 is installed").success(), "{text}");
            }
        }
    }
}

fn session(
    backstop: &Backstop,
    world: &World,
    number: usize,
    random: &mut Random,
    asked: &mut usize,
) -> Vec<String> {
    let (address, client) = client(random);
    let is_bounce = random.once_in(6);
    let mut mta = Mta::connect(backstop.milter_port());
    let connect = Connect { host: b"mail.elsewhere.test", address: ClientAddress::Inet(address, 4711) };
    let mut wrong = Vec::new();
    let mut compare = |what: String, expected: table::Answer, answer: &Answer| {
        *asked += 1;
        let said = match answer {
            Answer::None | Answer::Continue => "continue".to_owned(),
            Answer::Refused(text) => text.clone(),
        };
        let is_same = match expected {
            Ok(()) => said == "continue",
            Err((code, reason)) => said.starts_with(code) && said.ends_with(&format!("[{reason}]")),
        };
        if !is_same {
            wrong.push(format!("{what} from {client:?}: expected {expected:?}, Backstop says {said:?}"));
        }
    };
    let denied = client.is_denied && !client.is_trusted && !world.is_monitored;
    let answer = mta.send(&Command::Connect(connect));
    compare("connect".to_owned(), if denied { Err(("554 5.7.1", "denied-client")) } else { Ok(()) }, &answer);
    if denied {
        return wrong;
    }
    let sender = if is_bounce { "<>".to_owned() } else { format!("<{}@elsewhere.test>", word(number)) };
    let login: &[(&str, &str)] = if client.has_logged_in { &[("{auth_authen}", "anna")] } else { &[] };
    let mail = Mail { address: sender.as_bytes(), parameters: CStrings::default() };
    let _ = mta.send_with(&Command::Mail(mail), login);
    let mut passed = 0;
    for _ in 0..=random.below(5) {
        let (text, to) = recipient(random);
        let answer =
            mta.send(&Command::Rcpt(Rcpt { address: text.as_bytes(), parameters: CStrings::default() }));
        let expected = world.answer(client, is_bounce, passed, &to);
        compare(format!("{text:?}, number {passed} of {sender}"), expected, &answer);
        passed += usize::from(!matches!(answer, Answer::Refused(_)));
    }
    wrong
}

fn client(random: &mut Random) -> (Ipv4Addr, Client) {
    let last = u8::try_from(1 + random.below(200)).expect("less than 201");
    let address = match random.below(8) {
        0 => Ipv4Addr::new(192, 0, 2, last),
        1 => Ipv4Addr::new(203, 0, 113, last),
        2 | 3 => Ipv4Addr::new(198, 18, 5, last),
        4 => BLOCKED,
        _ => Ipv4Addr::new(198, 51, 100, last),
    };
    let client = Client {
        is_trusted: address.octets()[0] == 192,
        is_denied: address.octets()[0] == 203,
        is_dynamic: address.octets()[1] == 18,
        is_blocked: address == BLOCKED,
        has_logged_in: random.once_in(6),
    };
    (address, client)
}

/// As it is written behind `RCPT TO:`, and what that means.
fn recipient(random: &mut Random) -> (String, To) {
    let domain = random.one_of(&[DOMAINS[0], DOMAINS[1], DOMAINS[2], DOMAINS[3], "far.test"]);
    let person = random.one_of(&PEOPLE);
    match random.below(12) {
        0 => return (format!("<{}>", mixed(random, person)), To::Bare),
        1 => return (format!("<jo\u{1}e@{domain}>"), To::Invalid(domain)),
        2 => {
            let local = random.one_of(&["postmaster", "mailer-daemon"]).to_owned();
            return (
                format!("<{}@{domain}>", mixed(random, &local)),
                To::Address { local, is_tagged: false, domain, route: None },
            );
        }
        3 | 4 => {
            let inner = random.one_of(&[DOMAINS[0], DOMAINS[1], "far.test", "other.test"]);
            let local = format!("{person}%{inner}");
            let text = if random.once_in(2) { local.clone() } else { format!("{inner}!{person}") };
            let is_tagged = false;
            let route = To::Address { local: person.to_owned(), is_tagged, domain: inner, route: None };
            // Of the two ways to write it only the first may be somebody's.
            let local = if text == local { local } else { text.clone() };
            return (
                format!("<{text}@{domain}>"),
                To::Address { local, is_tagged, domain, route: Some(Box::new(route)) },
            );
        }
        _ => {}
    }
    let tag = if random.once_in(3) { random.one_of(&["+x", "+x+y", "-z", "+q-z"]) } else { "" };
    let local = format!("{person}{tag}");
    let (mut text, mut is_tagged) = (mixed(random, &local), false);
    if random.once_in(10) {
        // RFC 5321 §4.1.2: the same, in quotes.
        text = format!("\"{text}\"");
    } else if person != "abuse" && random.once_in(10) {
        // BATV: the tag of a sender that was ours. (Exempt is who is written so.)
        (text, is_tagged) = (format!("prvs=1234abcdef={text}"), true);
    }
    let shown = match domain {
        "xn--mnchen-3ya.test" if random.once_in(2) => "M\u{fc}nchen.test".to_owned(),
        domain => mixed(random, domain),
    };
    let dot = if random.once_in(12) { "." } else { "" };
    let path = if random.once_in(12) { "@relay.test,@b.test:" } else { "" };
    (format!("<{path}{text}@{shown}{dot}>"), To::Address { local, is_tagged, domain, route: None })
}

/// Some letters in upper case.
fn mixed(random: &mut Random, text: &str) -> String {
    if !random.once_in(3) {
        return text.to_owned();
    }
    text.chars().map(|letter| if random.once_in(2) { letter.to_ascii_uppercase() } else { letter }).collect()
}

/// A word for a number: the greylist takes words with digits for the same.
fn word(mut number: usize) -> String {
    let mut word = String::from("s");
    while number > 0 {
        word.push(char::from(b'a' + u8::try_from(number % 26).expect("less than 26")));
        number /= 26;
    }
    word
}

const BLOCKED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 222);
