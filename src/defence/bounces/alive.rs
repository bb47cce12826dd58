//! Whether a host goes on remembering, or has to begin anew, by what it finds in the store. Pure.

use std::time::Duration;

/// What each host says of itself: when it last remembered, and which of its processes that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alive {
    /// In seconds since 1970.
    pub(super) at: u64,
    /// By chance, one for each process.
    pub(super) process: u64,
}

/// What was found in the store, and what this process knows itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Since when senders are remembered; `None` also where the key of their hashes is gone.
    pub(super) since: Option<u64>,
    /// What was said of this host last.
    pub(super) alive: Option<Alive>,
    /// The store gave something up since it was asked last, or may have.
    pub(super) is_evicted: bool,
    /// What this process said last, if it did before.
    pub(super) own: Option<Alive>,
    /// What was said of this host a short time ago is gone before its time.
    pub(super) is_forgotten: bool,
    /// There were more senders than could be kept for the store while it did not answer.
    pub(super) is_lost: bool,
    /// An MTA was sent away, and may have gone on alone.
    pub(super) is_missed: bool,
    /// Somebody may write unseen, or under another name, or could until now.
    pub(super) is_unseen: bool,
    /// Names are kept for longer from now on, or are compared in another form.
    pub(super) is_other: bool,
    /// The clock was set forward by long since then, or the host slept.
    pub(super) has_jumped: bool,
}

/// Why senders are remembered anew: somebody may have written of whom nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anew {
    /// Nothing was remembered, or this host was not there for a while, or never before.
    Begins,
    /// Another process says that it is this host.
    Namesake,
    /// The store gave up what it was told.
    Evicted,
    /// The store forgot what it was told before its time.
    Forgotten,
    /// The store was away for too long.
    Lost,
    /// There were too many sessions.
    Missed,
    /// By what the MTA's settings say.
    Unseen,
    /// The configuration has changed, or hosts have different ones.
    Other,
    /// The clock.
    Jumped,
    /// The store went back to what it had been.
    WentBack,
}

impl Alive {
    pub(super) fn encode(self) -> Vec<u8> {
        [self.at.to_be_bytes(), self.process.to_be_bytes()].concat()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (at, process) = value.split_first_chunk()?;
        Some(Self { at: u64::from_be_bytes(*at), process: u64::from_be_bytes(process.try_into().ok()?) })
    }
}

impl Found {
    /// Why it begins anew; `None`: it goes on.
    pub(super) fn judge(self) -> Option<Anew> {
        let is_new = self.since.is_none() || self.own.is_none() && self.alive.is_none();
        [
            // A restart finds what the process before it said. One that spoke before, and finds another's word, has a double:
            // when that one is away, nobody notices.
            (
                self.own.zip(self.alive).is_some_and(|(own, alive)| own.process != alive.process),
                Anew::Namesake,
            ),
            (is_new, Anew::Begins),
            (self.is_evicted, Anew::Evicted),
            (self.is_forgotten, Anew::Forgotten),
            (self.is_lost, Anew::Lost),
            (self.is_missed, Anew::Missed),
            (self.is_other, Anew::Other),
            (self.is_unseen, Anew::Unseen),
            (self.has_jumped, Anew::Jumped),
            (self.went_back() > MOST_BACK, Anew::WentBack),
        ]
        .into_iter()
        .find_map(|(is_so, why)| is_so.then_some(why))
    }

    /// What was said last is not there: the store lost who wrote since.
    pub(super) fn went_back(self) -> Duration {
        let back = self.own.zip(self.alive).map(|(own, alive)| own.at.saturating_sub(alive.at));
        Duration::from_secs(back.unwrap_or_default())
    }
}

impl Anew {
    /// What an admin has to know, and do; nothing where it is as it should be.
    pub(super) const fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Begins | Self::Jumped => None,
            Self::Namesake => Some(
                "another process that uses the store has the same host name, so that nobody would notice if one of them was \
                 away: give each host a name of its own",
            ),
            Self::Evicted => Some(
                "the store has no room for all that it is told, and may have given senders up: give Redis more memory \
                 (maxmemory), and find out who writes in so many names",
            ),
            Self::Forgotten => Some(
                "the store forgot what it was told before its time: somebody took keys away, or its clock was set forward",
            ),
            Self::Missed => Some(
                "more sessions were open than limits.sessions allows, and an MTA that was sent away may have let mail out",
            ),
            Self::Unseen => Some("until then somebody may have written unseen, or under another name"),
            Self::Other => Some(
                "defence.bounces.remember was raised or recipients.delimiters changed, or hosts that share the store have \
                 different ones",
            ),
            Self::Lost => Some("more senders wrote while the store was away than could be kept for it"),
            Self::WentBack => Some("the store went back to an old copy, and lost who wrote since"),
        }
    }
}

/// Those who wrote within the last hour are told again; that leaves a margin.
const MOST_BACK: Duration = Duration::from_secs(30 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn when_it_begins_anew() {
        let said = |ago, process| Some(Alive { at: NOW - ago, process });
        let usual = Found {
            since: Some(1),
            alive: said(60, 1),
            own: said(60, 1),
            is_evicted: false,
            is_forgotten: false,
            is_lost: false,
            is_missed: false,
            is_unseen: false,
            is_other: false,
            has_jumped: false,
        };
        for (found, expected) in [
            (usual, None),
            // A restart.
            (Found { own: None, alive: said(200, 7), ..usual }, None),
            // It was away for too long, or has never been there.
            (Found { own: None, alive: None, ..usual }, Some(Anew::Begins)),
            (Found { since: None, ..usual }, Some(Anew::Begins)),
            // The store was down, and it goes on.
            (Found { alive: None, ..usual }, None),
            (Found { alive: said(0, 2), ..usual }, Some(Anew::Namesake)),
            // One whose clock is behind.
            (Found { alive: said(7200, 2), ..usual }, Some(Anew::Namesake)),
            (Found { alive: said(0, 2), is_evicted: true, since: None, ..usual }, Some(Anew::Namesake)),
            (Found { is_evicted: true, ..usual }, Some(Anew::Evicted)),
            (Found { is_evicted: true, own: None, ..usual }, Some(Anew::Evicted)),
            (Found { alive: None, is_forgotten: true, ..usual }, Some(Anew::Forgotten)),
            (Found { is_lost: true, ..usual }, Some(Anew::Lost)),
            (Found { is_missed: true, ..usual }, Some(Anew::Missed)),
            (Found { is_unseen: true, ..usual }, Some(Anew::Unseen)),
            (Found { is_other: true, ..usual }, Some(Anew::Other)),
            (Found { has_jumped: true, ..usual }, Some(Anew::Jumped)),
            (Found { alive: said(30 * 60, 1), own: said(0, 1), ..usual }, None),
            (Found { alive: said(30 * 60 + 1, 1), own: said(0, 1), ..usual }, Some(Anew::WentBack)),
        ] {
            assert_eq!(found.judge(), expected, "{found:?}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let alive = Alive { at: NOW, process: u64::MAX };
        assert_eq!(Alive::decode(&alive.encode()), Some(alive));
        for bad in [&b""[..], b"12345678", b"123456781234567", b"12345678123456789"] {
            assert_eq!(Alive::decode(bad), None, "{bad:?}");
        }
    }
}
