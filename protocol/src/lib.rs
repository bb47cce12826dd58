//! The milter (mail filter) protocol as Postfix and Sendmail really speak it, versions 2 to 6, for both sides.
//!
//! Sans-IO: no sockets, no runtime, no clock, no log. Bytes come in, typed events go out; typed verdicts come in, bytes go
//! out. No input panics, nothing allocates by what a peer announces, and no callback allocates at all.
//! What breaks the protocol is an error that ends the connection; nothing is skipped.
//!
//! - A filter: [`Session`](session::Session) with the answers of [`verdict`], what it wants from the MTA
//!   ([`Wanted`](negotiation::Wanted)), and its own replies to SMTP clients ([`SmtpReply`](smtp_reply::SmtpReply)).
//! - An MTA, or a test: [`Client`](client::Client).
//! - The wire itself: [`frame`], [`command`], [`reply`], [`flags`].
//!
//! # A filter in memory
//!
//! ```
//! use bytes::BytesMut;
//! use milter_protocol::client::Client;
//! use milter_protocol::command::{CStrings, ClientAddress, Command, Connect, Rcpt};
//! use milter_protocol::flags::{Actions, Steps};
//! use milter_protocol::negotiation::{CURRENT_OFFER, Wanted};
//! use milter_protocol::session::{Event, ProtocolError, Session};
//! use milter_protocol::smtp_reply::SmtpReply;
//! use milter_protocol::verdict::{EndOfMessageVerdict, RcptVerdict};
//!
//! // Only recipients matter to this filter, and the end of a message can't be left out.
//! let steps = Steps::NR_CONNECT | Steps::NO_HELO | Steps::NO_MAIL | Steps::NO_DATA | Steps::NO_HEADERS
//!     | Steps::NO_EOH | Steps::NO_BODY | Steps::NO_UNKNOWN;
//! let wanted = Wanted::new(Actions::NONE, steps)?;
//! let no_such_user = SmtpReply::new(550, "5.1.1".parse()?, ["No such user here"])?;
//!
//! // What a server does with each piece of input; it returns the bytes to write.
//! let mut serve = {
//!     let mut session = Session::new(wanted);
//!     move |mut input: &[u8]| {
//!         let mut output = BytesMut::new();
//!         while let Some(event) = session.next(&mut input, &mut output)? {
//!             match event {
//!                 Event::Rcpt(rcpt, ask) => {
//!                     let verdict = match rcpt.address {
//!                         b"<joe@example.com>" => RcptVerdict::Continue,
//!                         _ => RcptVerdict::Refuse(no_such_user.clone()),
//!                     };
//!                     session.answer(ask, verdict, &mut output);
//!                 }
//!                 Event::EndOfMessage(_, ask) => session.answer(ask, EndOfMessageVerdict::Continue, &mut output),
//!                 Event::Quit => break,
//!                 // Nothing else is asked: its step was not wanted, or wanted without a reply.
//!                 _ => {}
//!             }
//!         }
//!         Ok::<BytesMut, ProtocolError>(output)
//!     }
//! };
//!
//! // The other side.
//! let mut mta = Client::new(CURRENT_OFFER);
//! let mut bytes = BytesMut::new();
//! mta.negotiate(&mut bytes);
//! mta.receive(&mut &serve(&bytes)?[..])?;
//!
//! bytes.clear();
//! let connect = Connect { host: b"localhost", address: ClientAddress::Inet([127, 0, 0, 1].into(), 4711) };
//! mta.send(&Command::Connect(connect), Some(&[("j", "mx.example.com")]), &mut bytes);
//! let bob = Rcpt { address: b"<bob@example.com>", parameters: CStrings::default() };
//! mta.send(&Command::Rcpt(bob), None, &mut bytes);
//! let answer = serve(&bytes)?;
//! assert_eq!(&answer[5..], b"550 5.1.1 No such user here\0");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod client;
pub mod command;
pub mod flags;
pub mod frame;
pub mod macros;
pub mod negotiation;
pub mod reply;
pub mod session;
pub mod smtp_reply;
pub mod verdict;
mod wire;
