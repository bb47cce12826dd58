//! `backstop trust`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use crate::{
    config::load_trust,
    control::{self, ask_to_trust, message::Request},
};

use super::{clients::tell, exit::Outcome, help, time};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking(NOTES, &[(0, "it is trusted"), (64, "it can't be trusted"), (77, "you may not ask it (control.trust_group), or read a configuration that is named")]))]
pub(super) struct Args {
    /// The client's address
    #[arg(value_name = "IP")]
    client: IpAddr,
    /// For how long, such as 90s, 30m, 1h 30m or 2d; at most 7 days
    #[arg(long = "for", value_name = "TIME", default_value = "30m", value_parser = time::duration)]
    duration: Duration,
    /// The server's socket for this command, in place of what the configuration says; the configuration is not read
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let control = match &args.socket {
        Some(socket) => control::Config { trust_socket: socket.clone(), ..control::Config::default() },
        None => load_trust(config)?,
    };
    let request = Request::Trust { client: args.client, seconds: args.duration.as_secs() };
    tell(ask_to_trust(&control, &request)?, args.json, |_| "is trusted")?;
    Ok(ExitCode::SUCCESS)
}

const NOTES: &str = "\
It asks at control.trust_socket, which takes nothing else, so that a log-in hook can have this permission alone: the group \
control.trust_group may use it. Who is trusted for longer already stays so.

  backstop trust 203.0.113.7 --for 30m";
