//! The program itself: its size, and how long it takes to begin.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use backstop_harness::TempDir;

use crate::count::Subject;
use crate::peers::Peer;
use crate::{Error, Transport, people};

use super::{Bench, Row, median};

pub(super) fn rows(bench: &Bench) -> Result<Vec<Row>, Error> {
    let program = bench.program.display().to_string();
    let size = fs::metadata(&bench.program).map_err(Error::io(program))?.len();
    let starts: Result<Vec<f64>, Error> = (0..STARTS).map(|_| start(bench)).collect();
    Ok(vec![
        Row::new("the program's size", size as f64 / 1e6, "MB").at_most(15.0),
        Row::new("start, with an embedded store", median(starts?), "ms")
            .at_most(50.0)
            .note(format!("until READY=1; the median of {STARTS}")),
    ])
}

/// Milliseconds, with two processors, until it tells its supervisor that it is ready (sd_notify(3)).
fn start(bench: &Bench) -> Result<f64, Error> {
    let directory = TempDir::new("notify");
    let path = directory.join("socket");
    let socket = UnixDatagram::bind(&path).map_err(Error::io("listen"))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(Error::io("listen"))?;
    let ready = std::thread::spawn(move || {
        let mut message = [0; 1024];
        while let Ok(length) = socket.recv(&mut message) {
            if message[..length].starts_with(b"READY=1") {
                return Some(Instant::now());
            }
        }
        None
    });
    let env = vec![("NOTIFY_SOCKET".to_owned(), path.display().to_string())];
    let peer = Peer::Backstop { program: bench.program.clone(), more: String::new(), env };
    let addresses = people::file(&bench.directory, 10_000)?;
    let (first, second) = bench.processors()?;
    // Nobody is driven: there is no need to keep out of the way.
    let both = ["taskset", "-c", &format!("{first},{second}")].map(str::to_owned);
    let subject = Subject { peer: &peer, transport: Transport::Tcp, addresses: &addresses, pinned: &both };
    let begun = Instant::now();
    let _running = subject.start(Vec::new())?;
    let ready = ready.join().ok().flatten().ok_or(Error::Late(PATIENCE))?;
    Ok(ready.saturating_duration_since(begun).as_secs_f64() * 1e3)
}

const STARTS: usize = 9;
const PATIENCE: Duration = Duration::from_secs(30);
