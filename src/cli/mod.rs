//! The command line: one file per command.
//!
//! Exit status: 0 yes or fine, 1 refused or no, 2 deferred or could not find out, 64 to 78 as in sysexits(3).

mod bar;
mod block;
mod check;
mod clients;
mod completions;
mod config;
mod detect;
mod disable;
mod enable;
mod exit;
mod help;
mod man;
mod probe;
mod release;
mod reload;
mod replay;
mod report;
mod resume;
mod serve;
mod status;
mod suspend;
mod suspended;
mod terminal;
mod time;
mod trust;

use std::{env, io, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::control::message::Request;
use exit::Failure;

/// Refuses mail for unknown and suspended recipients at RCPT TO
#[derive(Debug, Parser)]
#[command(name = "backstop", version, about, long_about = LONG_ABOUT, after_help = statuses(), max_term_width = 100)]
struct Cli {
    /// The configuration file [default: /etc/backstop/backstop.toml where it exists]
    #[arg(long, global = true, value_name = "FILE", display_order = 998)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the milter; also what `backstop` alone does
    Serve(serve::Args),
    /// Say whether mail for a recipient would be refused, with which reply, and why
    Check(check::Args),
    /// Show the domains and users found on this host, and whether its MTA asks us
    Detect(detect::Args),
    /// Validate or show the configuration
    #[command(subcommand, arg_required_else_help = false)]
    Config(config::Command),
    /// Say which mail in the MTA's logs would be refused now, before switching on
    Replay(replay::Args),
    /// Test an SMTP server from outside: backscatter, open relay, harvest
    Probe(Box<probe::Args>),
    /// Show how the running server is: mode, directories, what needs a look
    Status(status::Args),
    /// Tell what was refused lately, and in monitor mode what would have been
    Report(report::Args),
    /// Make the running server read its configuration and files again, and detect again
    #[command(visible_alias = "redetect")]
    Reload(reload::Args),
    /// Let everything pass, for a time or until `enable`
    Disable(disable::Args),
    /// End `disable`: decide again as configured
    Enable(enable::Args),
    /// Trust a client for a time: what log-in hooks call (POP before SMTP)
    Trust(trust::Args),
    /// Block a client for a time
    Block(block::Args),
    /// End the trust or the block of a client
    Release(release::Args),
    /// List the clients that are trusted for a time
    Trusted(clients::Args),
    /// List the clients that are blocked
    Blocked(clients::Args),
    /// Refuse mail for a recipient, or for a whole domain, for now
    Suspend(suspend::Args),
    /// End a suspension
    Resume(resume::Args),
    /// List the suspensions by command
    Suspended(suspended::Args),
    /// Print what makes a shell complete the commands and options
    Completions(completions::Args),
    /// Print or write the manual pages
    Man(man::Args),
}

/// The command line as it is documented: what the manual pages, the completions and the tests are made of.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_a_command(&error),
    };
    let config = cli.config.as_deref();
    let done = match cli.command.unwrap_or(Command::Serve(serve::Args::default())) {
        Command::Serve(args) => serve::run(config, &args),
        Command::Check(args) => check::run(config, &args),
        Command::Detect(args) => detect::run(config, &args),
        Command::Config(command) => config::run(config, &command),
        Command::Replay(args) => replay::run(config, &args),
        Command::Probe(args) => probe::run(*args),
        Command::Status(args) => status::run(config, &args),
        Command::Report(args) => report::run(config, &args),
        Command::Reload(args) => reload::run(config, &args),
        Command::Disable(args) => disable::run(config, args),
        Command::Enable(args) => enable::run(config, &args),
        Command::Trust(args) => trust::run(config, &args),
        Command::Block(args) => block::run(config, &args),
        Command::Release(args) => release::run(config, &args),
        Command::Trusted(args) => clients::run(config, &args, &Request::Trusted),
        Command::Blocked(args) => clients::run(config, &args, &Request::Blocked),
        Command::Suspend(args) => suspend::run(config, args),
        Command::Resume(args) => resume::run(config, args),
        Command::Suspended(args) => suspended::run(config, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    let done = done.and_then(|status| terminal::flush().map(|()| status).map_err(unwritten));
    done.unwrap_or_else(Failure::report)
}

/// `--help`, `--version`, and what is no command line: EX_USAGE.
fn not_a_command(error: &clap::Error) -> ExitCode {
    // It shows arguments, which may steer the terminal or be very long.
    let is_odd = env::args_os().any(|argument| {
        let argument = argument.to_string_lossy();
        terminal::safe_lines(&argument) != argument
    });
    if is_odd && error.use_stderr() {
        terminal::tell(terminal::safe_lines(&error.render().to_string()));
    } else if let Err(failed) = error.print()
        && failed.kind() != io::ErrorKind::BrokenPipe
        && !error.use_stderr()
    {
        return unwritten(failed).report();
    }
    if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
}

fn unwritten(error: io::Error) -> Failure {
    Failure::new(exit::IO, format_args!("standard output can't be written: {error}"))
}

/// Those of all commands; each names its own.
fn statuses() -> String {
    help::after_reading(
        NOTES,
        &[
            (0, "yes, or fine"),
            (1, "no, or refused"),
            (2, "deferred, or it could not be found out"),
            (65, "what was given to read makes no sense"),
            (66, "a file to read is not there"),
            (69, "no server answers, or its store does not"),
            (70, "a bug"),
            (71, "the operating system refused something"),
            (74, "something can't be read or written"),
            (77, "you may not ask the server, or read a file"),
        ],
    )
}

const LONG_ABOUT: &str = "\
Refuses mail for unknown and suspended recipients at RCPT TO, so that the server never accepts what it would have to \
bounce. Postfix and Sendmail ask it over the milter protocol.

Without a configuration file it listens on inet:127.0.0.1:8890 and finds the MTA's domains and users by itself.";

const NOTES: &str = "\
To begin with: what is found here, whether somebody would be refused, and what would have become of yesterday's mail.
  backstop detect
  backstop check --offline anna@example.com
  backstop replay /var/log/mail.log";
