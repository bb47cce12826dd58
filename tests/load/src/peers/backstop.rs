//! Starts Backstop as a site has it: defaults, a file of recipients, an embedded store, a resolver that answers.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use backstop_harness::{Backstop, Dns};

use super::{Running, Start};
use crate::people::DOMAINS;
use crate::{Endpoint, Error, Transport};

/// Backstop, and whom it asks about clients.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) backstop: Backstop,
    /// Knows of nothing, and says so: that is an answer, which a site's resolver has as well.
    #[expect(dead_code, reason = "it answers as long as it is there")]
    resolver: Dns,
}

/// Starts it and waits until its directory is loaded.
pub(super) fn start(
    program: &Path,
    more: &str,
    env: &[(String, String)],
    start: &Start<'_>,
) -> Result<Running, Error> {
    let resolver = Dns::start();
    let directory = format!(
        "[domains]\nnames = {DOMAINS:?}\n\n[directory.staff.file]\npath = \"{}\"\n\n",
        start.addresses.display()
    );
    let program = program.canonicalize().map_err(Error::io(program.display().to_string()))?;
    let mut builder = Backstop::builder(&program.display().to_string())
        .config(&format!("{directory}{more}"))
        .env("BACKSTOP__CLIENT__RESOLVER", &resolver.address().to_string())
        .within(start.within);
    for (name, value) in env {
        builder = builder.env(name, value);
    }
    if start.transport == Transport::Unix {
        builder = builder.listen("unix:{dir}/milter.sock");
    }
    if !start.launcher.is_empty() {
        builder = builder.after(&format!("exec {} \"$@\"", start.launcher.join(" ")));
    }
    let begun = Instant::now();
    let backstop = builder.start();
    while backstop.http("/ready").0 != 200 {
        if begun.elapsed() > start.within {
            return Err(Error::Tool {
                tool: "backstop",
                said: format!("it is not ready: {}", backstop.log()),
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let started_in = begun.elapsed();
    let address = backstop.for_postfix();
    let endpoint = match start.transport {
        Transport::Tcp => Endpoint::Inet(SocketAddr::from(([127, 0, 0, 1], backstop.milter_port()))),
        Transport::Unix => Endpoint::Unix(address.trim_start_matches("unix:").into()),
    };
    let pid = backstop.pid();
    Ok(Running {
        endpoint,
        pid,
        started_in,
        server: super::Server::Backstop(Box::new(Server { backstop, resolver })),
    })
}
