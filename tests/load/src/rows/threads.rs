//! What a second thread costs: nothing that sessions would have to share.

use crate::count::{self, Subject};
use crate::drive::Load;
use crate::{Error, Transport};

use super::{Bench, COUNTED, Row};

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    let addresses = bench.people()?;
    let load = Load::attack(bench.addresses, COUNTED);
    let (first, second) = bench.processors()?;
    if first == second {
        return Err(Error::Wrong("two threads need two processors, and there is one".to_owned()));
    }
    let mut counts = Vec::new();
    // It has a thread for each processor that it may use.
    for cpus in [first.to_owned(), format!("{first},{second}")] {
        let peer = bench.backstop();
        let pinned = ["taskset", "-c", &cpus].map(str::to_owned);
        let subject =
            Subject { peer: &peer, transport: Transport::Unix, addresses: &addresses, pinned: &pinned };
        counts.push(count::instructions(&subject, &load, bench.directory())?);
    }
    let note = format!("instructions in user space, a session: {:.0} and {:.0}", counts[1], counts[0]);
    Ok(vec![
        Row::new("attack, unix socket: 2 server threads, to 1", counts[1] / counts[0], "×")
            .at_most(1.05)
            .note(note),
    ])
}
