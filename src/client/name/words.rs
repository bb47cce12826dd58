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
    MAIL_AT_START.iter().find(|&&word| word == letters).copied()
}

fn exact(letters: &str) -> Option<(Kind, &'static str)> {
    LISTS
        .iter()
        .find_map(|(kind, words)| words.iter().find(|&&word| word == letters).map(|&word| (*kind, word)))
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

const LISTS: [(Kind, &[&str]); 5] = [
    (
        Kind::Dynamic,
        &[
            "dyn",
            "dynamic",
            "dynamicip",
            "dynip",
            "dinamic",
            "dinamica",
            "dinamico",
            "dynamisch",
            "dhcp",
            "pool",
            "pools",
            "pooles",
            "ppp",
            "pppoe",
            "dial",
            "dialup",
            "dialin",
            "dip",
            "slip",
            "modem",
            "modems",
            "roam",
            "tnt",
        ],
    ),
    (
        Kind::Line,
        &[
            "dsl",
            "adsl",
            "vdsl",
            "xdsl",
            "hdsl",
            "idsl",
            "cdsl",
            "bdsl",
            "ddsl",
            "qdsl",
            "isdn",
            "cable",
            "kabel",
            "cablemodem",
            "catv",
            "hfc",
            "docsis",
            "ftth",
            "fttb",
            "fttx",
            "fttp",
            "fttc",
            "fios",
            "fiber",
            "fibre",
            "gpon",
            "pon",
            "broadband",
            "hsd",
            "hsi",
            "hsia",
            "wimax",
            "gprs",
            "umts",
            "lte",
            "dslam",
            "abo",
            "async",
            "bredband",
            "breitband",
            "laajakaista",
        ],
    ),
    (
        Kind::Place,
        &[
            "cust",
            "customer",
            "customers",
            "client",
            "clients",
            "user",
            "users",
            "subscriber",
            "subscribers",
            "subs",
            "cpe",
            "cm",
            "home",
            "res",
            "resnet",
            "residential",
            "access",
            "bb",
            "wireless",
            "wifi",
            "wlan",
            "mobile",
            "acceso",
            "acesso",
            "isp",
            "line",
        ],
    ),
    (
        Kind::Static,
        &[
            "static",
            "statics",
            "stat",
            "statik",
            "statique",
            "estatico",
            "estatica",
            "fix",
            "fixe",
            "fixed",
            "fixo",
            "fijo",
            "fija",
            "fest",
            "permanent",
            "dedicated",
            "dedi",
            "ded",
            "leased",
            "sdsl",
            "shdsl",
            "business",
            "biz",
            "corp",
            "office",
            "colo",
            "colocation",
            "hosting",
            "hosted",
            "server",
            "servers",
            "srv",
            "vps",
            "vm",
            "cloud",
        ],
    ),
    (
        Kind::Mail,
        &[
            "mail",
            "mails",
            "email",
            "mailer",
            "mailout",
            "mailgate",
            "mailgw",
            "mailhost",
            "mailhub",
            "mailrelay",
            "mailserver",
            "webmail",
            "smtp",
            "smtps",
            "smtpout",
            "esmtp",
            "mx",
            "mxout",
            "mta",
            "mtaout",
            "relay",
            "relays",
            "outbound",
            "outgoing",
            "mout",
            "lists",
            "listserv",
            "newsletter",
            "postfix",
            "exchange",
            "imap",
        ],
    ),
];

const MAIL_AT_START: &[&str] = &[
    "out", "gw", "gate", "gateway", "ns", "dns", "www", "web", "list", "post", "pop", "spam", "antispam",
    "bounce", "news", "ftp",
];
