//! The words in names that say what a host is. Each list is closed; a word counts only as a whole.

/// What a word of a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The address changes, or is lent for one call.
    Dynamic,
    /// A line to somebody's home or office, by its technology.
    Line,
    /// Where the line ends: with a customer, at home. Says less, since some name their servers so.
    Place,
    /// The address stays.
    Static,
    /// It sends or receives mail.
    Mail,
}

/// A word of the lists with its kind, if the letters are one, or two that are written together (`dialpool`).
pub(super) fn find(letters: &str) -> Option<(Kind, &'static str)> {
    let two = || {
        (2..letters.len().min(LONGEST)).find_map(|at| {
            let (first, second) = letters.split_at_checked(at)?;
            let (first, second) = (exact(first)?, exact(second)?);
            // What spares a host counts before what accuses it.
            Some(if rank(second.0) > rank(first.0) { second } else { first })
        })
    };
    exact(letters).or_else(two)
}

/// A word that tells a server only where the name begins with it: `out` and `gw` are places, too.
pub(super) fn mail_at_start(letters: &str) -> Option<&'static str> {
    MAIL_AT_START.split(' ').find(|&word| word == letters)
}

fn exact(letters: &str) -> Option<(Kind, &'static str)> {
    LISTS.iter().find_map(|(kind, words)| Some((*kind, words.split(' ').find(|&word| word == letters)?)))
}

fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Place => 0,
        Kind::Line => 1,
        Kind::Dynamic => 2,
        Kind::Static => 3,
        Kind::Mail => 4,
    }
}

/// No word is longer.
const LONGEST: usize = 12;

/// Words of each kind, with blanks between them.
const LISTS: [(Kind, &str); 5] = [
    (
        Kind::Dynamic,
        "dyn dynamic dynamicip dynip dinamic dinamica dinamico dynamisch dhcp pool pools pooles ppp pppoe dial dialup \
         dialin dip slip modem modems roam tnt",
    ),
    (
        Kind::Line,
        "dsl adsl vdsl xdsl hdsl idsl cdsl bdsl ddsl qdsl dslam isdn cable cablemodem kabel catv hfc docsis ftth fttb \
         fttc fttp fttx fios fiber fibre gpon pon broadband bredband breitband laajakaista hsd hsi hsia wimax gprs umts \
         lte abo async",
    ),
    (
        Kind::Place,
        "cust customer customers client clients user users subscriber subscribers subs cpe cm home res resnet residential \
         access acceso acesso bb wireless wifi wlan mobile isp line",
    ),
    (
        Kind::Static,
        "static statics stat sta statik statique estatico estatica fix fixe fixed fixo fijo fija fest permanent dedicated \
         dedi ded leased sdsl shdsl business biz corp office colo colocation hosting hosted server servers srv vps vm \
         cloud",
    ),
    (
        Kind::Mail,
        "mail mails email mailer mailout mailgate mailgw mailhost mailhub mailrelay mailserver webmail smtp smtps smtpout \
         esmtp mx mxout mta mtaout relay relays outbound outgoing mout lists listserv newsletter postfix exchange imap",
    ),
];

/// Words of servers that begin a name.
const MAIL_AT_START: &str = "out gw gate gateway ns dns www web list post pop spam antispam bounce news ftp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_alone_and_two_together() {
        for (letters, expected) in [
            ("dsl", Some((Kind::Line, "dsl"))),
            ("dialpool", Some((Kind::Dynamic, "dial"))),
            ("ddslppp", Some((Kind::Dynamic, "ppp"))),
            ("mailpool", Some((Kind::Mail, "mail"))),
            ("poolstatic", Some((Kind::Static, "static"))),
            ("subscribers", Some((Kind::Place, "subscribers"))),
            ("hyperdyne", None),
            ("wirelesses", None),
            ("d", None),
            ("", None),
        ] {
            assert_eq!(find(letters), expected, "{letters}");
        }
        assert_eq!(mail_at_start("out"), Some("out"));
        assert_eq!(mail_at_start("outside"), None);
    }

    #[test]
    fn each_word_is_in_one_list_and_no_longer_than_the_longest() {
        let mut seen = std::collections::BTreeSet::new();
        for word in LISTS.iter().flat_map(|(_, words)| words.split(' ')) {
            assert!(seen.insert(word), "{word} is there twice");
            assert!((2..=LONGEST).contains(&word.len()), "{word}");
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word:?}");
        }
    }
}
