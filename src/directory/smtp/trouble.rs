//! Why the next hop did not tell whether it knows a recipient.

use std::io;

use super::conversation::{Stage, TalkError};
use crate::{
    address::{Address, Domain},
    directory::{Why, remote::Failure},
    net::{DnsError, smtp_reply::Reply},
};

/// No answer that says yes or no.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no server is named for {0}: it is not in hosts or transport_map, and there is no host")]
    NoHost(Domain),
    #[error("the transport map hands mail for {0} to no server that can be asked")]
    Elsewhere(Domain),
    #[error(
        "the transport map has users of {0} of their own, and whether this is a sub-address of one can't be told"
    )]
    Doubtful(Domain),
    #[error(transparent)]
    Resolve(#[from] DnsError),
    #[error("{server}: {error}")]
    Connect { server: String, error: io::Error },
    #[error("{server}: TLS can't be begun: {error}")]
    Tls { server: String, error: io::Error },
    #[error("{server}: {error}")]
    Talk { server: String, error: TalkError },
    #[error("{0}: no answer in time")]
    TimedOut(String),
    #[error("{0}: no answer for this recipient in time")]
    Slow(String),
    #[error("{0}; it answers for the control recipient, so it is this recipient")]
    Choked(Box<Trouble>),
    #[error("{destination} is down: {last}")]
    Down { destination: String, last: String },
    #[error("too many questions for {0} at once")]
    Busy(String),
    #[error("{server} puts the recipient off: {reply}")]
    PutOff { server: String, reply: Reply },
    #[error("{server} refuses the recipient, but not as unknown: {reply}")]
    Refused { server: String, reply: Reply },
    #[error("{server} takes the recipient without knowing him: {reply}")]
    TakesUnseen { server: String, reply: Reply },
    #[error("{server} takes any recipient in {domain}")]
    TakesAll { server: String, domain: Domain },
    #[error(
        "{server} neither takes nor refuses a random recipient in {domain}, so that its yes says nothing"
    )]
    Undecided { server: String, domain: Domain },
    #[error(
        "{server} refuses the control recipient {control}, so that its refusals say nothing (`control` has to be a recipient that it takes): {reply}"
    )]
    Control { server: String, control: Box<Address>, reply: Reply },
    #[error("{server} refuses {witness} as well, whom it took before: it may refuse everybody ({reply})")]
    Witness { server: String, witness: Box<Address>, reply: Reply },
    #[error("{server} puts the control recipient {control} off: {reply}")]
    ControlPutOff { server: String, control: Box<Address>, reply: Reply },
}

impl Trouble {
    /// Whether another server may do better, and this one had better be left alone for a while.
    pub(super) fn blames_server(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Tls { .. } | Self::TimedOut(_) => true,
            Self::Talk { error, .. } => !matches!(error, TalkError::NoUtf8),
            _ => false,
        }
    }

    fn why(&self) -> Why {
        match self {
            Self::NoHost(_) | Self::Elsewhere(_) | Self::Doubtful(_) => Why::NoHost,
            Self::Resolve(_) | Self::Connect { .. } | Self::Down { .. } => Why::Down,
            Self::Talk { error: TalkError::NoUtf8, .. } | Self::Refused { .. } => Why::Refused,
            Self::Tls { .. } | Self::Talk { .. } | Self::Control { .. } | Self::Witness { .. } => Why::Failed,
            Self::TimedOut(_) | Self::Slow(_) => Why::TimedOut,
            Self::Busy(_) => Why::Busy,
            Self::PutOff { .. } | Self::ControlPutOff { .. } | Self::Choked(_) => Why::PutOff,
            Self::TakesUnseen { .. } | Self::TakesAll { .. } | Self::Undecided { .. } => Why::TakesAll,
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::new(trouble.why(), trouble)
    }
}

/// The connection ended while the server was to answer this.
pub(super) fn closed(server: &str, stage: Stage) -> Trouble {
    Trouble::Talk { server: server.to_owned(), error: TalkError::Closed(stage) }
}
