//! What reasons and outcomes are called on the page, and what each means for who reads it.

use maud::{Markup, html};

use crate::policy::{Reason, Verdict};

/// A name in words, and what it means and what to do about it.
pub(super) fn of(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::Disabled => (
            "Backstop is disabled",
            "Somebody has said `backstop disable`: everything passes, nothing is looked up. `backstop enable` ends it.",
        ),
        Reason::DeniedClient => (
            "client on the deny list",
            "The client is on client.denied, and not trusted. It was refused when it connected.",
        ),
        Reason::MtaRefused => (
            "the MTA refused it itself",
            "The mail server had refused the recipient before it asked: Backstop had nothing to decide.",
        ),
        Reason::Submission => (
            "submitted on the host",
            "The message was made on the mail server's own host, not received over SMTP: nobody waits for an answer.",
        ),
        Reason::NotLocal => (
            "domain is not ours",
            "The recipient's domain is none of this site's: the mail server relays it, or refuses it, by its own rules.",
        ),
        Reason::Exempt => (
            "exempt recipient",
            "postmaster, or an address that mail servers probe each other with: always let pass.",
        ),
        Reason::Harvest => (
            "client that guesses recipients",
            "The client asked for too many recipients who do not exist, or `backstop block` was said of it. It is put off for a \
             time, for known and unknown recipients alike. `backstop blocked` lists who is blocked, `backstop release` ends it.",
        ),
        Reason::DynamicClient => (
            "client on a dynamic address",
            "The client's address looks like one of a home or mobile connection, from where no mail server writes. \
             client.dynamic.except lets one pass.",
        ),
        Reason::BounceMany => (
            "a bounce for more than one",
            "A message without a sender is a bounce, and a bounce has one recipient. The others are put off.",
        ),
        Reason::BadAddress => ("no valid address", "What the client wrote is not an address (RFC 5321)."),
        Reason::RelaySyntax => (
            "hidden route to elsewhere",
            "The local part hides an address in a foreign domain (user%elsewhere@here): a way to have this site relay.",
        ),
        Reason::SpamTrap => (
            "spam trap",
            "An address that never was anybody's. The recipient is refused as unknown, and the whole message at its end.",
        ),
        Reason::SuspendedRecipient => (
            "suspended recipient",
            "The account exists, mail to it is refused for now: by a file, by `backstop suspend`, or by its directory. \
             `backstop resume` ends what was said by command.",
        ),
        Reason::RestrictedRecipient => (
            "recipient for insiders only",
            "Its directory says that only authenticated senders may write to it.",
        ),
        Reason::UnknownRecipient => (
            "unknown recipient",
            "Every directory in charge was asked, and none has it. If he should exist, make him in the directory; nothing has to \
             be reloaded. If many are refused since a change of the directory: `backstop disable`, and look then.",
        ),
        Reason::DirectoryUnavailable => (
            "directory could not answer",
            "Nobody could say whether the recipient exists, so the client was asked to come again. Look at the directories \
             on this page.",
        ),
        Reason::Greylisted => (
            "greylisted",
            "A client that was not seen before has to come again after some minutes. Real mail servers do so by themselves.",
        ),
        Reason::UnsolicitedBounce => (
            "bounce for what nobody sent",
            "A bounce, and none of its recipients has sent mail lately: the answer to a forged sender.",
        ),
        Reason::Ok => {
            ("nothing against it", "A directory knows the recipient, and nothing speaks against the mail.")
        }
        Reason::NoDirectory => (
            "no directory in charge",
            "The domain is local, but no directory knows all of its recipients: nobody is refused there. Give it one.",
        ),
    }
}

/// A link to what it means.
pub(super) fn link(reason: Reason) -> Markup {
    html! { a href=(format!("#reason-{reason}")) title=(of(reason).0) { (reason) } }
}

/// What became of the mail, in words and in a class for its colour.
pub(super) fn outcome(verdict: Verdict, enforced: bool) -> Markup {
    let (words, class) = match (verdict, enforced) {
        (Verdict::Continue, _) => ("passed", "passed"),
        (Verdict::Reject, true) => ("refused", "refused"),
        (Verdict::Defer, true) => ("put off", "deferred"),
        (Verdict::Reject, false) => ("would be refused", "watched"),
        (Verdict::Defer, false) => ("would be put off", "watched"),
    };
    html! { span class=(format!("outcome {class}")) { (words) } }
}

/// A verdict by its name.
pub(super) fn verdict(name: &str) -> Verdict {
    let known = [Verdict::Reject, Verdict::Defer];
    known.into_iter().find(|verdict| verdict.as_str() == name).unwrap_or(Verdict::Continue)
}

/// Everything that a decision can be for, each with its place to link to.
pub(super) fn meanings() -> Markup {
    html! {
        section #meanings {
            h2 { "What the reasons mean" }
            dl {
                @for reason in Reason::ALL {
                    @let (name, meaning) = of(reason);
                    div id=(format!("reason-{reason}")) {
                        dt { code { (reason) } " " (name) }
                        dd { (in_code(meaning)) }
                    }
                }
            }
        }
    }
}

/// Text in which commands stand between backquotes.
fn in_code(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words_and_a_place_that_links_lead_to() {
        let meanings = meanings().0;
        let mut names = Vec::new();
        for reason in Reason::ALL {
            let (name, meaning) = of(reason);
            assert!(!name.is_empty() && meaning.ends_with('.'), "{reason}");
            assert!(meaning.matches('`').count() % 2 == 0, "{reason}");
            assert!(meanings.contains(&format!("id=\"reason-{reason}\"")), "{reason}");
            assert!(link(reason).0.contains(&format!("href=\"#reason-{reason}\"")), "{reason}");
            names.push(name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len(), "no two have one name");
    }

    #[test]
    fn every_verdict_is_read_back() {
        for verdict in [Verdict::Continue, Verdict::Reject, Verdict::Defer] {
            assert_eq!(super::verdict(verdict.as_str()), verdict);
        }
    }
}
