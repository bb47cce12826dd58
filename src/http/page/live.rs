//! What changes all the time: how the server is, and what it decided. Each section has an id, by which the script takes the
//! new one for the old.

use std::{collections::HashMap, sync::Arc};

use maud::{Markup, html};

use crate::{
    control::message::{Directory, Disabled, Status},
    history::{Count, Listed, Minute, Recent, Recents, Summary},
    http::{Shown, Views},
    policy::{Reason, Verdict},
    readable::{clock, duration, moment, now, safe},
};

use super::{
    explain,
    eyes::{Eyes, said},
    number, plot, when, words,
};

/// How far back the lists go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    Hour,
    Day,
}

impl Span {
    pub(super) const ALL: [Self; 2] = [Self::Hour, Self::Day];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    pub(super) fn link(self) -> String {
        match self {
            Self::Hour => "/".to_owned(),
            Self::Day => format!("/?since={}", self.as_str()),
        }
    }

    fn seconds(self) -> u64 {
        match self {
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        }
    }
}

/// All of it, at one time.
pub(super) struct Live {
    now: u64,
    host: String,
    span: Span,
    addresses: Shown,
    status: Status,
    waiting: Vec<String>,
    summary: Summary,
    minutes: Vec<Minute>,
    recents: Recents,
}

impl Live {
    pub(super) async fn look<V: Views>(views: &V, span: Span) -> Self {
        let (status, history) = (views.status().await, views.history());
        let summary = history.summary(span.seconds()).await;
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Self {
            now: now(),
            host: host.unwrap_or_default(),
            span,
            addresses: views.access().addresses,
            status,
            waiting: views.waiting_for(),
            summary,
            minutes: history.minutes().await,
            recents: history.recent(),
        }
    }

    /// Of the window: who looks after several hosts has several.
    pub(super) fn title(&self) -> String {
        format!("Backstop on {}", safe(&self.host))
    }

    /// What is looked at first.
    pub(super) fn above(&self) -> Markup {
        html! {
            (self.head())
            (self.state())
            (self.notices())
            section #minutes {
                h2 { "Decisions by the minute, the last three hours" }
                (plot::plot(&self.minutes))
            }
        }
    }

    /// The rest.
    pub(super) fn below(&self) -> Markup {
        html! {
            (self.top())
            (self.directories())
            (self.recent())
            (self.server())
        }
    }

    fn eyes(&self) -> Eyes<'static> {
        Eyes { addresses: self.addresses, own: &[] }
    }

    fn head(&self) -> Markup {
        let Status { version, uptime_seconds, pid, .. } = &self.status;
        html! {
            header #head {
                h1 { "Backstop " span.host { (self.host) } }
                p {
                    (version) ", process " (pid) ", up " (duration(*uptime_seconds)) ". As of "
                    time #now datetime=(moment(self.now)) title=(moment(self.now)) { (clock(self.now)) } "."
                    " " a #to-explain href="#explain" { "Explain an address" }
                }
            }
        }
    }

    fn state(&self) -> Markup {
        let Status {
            mode,
            disabled,
            sessions_open,
            sessions_limit,
            recipients,
            backscatter_prevented,
            named,
            ..
        } = &self.status;
        let (class, word) = match (disabled, mode.as_str()) {
            (Some(_), _) => ("bad", "DISABLED"),
            (None, "enforce") => ("good", "ENFORCING"),
            (None, _) => ("doubtful", "MONITOR MODE"),
        };
        html! {
            section #state class=(class) {
                h2.word { (word) }
                @match disabled {
                    Some(disabled) => p { "Everything passes, " (switched_off(disabled, self.eyes())) },
                    None if mode == "enforce" => p { "Recipients are refused where there is a reason to." },
                    None => p { "Everything passes; what would be refused is counted." },
                }
                @for watched in &self.summary.watched {
                    p { (watching(&watched.what)) " is only watched, since " (when(watched.since)) "." }
                }
                dl.tiles {
                    div { dt { "Sessions open" } dd { (number(*sessions_open)) small { " of " (number(*sessions_limit)) } } }
                    div { dt { "Recipients decided" } dd { (number(*recipients)) small { " since the start" } } }
                    div { dt { "Backscatter prevented" } dd { (number(*backscatter_prevented)) small { " bounces, since the start" } } }
                    @if let Some(named) = named {
                        div { dt { "Clients blocked" } dd { (number(named.blocked)) small { ", trusted " (number(named.trusted)) } } }
                        div { dt { "Suspended by command" } dd { (number(named.suspended)) } }
                    }
                }
            }
        }
    }

    /// What somebody has to look at.
    fn notices(&self) -> Markup {
        let store = self.status.named.is_none();
        let is_well = self.status.notices.is_empty() && self.waiting.is_empty() && !store;
        html! {
            section #notices class=(if is_well { "good" } else { "doubtful" }) {
                @if is_well { p { "Nothing needs a look." } }
                @else {
                    h2 { "Needs a look" }
                    ul {
                        @if !self.waiting.is_empty() { li { "Not ready, waiting for: " (said(&self.waiting.join(", "))) } }
                        @if store { li { "The store does not tell in time who is blocked, or trusted for a time." } }
                        @for notice in &self.status.notices { li { (self.eyes().line(notice)) } }
                    }
                }
            }
        }
    }

    fn recent(&self) -> Markup {
        let Recents { decisions, left_out } = &self.recents;
        html! {
            section #recent {
                h2 { "Last decisions" }
                @if decisions.is_empty() { p.hint { "None since the start." } }
                @else {
                    p.hint {
                        "The newest first, each opens to its explanation."
                        @if *left_out > 0 { " A sample: " (number(*left_out)) " more were made meanwhile." }
                    }
                }
                @for (recent, id) in decisions.iter().zip(ids(decisions)).take(SHOWN) { (decision(recent, &id, self.eyes())) }
            }
        }
    }

    fn top(&self) -> Markup {
        let Summary { since, decisions, missed, at_least, unknown_recipients, clients, networks, .. } =
            &self.summary;
        let eyes = self.eyes();
        html! {
            section #top {
                h2 {
                    "Most frequent, "
                    @for span in Span::ALL {
                        @if span == self.span { b aria-current="true" { "last " (span.as_str()) } }
                        @else { a id=(format!("span-{}", span.as_str())) href=(format!("{}#top", span.link())) { "last " (span.as_str()) } }
                        " "
                    }
                }
                p.hint {
                    "By whole hours: since " (when(*since)) "."
                    @if *missed > 0 { " " (number(*missed)) " refusals came too fast: they are counted, and missing in the lists." }
                    @if *at_least { " More came than there is room for: recipients, clients and networks at least so often." }
                }
                div.lists {
                    table {
                        caption { "Reasons" }
                        thead { tr { th.n scope="col" { "times" } th scope="col" { "outcome" } th scope="col" { "reason" } } }
                        tbody {
                            @for count in Count::told(decisions).iter().take(MOST) {
                                tr {
                                    td.n { (number(count.times)) }
                                    td { (words::outcome(words::verdict(&count.verdict), count.enforced)) }
                                    td { (words::link(count.reason)) }
                                }
                            }
                            @if decisions.is_empty() { (nothing(3)) }
                        }
                    }
                    (list("Unknown recipients", "recipient", unknown_recipients, |listed| eyes.address(&listed.what), |last| html! {
                        (client_of(&last.last.client))
                    }))
                    (list("Clients that were refused", "client", clients, |listed| said(&listed.what), |last| words::link(last.last.reason)))
                    (list("Networks that were refused", "network", networks, |listed| said(&listed.what), |last| words::link(last.last.reason)))
                }
            }
        }
    }

    fn directories(&self) -> Markup {
        let Status { directories, notices, .. } = &self.status;
        html! {
            section #directories {
                h2 { "Directories" }
                @if directories.is_empty() { p.hint { "None is configured." } }
                @else {
                    div.wide { table {
                        thead { tr {
                            th scope="col" { "name" } th scope="col" { "kind" } th scope="col" { "state" }
                            th.n scope="col" { "addresses" } th.n scope="col" { "as of" }
                        } }
                        tbody { @for directory in directories { (row(directory, notices, self.eyes())) } }
                    } }
                }
            }
        }
    }

    fn server(&self) -> Markup {
        let Status { listening, last_mta, domains, store, .. } = &self.status;
        html! {
            section #server {
                h2 { "Server" }
                dl {
                    dt { "Listens on" } dd { @for address in listening { (said(address)) " " } }
                    dt { "Last MTA" } dd { (said(last_mta.as_deref().unwrap_or("none yet"))) }
                    dt { "Store" } dd { (said(store)) }
                    dt { "Local domains" }
                    dd {
                        @if domains.is_empty() { "none" }
                        ul { @for domain in domains.iter().take(MOST_DOMAINS) { li { (said(domain)) } } }
                        @if domains.len() > MOST_DOMAINS { "and " (domains.len() - MOST_DOMAINS) " more" }
                    }
                }
            }
        }
    }
}

fn switched_off(disabled: &Disabled, eyes: Eyes<'_>) -> Markup {
    let Disabled { since, until, by, reason, across_restarts } = disabled;
    html! {
        "since " (when(*since))
        @match until { Some(until) => { " until " (when(*until)) } None => { " until " code { "backstop enable" } } }
        @if *across_restarts { ", also after a restart" }
        @if let Some(by) = by { ", by " (said(by)) }
        @if let Some(reason) = reason { ": " (eyes.line(reason)) } @else { "." }
    }
}

/// By the names of [`crate::history::Watched`].
fn watching(what: &str) -> Markup {
    match what.split_once(':') {
        Some(("reason", name)) => match name.parse::<Reason>() {
            Ok(reason) => html! { "Reason " (words::link(reason)) },
            Err(_) => html! { "Reason " (said(name)) },
        },
        Some((_, name)) => html! { "Domain " (said(name)) },
        None => html! { "Everything" },
    }
}

/// One decision that was made.
fn decision(recent: &Recent, id: &str, eyes: Eyes<'_>) -> Markup {
    let Recent { at, session, stage, verdict, reason, enforced, reply, client, name, helo, sender, .. } =
        recent;
    let client = client.map(|client| client.to_string()).unwrap_or_default();
    html! {
        details id=(id) {
            summary id=(format!("{id}-open")) {
                span.at { (when(*at)) } " "
                (words::outcome(*verdict, *enforced)) " "
                span.reason { (reason) } " "
                span.to { (eyes.address(&recent.recipient)) } " "
                span.by { (client_of(&client)) }
            }
            dl.facts {
                dt { "Reason" } dd { (words::link(*reason)) ", " (words::of(*reason).0) }
                @if let Some(reply) = reply {
                    dt { "Reply" } dd { code { (eyes.line(reply)) } @if *verdict != Verdict::Continue && !enforced { " (not sent: only watched)" } }
                }
                dt { "Sender" } dd { @match sender { Some(sender) => { (eyes.address(sender)) } None => { "not told yet" } } }
                dt { "Client" }
                dd {
                    (client_of(&client))
                    @if let Some(name) = name { ", " (eyes.line(name)) }
                    @if let Some(helo) = helo { ", calls itself " (eyes.line(helo)) }
                    @if recent.is_insider { ", an insider" }
                }
                dt { "When" } dd { (moment(*at)) ", " (stage.as_str()) ", session " (session) }
            }
            (explain::steps(&recent.explanation, eyes))
        }
    }
}

/// A name for each decision, the same in each rendering: the script keeps open what is open. Those that have session and second
/// in common are told apart by their order, which counts from the oldest.
fn ids(decisions: &[Arc<Recent>]) -> Vec<String> {
    let mut seen: HashMap<(u64, u64), usize> = HashMap::new();
    let oldest_first = decisions.iter().rev().map(|recent| {
        let times = seen.entry((recent.session, recent.at)).or_default();
        *times += 1;
        format!("d-{}-{}-{times}", recent.session, recent.at)
    });
    let mut ids: Vec<String> = oldest_first.collect();
    ids.reverse();
    ids
}

fn row(directory: &Directory, notices: &[String], eyes: Eyes<'_>) -> Markup {
    let Directory { name, kind, up, state, addresses, age_seconds } = directory;
    let of_it = format!("directory {name}: ");
    let trouble = notices.iter().filter_map(|notice| notice.strip_prefix(&of_it));
    html! {
        tr {
            th scope="row" { (said(name)) }
            td { (kind) }
            td {
                span class=(if *up { "word good" } else { "word bad" }) { (state) }
                @for trouble in trouble { p.wrong { (eyes.line(trouble)) } }
            }
            td.n { @match addresses { Some(count) => { (number(*count)) } None => { "–" } } }
            td.n { @match age_seconds { Some(age) => { (duration(*age)) " ago" } None => { "–" } } }
        }
    }
}

fn list(
    title: &str,
    what: &str,
    listed: &[Listed],
    name: impl Fn(&Listed) -> Markup,
    last: impl Fn(&Listed) -> Markup,
) -> Markup {
    html! {
        table {
            caption { (title) }
            thead { tr { th.n scope="col" { "times" } th scope="col" { (what) } th scope="col" { "last" } } }
            tbody {
                @for listed in listed.iter().take(MOST) {
                    tr {
                        td.n { (number(listed.times)) }
                        td { (name(listed)) @if listed.good > 0 { span.good { " also writes to recipients that exist" } } }
                        td { (when(listed.last.at)) " " (last(listed)) }
                    }
                }
                @if listed.is_empty() { (nothing(3)) }
            }
        }
    }
}

fn nothing(columns: u8) -> Markup {
    html! { tr { td.hint colspan=(columns) { "none" } } }
}

fn client_of(client: &str) -> Markup {
    if client.is_empty() {
        html! { "unknown client" }
    } else {
        said(client)
    }
}

/// Of the last decisions.
const SHOWN: usize = 60;
/// Of each list.
const MOST: usize = 10;
const MOST_DOMAINS: usize = 50;
