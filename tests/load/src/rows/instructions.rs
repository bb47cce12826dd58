//! The attack: all instructions of a session, those in the kernel too, beside libmilter and the floor. An emulated machine
//! counts them; see [`crate::total`].

use crate::total::{self, Plan, Total};
use crate::{Error, Transport};

use super::{Bench, Row};

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    let plan = Plan { addresses: bench.addresses, ..Plan::default() };
    let totals = total::totals(&bench.program, &plan, bench.directory())?;
    let mut rows = Vec::new();
    for transport in Transport::ALL {
        let of = |peer: &str| {
            let is_it = |total: &&Total| total.peer == peer && total.transport == transport.to_string();
            let missing = || Error::Wrong(format!("{peer}, {transport}: the machine did not count it"));
            totals.iter().find(is_it).ok_or_else(missing)
        };
        rows.extend(beside(of("backstop")?, of("libmilter")?, of("floor")?, transport));
    }
    Ok(rows)
}

fn beside(backstop: &Total, libmilter: &Total, floor: &Total, transport: Transport) -> [Row; 2] {
    let [ours, theirs, least] = [backstop, libmilter, floor].map(Total::instructions);
    let spread = [backstop, libmilter, floor].map(Total::spread).into_iter().fold(0.0, f64::max);
    let note = format!(
        "backstop {ours:.0}, libmilter {theirs:.0}, floor {least:.0}; rounds differ by {:.1} % at most",
        100.0 * spread
    );
    let name = |whose| format!("attack, {transport}: instructions with the kernel's, to {whose}");
    let to_libmilter = Row::new(name("libmilter's"), ours / theirs, "×").note(note);
    let to_floor = Row::new(name("the floor's"), ours / least, "×");
    match transport {
        Transport::Tcp => [to_libmilter.at_most(0.55), to_floor.at_most(1.15)],
        Transport::Unix => [to_libmilter, to_floor.at_most(1.35)],
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn each_is_compared_with_both() {
        let total = |instructions| Total {
            peer: String::new(),
            transport: String::new(),
            rounds: vec![instructions, instructions * 1.01, instructions * 0.99],
        };
        let rows = |ours, transport| beside(&total(ours), &total(160_000.0), &total(80_000.0), transport);
        let verdicts = |ours, transport| rows(ours, transport).map(|row| row.verdict());
        assert_eq!(verdicts(88_000.0, Transport::Tcp), [Verdict::Pass, Verdict::Pass]);
        assert_eq!(verdicts(93_000.0, Transport::Tcp), [Verdict::Short, Verdict::Short]);
        assert_eq!(verdicts(108_000.0, Transport::Unix), [Verdict::Reported, Verdict::Pass]);
        assert_eq!(verdicts(109_000.0, Transport::Unix), [Verdict::Reported, Verdict::Short]);
        let note = &rows(88_000.0, Transport::Tcp)[0].note;
        assert_eq!(note, "backstop 88000, libmilter 160000, floor 80000; rounds differ by 2.0 % at most");
    }
}
