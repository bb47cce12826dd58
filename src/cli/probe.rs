//! `backstop probe`.

use std::{
    io::{self, BufRead, IsTerminal},
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use crate::{
    address::{Address, Domain},
    probe::{self, Check, Error, Finding, Options, Plan, Report, Step, Target, Test, Verdict},
};

use super::{
    bar::Bar,
    exit::{self, Failure, Outcome},
    help,
    terminal::{self, Coloured, bad, doubtful, good, note, notes, print, print_json, safe},
    time,
};

/// The options of `backstop probe`
#[derive(Debug, clap::Args)]
#[command(after_help = help::after(NOTES, &[
    (0, "it is safe"),
    (1, "it is vulnerable"),
    (2, "it could not be found out"),
    (64, "the command line is wrong, or nobody said that it may begin"),
    (69, "the server does not answer"),
    (71, "the sink can't listen"),
]))]
pub(super) struct Args {
    /// The server: HOST, HOST:PORT, [IPv6]:PORT. The host itself, not the MX of a domain
    #[arg(value_name = "HOST[:PORT]")]
    host: Target,
    /// A domain that the server takes mail for
    #[arg(long, value_name = "DOMAIN")]
    domain: Domain,
    /// Somebody who exists there, to compare with [default: its postmaster]
    #[arg(long, value_name = "ADDRESS")]
    known: Option<Address>,
    /// Receive what comes back at this address of this host, and tell "accepted" from "delivered"; messages are sent only with it
    #[arg(long, value_name = "ADDRESS:PORT")]
    sink: Option<SocketAddr>,
    /// A domain that the server does not take mail for; with --sink, one whose mail comes there [default: the sink's
    /// address; else example.com]
    #[arg(long, value_name = "DOMAIN")]
    foreign: Option<Domain>,
    /// How long to wait for what comes back
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = time::duration)]
    wait: Duration,
    /// Make only this test: starttls, reverse-ndr, relay or harvest; can be given several times
    #[arg(long, value_name = "TEST")]
    only: Vec<Test>,
    /// Ask for so many recipients a minute, at most
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=6000))]
    rate: u32,
    /// Guess so many recipients, at most
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(3..=100))]
    guesses: u32,
    /// Who to say we are [default: this host's name, or its address]
    #[arg(long, value_name = "NAME")]
    helo: Option<Domain>,
    /// Connect from this address of this host
    #[arg(long, value_name = "IP")]
    source: Option<IpAddr>,
    /// Begin: you may test this server
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Outcome {
    let (yes, json, rate) = (args.yes, args.json, u64::from(args.rate));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(exit::OS, error))?;
    let plan = runtime.block_on(Plan::make(args.options())).map_err(failure)?;
    if yes {
        terminal::tell(&plan);
    } else if !asked(&plan, json) {
        return Err(Failure::new(exit::USAGE, "nothing was sent; with --yes it is"));
    }
    let bar = Bar::of(plan.recipients(), BAR, json);
    let mut progress = |step| match step {
        Step::Connects => bar.set_message("connecting"),
        Step::Begins(test) => bar.set_message(test.as_str()),
        Step::Asks => {
            bar.inc(1);
            let seconds = plan.recipients().saturating_sub(bar.position()) * 60 / rate;
            bar.set_prefix(format!("{} at least", time::show_duration(seconds)));
        }
        Step::Waits(most) => {
            bar.set_prefix("");
            bar.set_message(format!("waiting up to {} for bounces", time::show_duration(most.as_secs())));
        }
    };
    let report = runtime.block_on(probe::run(&plan, &mut progress));
    drop(bar);
    runtime.shutdown_background();
    let report = report.map_err(failure)?;
    if json {
        print_json(&report);
    } else {
        tell(&report);
    }
    Ok(match report.verdict {
        Verdict::Safe => ExitCode::SUCCESS,
        Verdict::Vulnerable => ExitCode::from(exit::NO),
        Verdict::Unsure => ExitCode::from(exit::UNSURE),
    })
}

impl Args {
    fn options(self) -> Options {
        Options {
            target: self.host,
            domain: self.domain,
            known: self.known,
            foreign: self.foreign,
            helo: self.helo,
            source: self.source,
            sink: self.sink,
            wait: self.wait,
            only: self.only,
            guesses: self.guesses,
            rate: self.rate,
        }
    }
}

/// Shows the plan, and asks a person. Who is none has not said yes; nor who goes away.
fn asked(plan: &Plan, json: bool) -> bool {
    if json {
        // The plan is no part of the document.
        terminal::tell(plan);
    } else {
        print(plan.to_string().trim_end());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return false;
    }
    terminal::tell("Is this your server, or may you test it? Begin? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if !answer.ends_with('\n') {
        // The end of input leaves the line open.
        terminal::tell("\n");
    }
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn tell(report: &Report) {
    let name =
        report.name.as_deref().map_or(String::new(), |name| format!(", it calls itself {}", safe(name)));
    let tls = if report.tls { ", over TLS" } else { "" };
    print(format_args!("{} ({}){name}{tls}", report.server, report.address));
    for Finding { test, verdict, summary, checks } in &report.tests {
        print(format_args!("{}: {test}: {}", coloured(*verdict), safe(summary)));
        for Check { verdict, sender, recipient, reply, note, .. } in checks {
            let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
            print(format_args!(
                "  {}: MAIL FROM:{} RCPT TO:{}: {}{note}",
                coloured(*verdict),
                safe(sender),
                safe(recipient),
                safe(reply)
            ));
        }
    }
    notes(&report.notes);
    if let Some(why) = &report.stopped {
        note(&format!("stopped: {why}"));
    }
    print(coloured(report.verdict));
}

fn coloured(verdict: Verdict) -> Coloured<Verdict> {
    match verdict {
        Verdict::Safe => good(verdict),
        Verdict::Unsure => doubtful(verdict),
        Verdict::Vulnerable => bad(verdict),
    }
}

fn failure(error: Error) -> Failure {
    let status = match &error {
        error if error.is_usage() => exit::USAGE,
        Error::Resolve(_) | Error::NoAddress | Error::Reach { .. } => exit::UNAVAILABLE,
        _ => exit::OS,
    };
    Failure::new(status, error)
}

const BAR: &str = "{msg} {wide_bar} {pos}/{len} {prefix}";

const NOTES: &str = "\
Run it from outside: a server relays for its own network, and should. Nothing is sent before the plan was shown, and \
nothing without --yes or a yes at the terminal. Without --sink no message is sent at all: \"accepted\" is then as far as \
it goes.

  backstop probe mx.example.com --domain example.com --known anna@example.com";
