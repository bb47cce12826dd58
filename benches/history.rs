//! What the memory of refusals costs each of them: `cargo bench --bench history -- [CASE] [REFUSALS]`, by default all cases with
//! a hundred thousand.
//!
//! Prints the time of one refusal, from the session that hands it over to the lists in which it is counted. Instructions are
//! the difference of two runs under `valgrind --tool=callgrind` with different numbers, divided by the difference.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use backstop::{
    history::{History, Refusal, Rule, Whom},
    policy::Reason,
};

fn main() {
    let mut arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = arguments.iter().position(|argument| argument.parse::<u32>().is_ok());
    let refusals: u32 = number.map_or(100_000, |at| arguments.remove(at).parse().expect("it is a number"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for (case, client, recipient) in CASES {
        if arguments.iter().all(|argument| case == argument) {
            let history = History::new();
            let began = Instant::now();
            runtime.block_on(refuse(&history, refusals, client, recipient));
            let each = began.elapsed().as_nanos() / u128::from(refusals.max(1));
            println!("{case:<12} {each:>7} ns");
        }
    }
}

/// As a session and the task beside it do.
async fn refuse(history: &History, refusals: u32, client: Number, recipient: Number) {
    for number in 0..refusals {
        note(
            history,
            Ipv4Addr::from_bits(client(number)).into(),
            recipient(number),
            1_700_000_000 + u64::from(number) / 1000,
        );
        if number % AT_ONCE == 0 {
            history.minutes().await;
        }
    }
    history.minutes().await;
}

fn note(history: &History, client: IpAddr, recipient: u32, at: u64) {
    let mut address = *b"name00000000@example.test";
    for (place, digit) in address[4..12].iter_mut().rev().zip(0..) {
        *place = b'a' + (recipient >> (4 * digit) & 15) as u8;
    }
    history.note(&Refusal {
        at,
        rule: Rule {
            reason: Reason::UnknownRecipient,
            domain: "example.test",
            is_permanent: true,
            enforced: true,
        },
        client: Some(client),
        sender: b"<somebody@elsewhere.test>",
        recipient: Whom::Text(&address),
        is_insider: false,
        is_good: false,
    });
}

type Number = fn(u32) -> u32;

/// Who asks, and for whom, each by the number of the refusal.
const CASES: [(&str, Number, Number); 3] = [
    ("distributed", |number| number.wrapping_mul(0x9E37_79B1), |number| number),
    ("one-client", |_| 0xCB00_7109, |number| number),
    ("the-same", |_| 0xCB00_7109, |_| 7),
];
/// That many come before the task looks.
const AT_ONCE: u32 = 1000;
