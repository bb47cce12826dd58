//! What a session tells its caller, and the token that stands for an answer that is due.

use std::fmt;
use std::marker::PhantomData;

use crate::command::{Connect, Header, Mail, Rcpt};
use crate::verdict::{
    BodyVerdict, ConnectVerdict, DataVerdict, EndOfHeadersVerdict, EndOfMessageVerdict, HeaderVerdict,
    HeloVerdict, MailVerdict, RcptVerdict, UnknownVerdict,
};

/// What the MTA tells.
///
/// With an [`Ask`], the MTA waits: hand it to [`Session::answer`](super::Session::answer) before the next event is taken. Without one (the step was
/// wanted as `NR_*`) there is nothing to answer; where the MTA expects an answer all the same, the session has given it.
#[derive(Debug)]
#[must_use]
pub enum Event<'i> {
    /// Both sides have agreed ([`Session::agreed`](super::Session::agreed)); the answer is in `output`. The first event.
    Negotiated,
    /// A client has connected.
    Connect(Connect<'i>, Option<Ask<ConnectVerdict>>),
    /// HELO or EHLO, with its argument. May repeat, and then ends a message that had begun.
    Helo(&'i [u8], Option<Ask<HeloVerdict>>),
    /// MAIL FROM: a new message, also if the one before had no end.
    Mail(Mail<'i>, Option<Ask<MailVerdict>>),
    /// RCPT TO.
    Rcpt(Rcpt<'i>, Ask<RcptVerdict>),
    /// DATA.
    Data(Option<Ask<DataVerdict>>),
    /// One header field.
    Header(Header<'i>, Option<Ask<HeaderVerdict>>),
    /// The end of the header.
    EndOfHeaders(Option<Ask<EndOfHeadersVerdict>>),
    /// A part of the body.
    Body(&'i [u8], Option<Ask<BodyVerdict>>),
    /// The end of the message, with the last part of the body if there is any.
    EndOfMessage(&'i [u8], Ask<EndOfMessageVerdict>),
    /// An SMTP command that the MTA does not know.
    Unknown(&'i [u8], Option<Ask<UnknownVerdict>>),
    /// The message is over; what is known of the connection still holds. May come without a message, after its end, and repeatedly.
    Abort,
    /// The SMTP session is over; another one follows on this connection.
    NewConnection,
    /// The MTA closes the connection. It may also do so without a word.
    Quit,
}

/// The MTA waits for an answer of type `V`. It can be given once:
///
/// ```compile_fail,E0382
/// # use milter_protocol::{session::{Ask, Session}, verdict::RcptVerdict};
/// # fn twice(session: &mut Session, ask: Ask<RcptVerdict>, output: &mut bytes::BytesMut) {
/// session.answer(ask, RcptVerdict::Continue, output);
/// session.answer(ask, RcptVerdict::Continue, output);
/// # }
/// ```
/// and only with the verdict of its stage:
/// ```compile_fail,E0308
/// # use milter_protocol::{session::{Ask, Session}, verdict::{MailVerdict, RcptVerdict}};
/// # fn wrong(session: &mut Session, ask: Ask<RcptVerdict>, output: &mut bytes::BytesMut) {
/// session.answer(ask, MailVerdict::Accept, output);
/// # }
/// ```
/// An `Ask` that is dropped is found out by the next [`Session::next`](super::Session::next), which fails.
#[must_use = "the MTA waits for this answer"]
pub struct Ask<V>(PhantomData<fn(V)>);

impl<V> Ask<V> {
    pub(super) const fn new() -> Ask<V> {
        Ask(PhantomData)
    }
}

impl<V> fmt::Debug for Ask<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}
