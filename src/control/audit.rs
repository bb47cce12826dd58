//! The audit log: one line of one shape for each order that comes over a control socket, whatever becomes of it.
//!
//! What only asks is no order. The line comes after the order was carried out, and never holds it up.

use std::time::{SystemTime, UNIX_EPOCH};

use tracing::info;

use super::{
    message::{Disable, Reloaded, Request, Response, Standing, Suspend, Suspension, Switched},
    peer::Peer,
};
use crate::telemetry::log::{line, shown, without};

/// What is to be changed.
#[derive(Debug)]
pub(super) struct Order {
    command: &'static str,
    /// Whom or what it is about, as it was written.
    what: Option<String>,
    until: Until,
    reason: Option<String>,
}

/// An order that is being carried out. If nobody waits for the end, that is logged as well.
pub(super) struct Pending<'p> {
    pub(super) order: Option<Order>,
    pub(super) peer: &'p Peer,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    /// It has no end, or is one.
    None,
    /// In seconds since 1970.
    Moment(u64),
    /// In seconds from now.
    Later(u64),
}

impl Order {
    /// `None`: the request changes nothing.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let (command, what, until, reason) = match request {
            Request::Check(_)
            | Request::Status
            | Request::Trusted
            | Request::Blocked
            | Request::Suspended
            | Request::Report { .. } => {
                return None;
            }
            Request::Reload { accept } => ("reload", accept.then(|| "accept".to_owned()), Until::None, None),
            Request::Trust { client, seconds } => {
                ("trust", Some(client.to_string()), Until::Later(*seconds), None)
            }
            Request::Block { client, seconds, reason } => {
                ("block", Some(client.to_string()), Until::Later(*seconds), reason.as_deref())
            }
            Request::Release { client } => ("release", Some(client.to_string()), Until::None, None),
            Request::Suspend(Suspend { what, until, reason, .. }) => {
                let until = until.map_or(Until::None, Until::Moment);
                ("suspend", Some(short(what)), until, reason.as_deref())
            }
            Request::Resume { what } => ("resume", Some(short(what)), Until::None, None),
            Request::Disable(Disable { seconds, across_restarts, reason }) => {
                let what = across_restarts.then(|| "across restarts".to_owned());
                ("disable", what, seconds.map_or(Until::None, Until::Later), reason.as_deref())
            }
            Request::Enable => ("enable", None, Until::None, None),
        };
        Some(Self { command, what, until, reason: reason.map(short) })
    }

    /// Writes the line.
    fn log(self, peer: &Peer, response: &Response, left_out: Option<u64>) {
        let Self { command, what, mut until, reason } = self;
        // Whom it is about as it was understood, and how long that really is.
        let understood = match response {
            Response::Standing(Standing { client, seconds, .. }) => {
                until = seconds.map_or(Until::None, Until::Later);
                Some(client.clone())
            }
            Response::Suspension(Suspension { what, .. }) => Some(what.clone()),
            _ => None,
        };
        let (outcome, error) = outcome(command, response);
        let is_address = matches!(command, "suspend" | "resume");
        let error = error.map(|error| match &what {
            Some(what) if is_address => without(error, what),
            _ => line(error),
        });
        let (what, until) = (understood.or(what), until.show());
        let what = what.as_deref().map(|what| match is_address {
            true => shown(what.as_bytes()),
            false => what.into(),
        });
        // Who orders something may name others when he says why.
        let reason = reason.as_deref().map(line);
        let (what, until, reason, error) =
            (what.as_deref(), until.as_deref(), reason.as_deref(), error.as_deref());
        let Peer { uid, pid, user } = peer;
        let user = user.as_deref();
        info!(command, uid, user, pid, what, until, reason, outcome, error, left_out, "order");
    }
}

impl Pending<'_> {
    /// It has been answered. `left_out`: so many have no line that were before it.
    pub(super) fn answered(mut self, response: &Response, left_out: Option<u64>) {
        if let Some(order) = self.order.take() {
            order.log(self.peer, response, left_out);
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(order) = self.order.take() {
            let message = "it took too long: whether it was done is not known".to_owned();
            order.log(self.peer, &Response::Error { message }, None);
        }
    }
}

impl Until {
    /// RFC 3339, as the log's own times.
    fn show(self) -> Option<String> {
        let seconds = match self {
            Self::None => return None,
            Self::Moment(seconds) => seconds,
            Self::Later(seconds) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                now.as_secs().saturating_add(seconds)
            }
        };
        let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        Some(time.map_or_else(|| "never".to_owned(), |time| time.to_string()))
    }
}

/// What became of it, from a closed list, and why not more.
fn outcome<'r>(command: &str, response: &'r Response) -> (&'static str, Option<&'r str>) {
    let ends = matches!(command, "release" | "resume" | "enable");
    match response {
        Response::Error { message } => ("failed", Some(message.as_str())),
        Response::Refused { message } => ("refused", Some(message.as_str())),
        Response::Reload(Reloaded { refused: Some(why), .. }) => ("refused", Some(why.as_str())),
        Response::Reload(Reloaded { needs_restart, held_back, .. })
            if !needs_restart.is_empty() || !held_back.is_empty() =>
        {
            ("partly", None)
        }
        Response::Standing(Standing { before: false, .. })
        | Response::Suspension(Suspension { before: false, .. })
        | Response::Switched(Switched { before: false, .. })
            if ends =>
        {
            ("nothing-to-end", None)
        }
        _ => ("done", None),
    }
}

/// A line of the log is no place for what somebody pours in.
fn short(text: &str) -> String {
    text.chars().take(MOST).collect()
}

/// Characters: the longest address has fewer.
const MOST: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_an_order() {
        let standing = |before| Response::Standing(Standing { before, ..Standing::default() });
        let reload = |reloaded| Response::Reload(reloaded);
        let held = Reloaded { applied: true, held_back: vec!["x".to_owned()], ..Reloaded::default() };
        let refused = Reloaded { refused: Some("line 5".to_owned()), ..Reloaded::default() };
        let message = || "why".to_owned();
        for (command, response, expected) in [
            ("block", standing(false), ("done", None)),
            ("block", standing(true), ("done", None)),
            ("release", standing(true), ("done", None)),
            ("release", standing(false), ("nothing-to-end", None)),
            ("enable", Response::Switched(Switched::default()), ("nothing-to-end", None)),
            ("disable", Response::Switched(Switched::default()), ("done", None)),
            ("resume", Response::Suspension(Suspension::default()), ("nothing-to-end", None)),
            ("suspend", Response::Suspension(Suspension::default()), ("done", None)),
            ("reload", reload(Reloaded { applied: true, ..Reloaded::default() }), ("done", None)),
            ("reload", reload(held), ("partly", None)),
            ("reload", reload(refused), ("refused", Some("line 5"))),
            ("block", Response::Refused { message: message() }, ("refused", Some("why"))),
            ("block", Response::Error { message: message() }, ("failed", Some("why"))),
        ] {
            assert_eq!(outcome(command, &response), expected, "{command} {response:?}");
        }
    }
}
