//! The server's own metrics, with their handles ready: counting takes no look-up and no lock.

use std::sync::OnceLock;

use milter_protocol::session::ProtocolError;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use super::session::End;
use crate::{
    policy::{ClientClass, Decision, Reason, Replies, Stage, Verdict},
    telemetry::Registry,
};

/// Counters of sessions, callbacks and decisions.
#[derive(Debug)]
pub struct Metrics {
    /// MTA connections since the start.
    pub sessions: IntCounter,
    /// MTA connections now.
    pub sessions_open: IntGauge,
    /// So many may be open.
    pub sessions_limit: IntGauge,
    /// Closed at once because too many were open.
    pub sessions_over_limit: IntCounter,
    /// Sessions that ended in a panic.
    pub session_panics: IntCounter,
    /// Recipients refused that a bounce would have told somebody else.
    pub backscatter_prevented: IntCounter,
    /// By reason.
    pub log_lines_left_out: IntCounterVec,
    callbacks: [IntCounter; Callback::ALL.len()],
    callback_seconds: [Histogram; Callback::ALL.len()],
    clients: [IntCounter; CLASSES.len()],
    decisions: Decisions,
    protocol_errors: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let callbacks = registry.counters("callbacks_total", "Events that MTAs reported.", &["callback"]);
        let seconds = registry.histograms(
            "callback_seconds",
            "Time from reading an event to its answer, in seconds.",
            &["callback"],
            &BUCKETS,
        );
        let clients =
            registry.counters("clients_total", "Clients that connected to MTAs, by class.", &["class"]);
        let protocol_errors = registry.counters(
            "protocol_errors_total",
            "Sessions that ended because of what the MTA sent, or did not send.",
            &["kind"],
        );
        // A series that begins with its first event hides that event from `increase`.
        for kind in End::KINDS.into_iter().chain(ProtocolError::KINDS) {
            protocol_errors.with_label_values(&[kind]).inc_by(0);
        }
        Self {
            sessions: registry.counter("sessions_total", "Connections from MTAs."),
            sessions_open: registry.gauge("sessions_open", "Connections from MTAs that are open now."),
            sessions_limit: registry
                .gauge("sessions_limit", "So many connections from MTAs may be open at the same time."),
            sessions_over_limit: registry.counter(
                "sessions_over_limit_total",
                "Connections from MTAs that were closed at once because limits.sessions was reached.",
            ),
            session_panics: registry
                .counter("session_panics_total", "Sessions that ended in a panic (a bug)."),
            backscatter_prevented: registry.counter(
                "backscatter_prevented_total",
                "Refused unknown recipients of messages with a sender: bounces that were never sent.",
            ),
            log_lines_left_out: registry.counters(
                "log_lines_left_out_total",
                "Refusals that have no line in the log, as there would have been more than log.refusals_per_second.",
                &["reason"],
            ),
            callbacks: Callback::ALL.map(|callback| callbacks.with_label_values(&[callback.as_str()])),
            callback_seconds: Callback::ALL.map(|callback| seconds.with_label_values(&[callback.as_str()])),
            clients: CLASSES.map(|class| clients.with_label_values(&[class.as_str()])),
            decisions: Decisions::new(registry.counters(
                "decisions_total",
                "Decisions by stage, verdict, reason, and whether they were enforced (not in monitor mode).",
                &["stage", "verdict", "reason", "enforced"],
            )),
            protocol_errors,
        }
    }

    /// An event was reported.
    pub fn callback(&self, callback: Callback) {
        if let Some(counter) = self.callbacks.get(callback as usize) {
            counter.inc();
        }
    }

    /// How often it was reported.
    #[must_use]
    pub fn callbacks(&self, callback: Callback) -> u64 {
        self.callbacks.get(callback as usize).map_or(0, IntCounter::get)
    }

    /// An event was answered after so many seconds.
    pub fn answered(&self, callback: Callback, seconds: f64) {
        if let Some(histogram) = self.callback_seconds.get(callback as usize) {
            histogram.observe(seconds);
        }
    }

    /// So many clients of this class connected to MTAs.
    pub fn client(&self, class: ClientClass, times: u64) {
        if let Some(counter) = self.clients.get(class as usize) {
            counter.inc_by(times);
        }
    }

    /// A decision was made.
    pub fn decision(&self, stage: Stage, decision: &Decision<'_>) {
        self.decisions.count(stage, decision);
    }

    /// A session ended because of its peer; `kind` is from a closed list.
    pub fn protocol_error(&self, kind: &'static str) {
        self.protocol_errors.with_label_values(&[kind]).inc();
    }
}

/// The events of the milter protocol, as counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callback {
    /// Negotiation.
    Negotiate,
    /// A client connected.
    Connect,
    /// `HELO`.
    Helo,
    /// `MAIL FROM`.
    Mail,
    /// `RCPT TO`.
    Rcpt,
    /// `DATA`.
    Data,
    /// A header line.
    Header,
    /// The end of the header.
    EndOfHeaders,
    /// A piece of the body.
    Body,
    /// The end of the message.
    EndOfMessage,
    /// An unknown SMTP command.
    Unknown,
    /// The message was given up.
    Abort,
}

impl Callback {
    const ALL: [Self; 12] = [
        Self::Negotiate,
        Self::Connect,
        Self::Helo,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Header,
        Self::EndOfHeaders,
        Self::Body,
        Self::EndOfMessage,
        Self::Unknown,
        Self::Abort,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Negotiate => "negotiate",
            Self::Connect => "connect",
            Self::Helo => "helo",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Header => "header",
            Self::EndOfHeaders => "eoh",
            Self::Body => "body",
            Self::EndOfMessage => "eom",
            Self::Unknown => "unknown",
            Self::Abort => "abort",
        }
    }
}

const CLASSES: [ClientClass; 6] = [
    ClientClass::Trusted,
    ClientClass::Server,
    ClientClass::Generic,
    ClientClass::Dynamic,
    ClientClass::Unnamed,
    ClientClass::Unknown,
];

/// `decisions_total`: a series comes into being with its first decision, but those of recipients are there from the start.
#[derive(Debug)]
struct Decisions {
    counters: IntCounterVec,
    handles: [OnceLock<IntCounter>; STAGES * VERDICTS * Reason::ALL.len() * 2],
}

impl Decisions {
    /// With 0 for whatever may become of a recipient: a series that begins with the first burst of an attack hides that burst
    /// from Prometheus' `rate` and `increase`, which see only what grows.
    fn new(counters: IntCounterVec) -> Self {
        let decisions = Self { counters, handles: std::array::from_fn(|_| OnceLock::new()) };
        let replies = Replies::default();
        for reason in Reason::ALL.into_iter().filter(|reason| !NOT_OF_RECIPIENTS.contains(reason)) {
            for enforced in [true, false] {
                let decision = Decision { reason, reply: replies.of(reason), enforced };
                let _ = decisions.series(Stage::Rcpt, decision.verdict(), &decision);
            }
        }
        decisions
    }

    fn count(&self, stage: Stage, decision: &Decision<'_>) {
        let verdict = decision.verdict();
        let mut index = stage as usize;
        index = index * VERDICTS + verdict as usize;
        index = index * Reason::ALL.len() + decision.reason as usize;
        index = index * 2 + usize::from(decision.enforced);
        if let Some(handle) = self.handles.get(index) {
            handle.get_or_init(|| self.series(stage, verdict, decision)).inc();
        }
    }

    fn series(&self, stage: Stage, verdict: Verdict, decision: &Decision<'_>) -> IntCounter {
        let enforced = if decision.enforced { "yes" } else { "no" };
        self.counters.with_label_values(&[
            stage.as_str(),
            verdict.as_str(),
            decision.reason.as_str(),
            enforced,
        ])
    }
}

/// From memory it takes some ten microseconds, from a directory's server milliseconds; 8 s are the most, and a little for the
/// last word.
const BUCKETS: [f64; 14] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Decided when a client connects, or at the end of a message.
const NOT_OF_RECIPIENTS: [Reason; 2] = [Reason::DeniedClient, Reason::UnsolicitedBounce];
const STAGES: usize = 3;
const VERDICTS: usize = 3;
