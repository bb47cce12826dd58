//! Names of objects: distinguished names as far as feeds compare them, and the forms of UUIDs. Pure.

use std::fmt::Write;

/// An `objectGUID`, as it comes.
pub(super) type Guid = [u8; 16];

/// The innermost of `contexts` that holds `name`. Names are compared as they are mostly written (RFC 4514): without regard
/// to case, and to blanks around commas and equals signs.
pub(super) fn context_of<'a>(name: &str, contexts: &'a [String]) -> Option<&'a str> {
    let name = plain(name);
    let holds = |context: &String| {
        let context = plain(context);
        name.strip_suffix(&context).is_some_and(|rest| {
            rest.is_empty() || context.is_empty() || rest.ends_with(',') && !rest.ends_with("\\,")
        })
    };
    contexts.iter().filter(|context| holds(context)).max_by_key(|context| context.len()).map(String::as_str)
}

/// Whether two names are the same, as far as [`context_of`] can tell.
pub(super) fn same(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

/// `01234567-89ab-cdef-0123-456789abcdef` (RFC 4122 §3)
pub(super) fn uuid_from_text(text: &[u8]) -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    let mut digits = text.iter().filter(|&&byte| byte != b'-').map(|&byte| char::from(byte).to_digit(16));
    for byte in &mut uuid {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = (high << 4 | low) as u8;
    }
    (digits.next().is_none() && text.len() == 36).then_some(uuid)
}

/// A filter for those of the objects that match `filter` (RFC 4515).
pub(super) fn filter_of_guids(filter: &str, guids: &[Guid]) -> String {
    let mut all = format!("(&{filter}(|");
    for guid in guids {
        all.push_str("(objectGUID=");
        for byte in guid {
            write!(all, "\\{byte:02x}").expect("a string takes everything");
        }
        all.push(')');
    }
    all.push_str("))");
    all
}

fn plain(name: &str) -> String {
    let parts = name.split(',').map(|part| {
        let mut sides = part.splitn(2, '=').map(str::trim);
        let (kind, value) = (sides.next().unwrap_or_default(), sides.next());
        value.map_or_else(|| kind.to_lowercase(), |value| format!("{kind}={value}").to_lowercase())
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_lies_in_the_innermost_context() {
        let contexts =
            ["DC=ad,DC=test", "CN=Configuration,DC=ad,DC=test", "dc=other, dc=test"].map(str::to_owned);
        for (name, context) in [
            ("OU=Staff,DC=ad,DC=test", Some("DC=ad,DC=test")),
            ("ou = Staff, dc=AD , dc=Test", Some("DC=ad,DC=test")),
            ("dc=ad,dc=test", Some("DC=ad,DC=test")),
            ("CN=Sites,CN=Configuration,DC=ad,DC=test", Some("CN=Configuration,DC=ad,DC=test")),
            ("ou=x,DC=other,DC=test", Some("dc=other, dc=test")),
            ("dc=bad,dc=test", None),
            ("cn=a\\,DC=ad,DC=test", None),
            ("dc=test", None),
            ("", None),
        ] {
            assert_eq!(context_of(name, &contexts), context, "{name}");
        }
        assert!(same("DC=ad, DC=test", "dc=AD,dc=test"));
        assert!(!same("DC=ad,DC=test", "OU=x,DC=ad,DC=test"));
    }

    #[test]
    fn uuids_as_text() {
        // RFC 4530 §3
        let uuid = uuid_from_text(b"597ae2f6-16a6-1027-98f4-d28b5365dc14").unwrap();
        assert_eq!(uuid[..4], [0x59, 0x7a, 0xe2, 0xf6]);
        assert_eq!(uuid[15], 0x14);
        for other in ["", "597ae2f6-16a6-1027-98f4-d28b5365dc1", "597ae2f6-16a6-1027-98f4-d28b5365dc1g", "-"]
        {
            assert_eq!(uuid_from_text(other.as_bytes()), None, "{other}");
        }
        assert_eq!(
            uuid_from_text(b"597ae2f616a6102798f4d28b5365dc14----"),
            Some(uuid),
            "only its digits count"
        );
    }

    #[test]
    fn filters_of_objects() {
        let mut guid = [0; 16];
        (guid[0], guid[15]) = (0x28, 0xff);
        assert_eq!(
            filter_of_guids("(mail=*)", &[guid, guid]),
            format!("(&(mail=*)(|{0}{0}))", format!("(objectGUID=\\28{}\\ff)", "\\00".repeat(14)))
        );
        let parsed = ldap3::parse_filter(filter_of_guids("(|(mail=*)(!(a=b)))", &[guid]));
        assert!(parsed.is_ok());
    }
}
