//! `backstop report`.

use std::{path::Path, process::ExitCode, time::Duration};

use crate::{
    config::load_control,
    control::{
        ask,
        message::{Request, Response},
        report::{
            Count, Judgement, Listed, Looks, Refused, Report, Sample, UnknownRecipient, Watching, WouldRefuse,
        },
    },
};

use super::{
    exit::{Failure, Outcome},
    help::after_asking,
    terminal::{bad, doubtful, good, note, print, print_json, safe},
    time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub(super) struct Args {
    /// How far back, such as 30m, 24h or 7d; by whole hours, and beyond 48h by whole days, of which 30 are remembered
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time::duration)]
    since: Duration,
    /// List so many of each kind, 100 at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn after_help() -> String {
    after_asking(NOTES, &[(0, "also when nothing was refused")])
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> Outcome {
    let request = Request::Report { seconds: args.since.as_secs() };
    let mut report = match ask(&load_control(config)?, &request)? {
        Response::Report(report) => report,
        other => return Err(Failure::from_answer(other)),
    };
    report.unknown_recipients.truncate(args.top);
    report.clients.truncate(args.top);
    report.networks.truncate(args.top);
    if args.json {
        print_json(&report);
    } else {
        tell(&report, args.top);
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(report: &Report, top: usize) {
    print(format_args!(
        "since {}; the server ran for {} of {}; mode: {}",
        time::show_moment(report.since),
        time::show_duration(report.running_seconds),
        time::show_duration(report.now.saturating_sub(report.since)),
        report.mode
    ));
    if report.missed > 0 {
        note(&format!(
            "{} refusals came too fast to be looked at: they are counted, and missing in the lists",
            report.missed
        ));
    }
    decisions(&report.decisions);
    would_refuse(report, top);
    if !report.refused.is_empty() {
        print("\nrefused");
        let width = width(report.refused.iter().map(|refused| refused.times));
        for refused in report.refused.iter().take(top) {
            print(format_args!("  {:>width$}  {}", refused.times, rule(refused)));
            if let Some(last) = refused.samples.last() {
                print(format_args!("  {:width$}  {}", "", sample(last)));
            }
        }
        more(report.refused.len(), top);
    }
    if !report.unknown_recipients.is_empty() {
        print(format_args!("\nunknown recipients{}", at_least(report)));
        let width = width(report.unknown_recipients.iter().map(|unknown| unknown.listed.times));
        for unknown in &report.unknown_recipients {
            print(format_args!("  {:>width$}  {}", unknown.listed.times, recipient(unknown)));
        }
    }
    for (title, listed) in [("clients", &report.clients), ("networks", &report.networks)] {
        if !listed.is_empty() {
            print(format_args!("\n{title}{}", at_least(report)));
            let width = width(listed.iter().map(|listed| listed.times));
            for listed in listed {
                print(format_args!("  {:>width$}  {}", listed.times, client(listed)));
            }
        }
    }
    if !report.greylist.is_empty() {
        let outcomes: Vec<_> =
            report.greylist.iter().map(|(outcome, times)| format!("{} {times}", safe(outcome))).collect();
        print(format_args!("\ngreylist: {}", outcomes.join(", ")));
    }
    if !report.directories.is_empty() {
        print("\ndirectories, now");
        for directory in &report.directories {
            let count = directory.addresses.map_or(String::new(), |count| format!(", {count} addresses"));
            let (name, kind, state) = (safe(&directory.name), &directory.kind, &directory.state);
            print(format_args!("  {name} ({kind}): {state}{count}"));
        }
    }
}

fn decisions(decisions: &[Count]) {
    if decisions.is_empty() {
        return print("\nnothing was decided");
    }
    print("\ndecisions");
    let decisions = Count::told(decisions);
    let width = width(decisions.iter().map(|count| count.times));
    for count in decisions {
        let outcome = match (&*count.verdict, count.enforced) {
            ("continue", _) => good("passed"),
            ("defer", enforced) => doubtful(done("defer", enforced)),
            (verdict, enforced) => bad(done(verdict, enforced)),
        };
        print(format_args!("  {:>width$}  {outcome}  {}", count.times, count.reason));
    }
}

/// What is only watched.
fn would_refuse(report: &Report, top: usize) {
    for Watching { what, since, times, judgement } in &report.watching {
        let what = match what.split_once(':') {
            Some((kind, name)) => format!("{kind} {}", safe(name)),
            None => "everything".to_owned(),
        };
        let since = time::show_moment(*since);
        print(format_args!(
            "\nonly watched: {what}, since {since}: {times} would have been refused or put off"
        ));
        looks(judgement, "  ");
    }
    if report.would_refuse.is_empty() {
        return;
    }
    print("\nonly watched, by reason and domain");
    let width = width(report.would_refuse.iter().map(|would| would.rule.times));
    for would in report.would_refuse.iter().take(top) {
        let WouldRefuse { rule: refused, insiders, good, known_now, judgement } = would;
        let of = match (insiders, good) {
            (0, 0) => String::new(),
            _ => format!(
                " ({insiders} from insiders, {good} from clients that write to recipients that exist)"
            ),
        };
        print(format_args!("  {:>width$}  {}{of}", refused.times, rule(refused)));
        let indent = " ".repeat(width + 4);
        match judgement {
            Some(judgement) => looks(judgement, &indent),
            None => print(format_args!("{indent}it is enforced by now")),
        }
        for known in known_now {
            print(format_args!("{indent}exists now: {}", safe(known)));
        }
        for last in refused.samples.iter().rev() {
            print(format_args!("{indent}{}", sample(last)));
        }
    }
    more(report.would_refuse.len(), top);
}

fn looks(judgement: &Judgement, indent: &str) {
    let word = match judgement.looks {
        Looks::Safe => good("looks safe to enforce"),
        Looks::Look => bad("look at these before it is enforced"),
        Looks::Early => doubtful("too early to tell"),
    };
    print(format_args!("{indent}{word}: {}", judgement.why.join("; ")));
}

fn rule(refused: &Refused) -> String {
    let Refused { reason, domain, verdict, .. } = refused;
    let domain = if domain.is_empty() { String::new() } else { format!(" in {}", safe(domain)) };
    let put_off = if verdict == "defer" { " (put off)" } else { "" };
    format!("{reason}{domain}{put_off}")
}

fn sample(sample: &Sample) -> String {
    let Sample { at, client, sender, recipient, insider, good, .. } = sample;
    let client = if client.is_empty() { "an unknown client" } else { client };
    let mut text = format!("{}  {}", time::show_moment(*at), safe(client));
    if !sender.is_empty() {
        text.push_str(&format!("  {}", safe(sender)));
    }
    if !recipient.is_empty() {
        text.push_str(&format!("  to {}", safe(recipient)));
    }
    match (insider, good) {
        (true, _) => text.push_str("  (an insider)"),
        (false, true) => text.push_str("  (it also writes to recipients that exist)"),
        (false, false) => {}
    }
    text
}

fn recipient(unknown: &UnknownRecipient) -> String {
    let Listed { what, last, .. } = &unknown.listed;
    let client = if last.client.is_empty() { "an unknown client" } else { &last.client };
    let mut text = format!(
        "{}  last {}  {}  {}",
        safe(what),
        time::show_moment(last.at),
        safe(client),
        safe(&last.sender)
    );
    if unknown.exists_now {
        text.push_str("  exists now");
    }
    if !unknown.similar.is_empty() {
        let similar: Vec<_> = unknown.similar.iter().map(|similar| safe(similar)).collect();
        text.push_str(&format!("  like {}", similar.join(", ")));
    }
    text
}

fn client(listed: &Listed) -> String {
    let Listed { what, good, last, .. } = listed;
    let known = if *good > 0 { "  (it also writes to recipients that exist)" } else { "" };
    let outcome = if last.enforced { "" } else { ", only watched" };
    format!("{}  last {}  {}{outcome}{known}", safe(what), time::show_moment(last.at), last.reason)
}

fn done(verdict: &str, enforced: bool) -> &'static str {
    match (verdict, enforced) {
        ("defer", true) => "put off",
        ("defer", false) => "would have been put off",
        (_, true) => "refused",
        (_, false) => "would have been refused",
    }
}

fn at_least(report: &Report) -> &'static str {
    if report.at_least { " (more came than there is room for: at least so often)" } else { "" }
}

fn more(all: usize, top: usize) {
    if all > top {
        print(format_args!("  and {} more", all - top));
    }
}

fn width(times: impl Iterator<Item = u64>) -> usize {
    times.map(|times| times.to_string().len()).max().unwrap_or_default()
}

const NOTES: &str = "\
In monitor mode, of everything or of single domains and reasons, it says what would have been refused and whether it looks \
safe to enforce: with --since 7d or more, when no insider, no client that also writes to recipients that exist, and nobody \
who exists by now was among them.

  backstop report --since 7d";
