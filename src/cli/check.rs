//! `backstop check`.

use std::{net::IpAddr, path::Path, process::ExitCode};

use crate::{
    config::{load, load_control},
    control::{
        self, ask,
        message::{Check, Checked, Request, Response},
    },
    daemon,
};

use super::{
    bar::Bar,
    exit::{self, Failure, Outcome},
    help,
    terminal::{doubtful, notes, print, print_json, safe, verdict},
};

#[derive(Debug, clap::Args)]
#[command(after_help = help::after_asking(
    NOTES,
    &[(0, "the recipient would pass"), (1, "it would be refused"), (2, "it would be deferred")],
))]
pub(super) struct Args {
    /// The recipient: user@example.com, or whatever a client may write behind RCPT TO:
    address: String,
    /// The client's IP address
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Take this for the name of that address, in place of what the DNS says
    #[arg(long, value_name = "PTR")]
    name: Option<String>,
    /// What the client calls itself; a name that leads back to the address speaks for it
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// The sender; '<>' for a bounce
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// The client has authenticated as this user
    #[arg(long, value_name = "USER")]
    auth: Option<String>,
    /// Decide from the configuration alone, without the running server and what it remembers
    #[arg(long)]
    offline: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    if args.address.trim().is_empty() {
        return Err(Failure::new(exit::USAGE, "the address is empty"));
    }
    let check = Check {
        address: args.address.clone(),
        client: args.client,
        name: args.name.clone(),
        helo: args.helo.clone(),
        from: args.from.clone(),
        auth: args.auth.clone(),
    };
    let checked = if args.offline {
        let loaded = load(config)?;
        let _bar = Bar::working("reading the directories", args.json);
        daemon::check_offline(&loaded, &check).map_err(|error| Failure::new(exit::CONFIG, error))?
    } else {
        match ask(&load_control(config)?, &Request::Check(check)) {
            Ok(Response::Check(checked)) => checked,
            Ok(other) => return Err(Failure::from_answer(other)),
            Err(error @ control::Error::Connect { .. }) => {
                return Err(Failure::new(
                    exit::UNAVAILABLE,
                    format_args!("{error}; --offline needs no server"),
                ));
            }
            Err(error) => return Err(error.into()),
        }
    };
    if args.json {
        print_json(&checked);
    } else {
        explain(&checked);
    }
    Ok(match checked.verdict.as_str() {
        "reject" => ExitCode::from(exit::NO),
        "defer" => ExitCode::from(exit::UNSURE),
        _ => ExitCode::SUCCESS,
    })
}

fn explain(checked: &Checked) {
    print(safe(&checked.address));
    for step in &checked.steps.0 {
        let about = if step.about.is_empty() { String::new() } else { format!(" {}", safe(&step.about)) };
        print(format_args!("  {}{about}: {} ({} µs)", step.question, step.answer, step.micros));
        for line in &step.evidence {
            print(format_args!("      {}", safe(line)));
        }
    }
    notes(&checked.notes);
    let reply = checked.reply.as_deref().unwrap_or("no objection");
    print(format_args!("{}: {}", verdict(&checked.verdict), safe(reply)));
    print(format_args!("reason: {}", checked.reason));
    if !checked.enforced && checked.reply.is_some() {
        print(format_args!("{}: it would pass all the same", doubtful("monitor mode")));
    }
}

const NOTES: &str = "\
The running server decides as it would for a real recipient, and says what it asked, and what was answered. Nothing is \
remembered of it.

  backstop check anna@example.com
  backstop check anna@example.com --client 203.0.113.7 --from '<>'";
