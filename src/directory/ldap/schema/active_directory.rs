//! What Active Directory and Exchange keep in attributes of their own: typed addresses, and when an account ends.
//!
//! Pure. Failure: what can't be read says nothing against anybody.

use std::time::{Duration, SystemTime};

use crate::directory::ldap::object::Object;

/// Whether values of the attribute begin with the kind of address that follows (MS-OXOABK, `proxyAddresses`).
pub(super) fn is_typed(name: &str) -> bool {
    name.eq_ignore_ascii_case("proxyAddresses")
}

/// `SMTP:joe@example.com` (the primary address) and `smtp:` (the others) are mail addresses; `SIP:`, `X400:`, `X500:`,
/// `EUM:` are none. Without a kind it is one.
pub(super) fn untyped(value: &str) -> Option<&str> {
    match value.split_once(':') {
        Some((kind, rest)) if !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            kind.eq_ignore_ascii_case("smtp").then_some(rest)
        }
        _ => Some(value),
    }
}

/// `ADS_UF_ACCOUNTDISABLE` (MS-ADTS 2.2.16).
pub(super) fn is_disabled(object: &Object) -> bool {
    object.text(CONTROL).and_then(|bits| bits.parse::<i64>().ok()).is_some_and(|bits| bits & 2 != 0)
}

/// A mailbox of a user, where the log-in and the mailbox end together. The accounts of shared, room, equipment, linked and
/// remote mailboxes are disabled from the start, and mail users have their mailbox elsewhere.
pub(super) fn is_plain_mailbox(object: &Object) -> bool {
    object.values(KIND).next().is_none() || object.text(KIND) == Some(USER_MAILBOX)
}

/// `accountExpires`: units of 100 ns since 1601 (FILETIME); 0 and 2^63-1 mean never.
pub(super) fn account_expires(object: &Object) -> Option<SystemTime> {
    let units: u64 = object.text(EXPIRES)?.parse().ok()?;
    if units == 0 || units >= i64::MAX.unsigned_abs() {
        return None;
    }
    let unix = units.saturating_sub(UNIX_EPOCH_AS_FILETIME);
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::new(unix / 10_000_000, u32::try_from(unix % 10_000_000).ok()? * 100))
}

pub(super) const CONTROL: &str = "userAccountControl";
pub(super) const EXPIRES: &str = "accountExpires";
pub(super) const KIND: &str = "msExchRecipientTypeDetails";
pub(super) const REQUIRES_LOGIN: &str = "msExchRequireAuthToSendTo";

/// `msExchRecipientTypeDetails` of a user's own mailbox.
const USER_MAILBOX: &str = "1";
/// 1970-01-01 in units of 100 ns since 1601-01-01.
const UNIX_EPOCH_AS_FILETIME: u64 = 116_444_736_000_000_000;
/// The first parts of the names of what is aside.
pub(super) const ASIDE: [&str; 4] =
    ["DC=DomainDnsZones", "DC=ForestDnsZones", "CN=Configuration", "CN=Schema"];
