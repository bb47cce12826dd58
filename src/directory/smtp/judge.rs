//! What an answer to RCPT says of the recipient. Pure.
//!
//! Only codes that say "there is no such mailbox" are a no, and even those count only with a control recipient that is
//! taken; a yes counts only where a random recipient is refused: both is for the caller to see to.

use crate::net::smtp_reply::{Reply, Said, Status};

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It takes the recipient.
    Takes,
    /// It takes him without knowing him (252).
    TakesUnseen,
    /// It does not know him.
    Unknown,
    /// It has no answer for now.
    PutOff,
    /// It refuses him for another reason, or for one that it does not tell.
    Refuses,
}

/// What the answer says; `absent`: codes that mean "unknown" besides the usual ones.
pub(super) fn judge(reply: &Reply, absent: &[Status]) -> Judgement {
    match (reply.code, reply.status) {
        (252, _) => Judgement::TakesUnseen,
        (200..=299, _) => Judgement::Takes,
        (400..=499, _) => Judgement::PutOff,
        (550, Said::Nothing) => Judgement::Unknown,
        (500..=599, Said::Status(status)) if UNKNOWN.contains(&status) || absent.contains(&status) => {
            Judgement::Unknown
        }
        _ => Judgement::Refuses,
    }
}

/// RFC 3463 §3.2: bad destination mailbox address; mailbox has moved, no forwarding address. RFC 7505 §4.2 has 5.1.10 for a
/// domain with a null MX; Exchange says it of unknown recipients.
const UNKNOWN: [Status; 3] = [
    Status { class: 5, subject: 1, detail: 1 },
    Status { class: 5, subject: 1, detail: 6 },
    Status { class: 5, subject: 1, detail: 10 },
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::smtp_reply::Reader;

    fn reply(text: &str) -> Reply {
        let mut reader = Reader::default();
        reader.push(text.as_bytes());
        reader.push(b"\r\n");
        reader.take().unwrap().unwrap()
    }

    /// Each as the server named writes it.
    #[test]
    fn answers_of_real_servers() {
        use Judgement::*;
        for (text, judgement) in [
            // Postfix 3.7
            ("250 2.1.5 Ok", Takes),
            ("550 5.1.1 <x@y>: Recipient address rejected: User unknown in local recipient table", Unknown),
            ("550 5.1.1 <x@y>: Recipient address rejected: undeliverable address: host said: 550", Unknown),
            (
                "450 4.1.1 <x@y>: Recipient address rejected: unverified address: Address lookup failure",
                PutOff,
            ),
            ("451 4.3.0 <x@y>: Temporary lookup failure", PutOff),
            ("554 5.7.1 <x@y>: Relay access denied", Refuses),
            ("550 5.7.1 <x@y>: Recipient address rejected: go away", Refuses),
            ("552 5.2.2 over quota", Refuses),
            // Sendmail 8.17
            ("550 5.1.1 <x@y>... User unknown", Unknown),
            ("553 5.1.8 <x@y>... Domain of sender address x@y does not exist", Refuses),
            ("550 5.7.1 <x@y>... Relaying denied", Refuses),
            ("452 4.5.3 Too many recipients", PutOff),
            // Exim
            ("550 Unrouteable address", Unknown),
            // qmail, netqmail with a patch
            ("550 sorry, no mailbox here by that name. (#5.1.1)", Unknown),
            ("553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", Refuses),
            // Exchange, Exchange Online
            ("550 5.1.1 RESOLVER.ADR.RecipNotFound; not found", Unknown),
            (
                "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient x@y not found by SMTP address lookup",
                Unknown,
            ),
            ("550 5.4.1 Recipient address rejected: Access denied", Refuses),
            ("550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", Refuses),
            ("451 4.7.500 Server busy", PutOff),
            // Dovecot's LMTP
            ("250 2.1.5 OK", Takes),
            ("550 5.1.1 <x@y> User doesn't exist: x@y", Unknown),
            ("452 4.2.2 <x@y> Quota exceeded (mailbox for user is full)", PutOff),
            ("451 4.3.0 <x@y> Temporary internal error", PutOff),
            // Cisco's appliances
            ("550 #5.1.0 Address rejected.", Refuses),
            // the rest of RFC 5321 and RFC 3463
            ("251 User not local; will forward", Takes),
            ("252 2.1.5 Cannot VRFY user, but will take it", TakesUnseen),
            ("551 5.1.6 moved", Unknown),
            ("551 User not local; please try elsewhere", Refuses),
            ("553 5.1.3 bad syntax", Refuses),
            ("550 5.2.1 mailbox disabled", Refuses),
            ("550 5.1.0 other", Refuses),
            ("550 5.1.2 no such domain", Refuses),
            ("550 4.1.1 of two classes", Refuses),
            ("450 5.1.1 of two classes", PutOff),
            ("500 what?", Refuses),
            ("501 5.1.1 syntax", Unknown),
            ("550-5.1.1 one\r\n550 5.7.1 two", Refuses),
        ] {
            assert_eq!(judge(&reply(text), &[]), judgement, "{text}");
        }
    }

    #[test]
    fn codes_that_the_admin_lists() {
        let listed = [Status::parse("5.4.1").unwrap()];
        assert_eq!(judge(&reply("550 5.4.1 Access denied"), &listed), Judgement::Unknown);
        assert_eq!(judge(&reply("550 5.7.1 Access denied"), &listed), Judgement::Refuses);
        assert_eq!(judge(&reply("450 5.4.1 later"), &listed), Judgement::PutOff);
    }

    proptest! {
        #[test]
        fn nothing_but_these_codes_is_a_no(code in 200_u16..600, class in 2_u8..6, subject in 0_u16..12, detail in 0_u16..30, with in any::<bool>()) {
            let text = if with { format!("{code} {class}.{subject}.{detail} x") } else { format!("{code} x") };
            let judged = judge(&reply(&text), &[]);
            let listed = with && class == 5 && subject == 1 && [1, 6, 10].contains(&detail);
            let no = code >= 500 && listed || code == 550 && (!with || class == 3);
            prop_assert_eq!(judged == Judgement::Unknown, no, "{}", text);
            prop_assert_eq!(judged == Judgement::Takes, code < 300 && code != 252, "{}", text);
        }
    }
}
