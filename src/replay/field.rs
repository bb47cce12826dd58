//! What log lines are made of: addresses in angle brackets and `key=value` pairs, parts of which a client wrote.

use std::net::IpAddr;

/// The address at the start of `text`, in angle brackets or not, without these, and what follows. A `>` or `,` within
/// quotes ends nothing.
pub(super) fn address(text: &str) -> (&str, &str) {
    let is_bracketed = text.starts_with('<');
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '>' if is_bracketed && !is_quoted => return (&text[1..at], &text[at + 1..]),
            ',' if !is_bracketed && !is_quoted => return (&text[..at], &text[at..]),
            _ => {}
        }
    }
    // Quotes that are never closed are no quotes.
    let end = if is_bracketed { text.find('>') } else { text.find(',') };
    match (end, is_bracketed) {
        (Some(end), true) => (&text[1..end], &text[end + 1..]),
        (Some(end), false) => (&text[..end], &text[end..]),
        (None, _) => (text.strip_prefix('<').unwrap_or(text), ""),
    }
}

/// The value of `, key=` in `text`, to the next `, `.
pub(super) fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let mut rest = text;
    loop {
        let field = rest.strip_prefix(", ").unwrap_or(rest);
        let end = field.find(", ").unwrap_or(field.len());
        if let Some(value) = field[..end].strip_prefix(key).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value);
        }
        rest = field.get(end..).filter(|rest| !rest.is_empty())?;
    }
}

/// The name and address of a client as MTAs write them: `mx.example.com[192.0.2.1]`, `mx.example.com [IPv6:2001:db8::1]`.
/// The name only where the MTA has confirmed it.
pub(super) fn client(text: &str) -> Option<(Option<&str>, IpAddr)> {
    let (name, rest) = text.split_once('[')?;
    let (address, rest) = rest.split_once(']')?;
    let address = address.strip_prefix("IPv6:").unwrap_or(address);
    // A zone (`%eth0`) belongs to a link-local address.
    let address: IpAddr = address.split('%').next()?.parse().ok()?;
    let name = name.trim_end();
    let is_confirmed = !name.is_empty() && name != "unknown" && !rest.contains("(may be forged)");
    Some((is_confirmed.then_some(name), address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_end_where_they_end() {
        for (text, expected) in [
            ("<a@x>, relay=none", ("a@x", ", relay=none")),
            ("<>, size=1", ("", ", size=1")),
            ("<\"a>, b\"@x>, relay=none", ("\"a>, b\"@x", ", relay=none")),
            ("<\"a\\\">\"@x>, r", ("\"a\\\">\"@x", ", r")),
            ("<a\"b@x>, relay=none", ("a\"b@x", ", relay=none")),
            ("joe, delay=1", ("joe", ", delay=1")),
            ("\"|/bin/a, b\", ctladdr=<c@x>", ("\"|/bin/a, b\"", ", ctladdr=<c@x>")),
            ("<a@x", ("a@x", "")),
            ("joe", ("joe", "")),
            ("", ("", "")),
            ("<ü@x>,<b@x>", ("ü@x", ",<b@x>")),
        ] {
            assert_eq!(address(text), expected, "{text}");
        }
    }

    #[test]
    fn values_are_found_by_their_key() {
        let text = ", relay=a[1.2.3.4]:25, delay=0.1, dsn=5.1.1, status=bounced (x, dsn=2.0.0)";
        for (key, expected) in [
            ("relay", Some("a[1.2.3.4]:25")),
            ("dsn", Some("5.1.1")),
            ("status", Some("bounced (x")),
            ("elay", None),
            ("delays", None),
        ] {
            assert_eq!(value(text, key), expected, "{key}");
        }
        assert_eq!(value("", "a"), None);
    }

    #[test]
    fn clients_have_a_name_and_an_address() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (text, expected) in [
            ("mx.example.com[192.0.2.1]", Some((Some("mx.example.com"), ip("192.0.2.1")))),
            ("unknown[192.0.2.1]", Some((None, ip("192.0.2.1")))),
            ("mx.example.com [192.0.2.1]", Some((Some("mx.example.com"), ip("192.0.2.1")))),
            ("mx.example.com [192.0.2.1] (may be forged)", Some((None, ip("192.0.2.1")))),
            ("[192.0.2.1]", Some((None, ip("192.0.2.1")))),
            ("a [IPv6:2001:db8::1]", Some((Some("a"), ip("2001:db8::1")))),
            ("a[fe80::1%eth0]", Some((Some("a"), ip("fe80::1")))),
            ("a[::ffff:192.0.2.1]", Some((Some("a"), ip("192.0.2.1")))),
            ("root@localhost", None),
            ("unknown[unknown]", None),
        ] {
            assert_eq!(client(text), expected, "{text}");
        }
    }
}
