//! The SMTP replies of refusals: one per reason, with the admin's changes.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::Reason;

/// One SMTP reply (RFC 5321 §4.2, RFC 3463), as it is shown to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The reason whose reply it is.
    pub reason: Reason,
    /// Code and enhanced code.
    pub code: Code,
    /// One line, printable ASCII, ending in the reason's tag.
    pub text: String,
}

impl Reply {
    /// The same reply in other words, if these are [fit](is_reply_text).
    #[must_use]
    pub fn saying(&self, text: &str) -> Option<Self> {
        is_reply_text(text).then(|| Self { text: tagged(text, self.reason), ..*self })
    }
}

/// Whether a text can be that of a reply: 1 to 200 printable ASCII characters, not only blanks. The tag comes behind it.
#[must_use]
pub fn is_reply_text(text: &str) -> bool {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    !text.trim().is_empty() && text.len() <= MAX_TEXT && printable
}

fn tagged(text: &str, reason: Reason) -> String {
    format!("{text} [{reason}]")
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

/// A reply code with its enhanced code, e.g. `550 5.1.1`. Only 4xx and 5xx, both of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// 400 to 599.
    pub basic: u16,
    /// Class, subject, detail (RFC 3463 §2).
    pub enhanced: (u8, u16, u16),
}

impl Code {
    /// The same with the order to try again later.
    #[must_use]
    pub const fn temporary(self) -> Self {
        let (_, subject, detail) = self.enhanced;
        if self.is_permanent() { Self { basic: 450, enhanced: (4, subject, detail) } } else { self }
    }

    /// Whether the client is told never to try again.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        self.basic >= 500
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (class, subject, detail) = self.enhanced;
        write!(f, "{} {class}.{subject}.{detail}", self.basic)
    }
}

/// What is wrong with a reply in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not `ddd x.y.z`.
    #[error("`{0}` is not a reply code; write it like `550 5.1.1`")]
    Form(String),
    /// 2xx, 3xx, or a class that differs from the first digit.
    #[error("`{0}`: a refusal's code begins with 4 or 5, and its enhanced code with the same digit")]
    Class(String),
    /// A temporary refusal made permanent.
    #[error("`{code}`: {reason} means \"could not be decided now\", so its code must begin with 4")]
    MustBeTemporary {
        /// The reason whose reply it was to be.
        reason: Reason,
        /// The code met.
        code: Code,
    },
    /// Empty, too long, or not printable ASCII.
    #[error("a reply text is 1 to {MAX_TEXT} printable ASCII characters on one line")]
    Text,
    /// A reason that refuses nothing.
    #[error("{0} refuses nothing, so it has no reply")]
    NoReply(Reason),
}

impl FromStr for Code {
    type Err = ReplyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (basic, enhanced) = text.split_once(' ')?;
            let mut parts = enhanced.splitn(3, '.');
            let mut part = |most: usize| {
                let digits = parts.next()?;
                let plain =
                    !digits.is_empty() && digits.len() <= most && digits.bytes().all(|b| b.is_ascii_digit());
                if plain { digits.parse::<u16>().ok() } else { None }
            };
            let enhanced = (u8::try_from(part(1)?).ok()?, part(3)?, part(3)?);
            let digits = basic.len() == 3 && basic.bytes().all(|b| b.is_ascii_digit());
            if digits { Some(Self { basic: basic.parse().ok()?, enhanced }) } else { None }
        };
        let code = parsed().ok_or_else(|| ReplyError::Form(text.to_owned()))?;
        if !(400..600).contains(&code.basic) || u16::from(code.enhanced.0) != code.basic / 100 {
            return Err(ReplyError::Class(text.to_owned()));
        }
        Ok(code)
    }
}

/// What the admin may change in a reply: the key `[replies.REASON]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplyConfig {
    /// Code and enhanced code, `"550 5.1.1"`, both of one class. A temporary refusal can't be made permanent; the
    /// other way round is fine. Default: see [decisions.md](decisions.md).
    pub code: Option<String>,
    /// 1 to 200 printable ASCII characters. The reason in brackets is added behind it. Default: see
    /// [decisions.md](decisions.md).
    pub text: Option<String>,
}

/// The replies of all reasons.
#[derive(Debug, Clone)]
pub struct Replies {
    usual: BTreeMap<Reason, Reply>,
    doubtful: BTreeMap<Reason, Reply>,
}

impl Replies {
    /// The defaults with the admin's changes.
    ///
    /// # Errors
    /// The first reply that can't be used, with its reason.
    pub fn build(changes: &BTreeMap<Reason, ReplyConfig>) -> Result<Self, (Reason, ReplyError)> {
        let mut replies: BTreeMap<_, _> =
            Reason::ALL.into_iter().filter_map(|r| Some((r, default(r)?))).collect();
        for (&reason, change) in changes {
            let Some(reply) = replies.get_mut(&reason) else {
                return Err((reason, ReplyError::NoReply(reason)));
            };
            apply(reply, reason, change).map_err(|error| (reason, error))?;
        }
        for (reason, reply) in &mut replies {
            if *reason != Reason::SpamTrap {
                // The tag leads the sender's postmaster to the docs; a trap's would tell the harvester.
                reply.text = tagged(&reply.text, *reason);
            }
        }
        let temporary = |(&reason, usual): (&Reason, &Reply)| {
            (reason, Reply { code: usual.code.temporary(), ..usual.clone() })
        };
        let doubtful = replies.iter().map(temporary).collect();
        Ok(Self { usual: replies, doubtful })
    }

    /// The reply of a reason; `None` where the reason refuses nothing.
    #[must_use]
    pub fn of(&self, reason: Reason) -> Option<&Reply> {
        self.usual.get(&reason)
    }

    /// The same where it could not be found out whether there is a reason: never permanent.
    #[must_use]
    pub fn of_doubtful(&self, reason: Reason) -> Option<&Reply> {
        self.doubtful.get(&reason)
    }

    /// The usual ones, one for each reason that refuses.
    pub fn iter(&self) -> impl Iterator<Item = &Reply> {
        self.usual.values()
    }
}

impl Default for Replies {
    fn default() -> Self {
        Self::build(&BTreeMap::new()).expect("the defaults are valid, as a test shows")
    }
}

fn apply(reply: &mut Reply, reason: Reason, change: &ReplyConfig) -> Result<(), ReplyError> {
    if let Some(code) = &change.code {
        let code: Code = code.parse()?;
        if code.is_permanent() && !reply.code.is_permanent() {
            return Err(ReplyError::MustBeTemporary { reason, code });
        }
        reply.code = code;
    }
    if let Some(text) = &change.text {
        if !is_reply_text(text) {
            return Err(ReplyError::Text);
        }
        reply.text.clone_from(text);
    }
    Ok(())
}

/// RFC 5321 §4.5.3.1.5 allows 512 octets a line with code and line end; MTAs put the recipient before it.
const MAX_TEXT: usize = 200;

fn default(reason: Reason) -> Option<Reply> {
    let (basic, enhanced, text) = match reason {
        Reason::DeniedClient => (554, (5, 7, 1), "Client not allowed to send mail here"),
        Reason::Harvest => (421, (4, 7, 0), "Too many unknown recipients, try again later"),
        Reason::DynamicClient => {
            (550, (5, 7, 1), "Dynamic address; use your provider's mail server, or authenticate")
        }
        Reason::BounceMany => (452, (4, 5, 3), "A bounce has one recipient; send the others separately"),
        Reason::BadAddress => (501, (5, 1, 3), "Not a valid address"),
        Reason::RelaySyntax => (550, (5, 7, 1), "Relaying denied"),
        Reason::SpamTrap => (550, (5, 7, 1), "Message refused"),
        Reason::SuspendedRecipient => (550, (5, 2, 1), "Mailbox suspended"),
        Reason::RestrictedRecipient => {
            (550, (5, 7, 1), "Only authenticated senders may write to this address")
        }
        Reason::UnknownRecipient => (550, (5, 1, 1), "No such user here"),
        Reason::DirectoryUnavailable => (451, (4, 4, 3), "Recipient can't be verified now, try again later"),
        Reason::Greylisted => (450, (4, 7, 1), "Greylisted, try again later"),
        Reason::UnsolicitedBounce => (550, (5, 7, 1), "Bounce for a message that was not sent from here"),
        Reason::Disabled
        | Reason::MtaRefused
        | Reason::Submission
        | Reason::NotLocal
        | Reason::Exempt
        | Reason::Ok
        | Reason::NoDirectory => return None,
    };
    Some(Reply { reason, code: Code { basic, enhanced }, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(
        reason: Reason,
        code: Option<&str>,
        text: Option<&str>,
    ) -> Result<Replies, (Reason, ReplyError)> {
        let config = ReplyConfig { code: code.map(str::to_owned), text: text.map(str::to_owned) };
        Replies::build(&BTreeMap::from([(reason, config)]))
    }

    #[test]
    fn defaults_are_those_of_the_decision_table() {
        let replies = Replies::default();
        let shown = |reason| replies.of(reason).map(ToString::to_string);
        assert_eq!(
            shown(Reason::UnknownRecipient).as_deref(),
            Some("550 5.1.1 No such user here [unknown-recipient]")
        );
        for (reason, code) in [
            (Reason::DeniedClient, "554 5.7.1"),
            (Reason::Harvest, "421 4.7.0"),
            (Reason::DynamicClient, "550 5.7.1"),
            (Reason::BounceMany, "452 4.5.3"),
            (Reason::BadAddress, "501 5.1.3"),
            (Reason::RelaySyntax, "550 5.7.1"),
            (Reason::SuspendedRecipient, "550 5.2.1"),
            (Reason::RestrictedRecipient, "550 5.7.1"),
            (Reason::UnknownRecipient, "550 5.1.1"),
            (Reason::DirectoryUnavailable, "451 4.4.3"),
            (Reason::Greylisted, "450 4.7.1"),
            (Reason::UnsolicitedBounce, "550 5.7.1"),
        ] {
            let reply = shown(reason).expect("refuses");
            assert!(reply.starts_with(code) && reply.ends_with(&format!("[{reason}]")), "{reply}");
            assert_eq!(code.parse::<Code>().map(|code| code.to_string()).as_deref(), Ok(code));
        }
        assert_eq!(shown(Reason::Ok), None);
    }

    #[test]
    fn a_reply_in_other_words_keeps_code_and_tag() {
        let replies = Replies::default();
        let usual = replies.of(Reason::SuspendedRecipient).expect("refuses");
        let other = usual.saying("Ask 100% of the owners").map(|reply| reply.to_string());
        assert_eq!(other.as_deref(), Some("550 5.2.1 Ask 100% of the owners [suspended-recipient]"));
        for text in ["", "  ", "a\r\n250 ok", "tab\t", "naïve", &"x".repeat(201)] {
            assert_eq!(usual.saying(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_doubtful_suspension_is_temporary_whatever_its_code() {
        for (code, expected) in [
            (None, "450 4.2.1 Mailbox suspended [suspended-recipient]"),
            (Some("554 5.7.13"), "450 4.7.13 Mailbox suspended [suspended-recipient]"),
            (Some("452 4.2.1"), "452 4.2.1 Mailbox suspended [suspended-recipient]"),
        ] {
            let replies = change(Reason::SuspendedRecipient, code, None).expect("it can be used");
            let doubtful = replies.of_doubtful(Reason::SuspendedRecipient).expect("it refuses");
            assert_eq!(doubtful.to_string(), expected);
        }
    }

    #[test]
    fn could_not_find_out_can_not_be_made_permanent() {
        for reason in [Reason::DirectoryUnavailable, Reason::Harvest, Reason::Greylisted, Reason::BounceMany]
        {
            let refused = change(reason, Some("550 5.1.1"), None);
            assert!(matches!(refused, Err((_, ReplyError::MustBeTemporary { .. }))), "{reason}");
        }
        // The other direction is a careful start, like Postfix' soft_bounce.
        assert!(change(Reason::UnknownRecipient, Some("450 4.1.1"), None).is_ok());
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for code in [
            "",
            "550",
            "550 5.1",
            "550 5.1.1.1",
            "550 4.1.1",
            "250 2.0.0",
            "550  5.1.1",
            "5x0 5.1.1",
            "550 5.1.1000",
            "650 6.0.0",
        ] {
            assert!(change(Reason::UnknownRecipient, Some(code), None).is_err(), "{code}");
        }
        for text in ["", "  ", "a\r\n250 ok", "tab\t", "naïve", &"x".repeat(201)] {
            assert!(change(Reason::UnknownRecipient, None, Some(text)).is_err(), "{text:?}");
        }
        assert!(change(Reason::Ok, None, Some("x")).is_err());
    }
}
