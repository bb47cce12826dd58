//! What a second thread costs: nothing that sessions would have to share.

use crate::count::{self, Subject};
use crate::drive::Load;
use crate::peers::Peer;
use crate::{Error, Transport};

use super::{Bench, Row};

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    let addresses = bench.people()?;
    let load = Load::attack(bench.addresses, 1000);
    let mut counts = Vec::new();
    for threads in ["1", "2"] {
        let env = vec![("TOKIO_WORKER_THREADS".to_owned(), threads.to_owned())];
        let peer = Peer::Backstop { program: bench.program.clone(), more: String::new(), env };
        let subject =
            Subject { peer: &peer, transport: Transport::Unix, addresses: &addresses, pinned: &bench.pinned };
        counts.push(count::instructions(&subject, &load, bench.directory())?);
    }
    let note = format!("instructions in user space, a session: {:.0} and {:.0}", counts[1], counts[0]);
    Ok(vec![
        Row::new("attack, unix socket: 2 server threads, to 1", counts[1] / counts[0], "×")
            .at_most(1.05)
            .note(note),
    ])
}
