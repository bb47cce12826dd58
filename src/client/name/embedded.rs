//! Finds the address of a client in its name, in the forms that providers give their lines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::host::{Host, Token};

/// How much of an address a name spells out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Embedded {
    /// Nothing that could not be chance.
    No,
    /// The last octet, of two digits at least: it needs more to mean something.
    Last,
    /// Twelve hexadecimal digits, as modems and network cards have.
    Hardware,
    /// The last two octets.
    Tail,
    /// Three octets with the last, the address as a number, or the network of an IPv6 address.
    Address,
}

/// Looks for the address in the host part of a name.
pub(super) fn find(client: IpAddr, host: &Host<'_>, tokens: &[Token<'_>]) -> Embedded {
    match client.to_canonical() {
        IpAddr::V4(address) => find_v4(address, host, tokens),
        IpAddr::V6(address) if has_network(address, host) => Embedded::Address,
        IpAddr::V6(_) if host.parts().any(ends_with_hardware_address) => Embedded::Hardware,
        IpAddr::V6(_) => Embedded::No,
    }
}

fn find_v4(address: Ipv4Addr, host: &Host<'_>, tokens: &[Token<'_>]) -> Embedded {
    let numbers: Vec<&str> =
        tokens.iter().filter(|token| token.is_number()).map(|token| token.text).collect();
    let [a, b, c, d] = address.octets().map(Octet::of);
    let number = u32::from(address);
    if [number, number.swap_bytes()].into_iter().any(|number| is_number(number, host, &numbers))
        || in_any_order(&mut [&a, &b, &c, &d], &numbers)
        // The first octets are often left out, since the provider's network begins with them all.
        || in_any_order(&mut [&b, &c, &d], &numbers)
        || in_any_order(&mut [&a, &c, &d], &numbers)
        || in_any_order(&mut [&a, &b, &d], &numbers)
    {
        return Embedded::Address;
    }
    let hex = format!("{:04x}", number & 0xffff);
    if in_any_order(&mut [&c, &d], &numbers) || host.parts().any(|part| part == hex) {
        return Embedded::Tail;
    }
    if host.parts().any(ends_with_hardware_address) {
        return Embedded::Hardware;
    }
    if d.plain.len() > 1 && numbers.iter().any(|number| d.forms().any(|form| form == *number)) {
        return Embedded::Last;
    }
    Embedded::No
}

/// Whether a part ends in an EUI-48 (RFC 9542 §2.1). Of twelve hexadecimal digits chosen by chance, seldom fewer than four
/// are decimal; of letters that make a word, more.
fn ends_with_hardware_address(part: &str) -> bool {
    let (before, digits) = part.split_at(part.len().saturating_sub(12));
    digits.len() == 12
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && digits.bytes().filter(u8::is_ascii_digit).count() >= 4
        && digits.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !before.ends_with(|c: char| c.is_ascii_digit())
}

/// Whether a name has the address as one number: in hexadecimal anywhere, since eight digits are not right by chance,
/// in decimal or with base 32 as a part of its own.
fn is_number(number: u32, host: &Host<'_>, numbers: &[&str]) -> bool {
    let decimal = number.to_string();
    let base_32 = base_32(number);
    host.text.contains(&format!("{number:08x}"))
        || numbers.contains(&decimal.as_str())
        || host.parts().any(|part| part == base_32)
}

fn base_32(mut number: u32) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        digits.extend(char::from_digit(number % 32, 32));
        number /= 32;
    }
    digits.iter().rev().collect()
}

/// Whether numbers that follow each other are these octets in any order. At most four octets: few orders.
fn in_any_order(octets: &mut [&Octet], numbers: &[&str]) -> bool {
    orders(octets, 0, &mut |order| {
        (0..numbers.len()).any(|at| spells(order, numbers[at], &numbers[at + 1..]))
    })
}

/// Tries all orders of what stands from `at` on.
fn orders(octets: &mut [&Octet], at: usize, accept: &mut dyn FnMut(&[&Octet]) -> bool) -> bool {
    if at == octets.len() {
        return accept(octets);
    }
    for other in at..octets.len() {
        octets.swap(at, other);
        let accepted = orders(octets, at + 1, accept);
        octets.swap(at, other);
        if accepted {
            return true;
        }
    }
    false
}

/// Whether the numbers are these octets in this order: plain or filled with zeros, apart or run together, but never
/// a part of a longer number. An octet has two forms, so what is tried is bounded.
fn spells(octets: &[&Octet], number: &str, rest: &[&str]) -> bool {
    // `12` is not 1 and 2.
    let may_join = octets.len() > 2 || number.len() >= SHORTEST_PAIR;
    spells_on(octets, number, rest, may_join)
}

/// As [`spells`], where `left` is what is left of the present number.
fn spells_on(octets: &[&Octet], left: &str, rest: &[&str], may_join: bool) -> bool {
    let [octet, others @ ..] = octets else { return false };
    octet.forms().any(|form| match (left.strip_prefix(form), rest) {
        (Some(""), _) if others.is_empty() => true,
        (Some(""), [next, rest @ ..]) => spells_on(others, next, rest, may_join),
        (Some(left), _) if !left.is_empty() && may_join => spells_on(others, left, rest, may_join),
        _ => false,
    })
}

/// An octet as it is written.
struct Octet {
    plain: String,
    filled: String,
}

impl Octet {
    fn of(octet: u8) -> Self {
        Self { plain: octet.to_string(), filled: format!("{octet:03}") }
    }

    fn forms(&self) -> impl Iterator<Item = &str> {
        let filled = (self.filled != self.plain).then_some(self.filled.as_str());
        std::iter::once(self.plain.as_str()).chain(filled)
    }
}

/// Whether a name has the first 64 bits of an address: what a line gets is a network of at least that size. As digits
/// without gaps, forwards or backwards (RFC 3596 §2.5 has them backwards), or as groups, filled or not.
fn has_network(address: Ipv6Addr, host: &Host<'_>) -> bool {
    let digits = format!("{:016x}", u128::from(address) >> 64);
    let backwards: String = digits.chars().rev().collect();
    let together: String = host.parts().collect();
    if together.contains(&digits) || together.contains(&backwards) {
        return true;
    }
    let [a, b, c, d, ..] = address.segments();
    let groups = format!("{a:x}-{b:x}-{c:x}-{d:x}-");
    // Zeros may be left out, as in `2001-db8--1`.
    let short = address.to_string().replace(':', "-");
    let text = host.text.replace(['.', '_'], "-") + "-";
    text.contains(&groups) || text.contains(&(short + "-"))
}

/// Two octets without anything between them make at least so long a number.
const SHORTEST_PAIR: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded(client: &str, text: &str) -> Embedded {
        let host = Host { text };
        let tokens: Vec<_> = host.tokens().collect();
        find(client.parse().unwrap(), &host, &tokens)
    }

    /// Each form as some provider has it.
    #[test]
    fn forms() {
        use Embedded::{Address, Hardware, Last, No, Tail};
        for (client, host, expected) in [
            // four octets: in order, backwards, the last first, otherwise; with anything between
            ("151.203.19.38", "pool-151-203-19-38.bos.east", Address),
            ("61.30.108.73", "73.108.30.61.isp", Address),
            ("80.32.90.157", "157.red-80-32-90.pooles", Address),
            ("80.16.80.115", "host115-80.pool8016", Address),
            ("212.30.103.228", "228.103-30-212.9massy1-1-ro-as-i2-2", Address),
            ("24.25.236.39", "a24b25n236client39", Address),
            // filled, run together
            ("68.16.98.2", "adsl-068-016-098-002.sip.asm", Address),
            ("64.0.118.58", "w058.z064000118.buf-ny.dsl", Address),
            ("200.42.49.181", "a200042049181.rev", Address),
            ("203.186.114.131", "203186114131", Address),
            ("24.27.121.96", "cs2427121-96", Address),
            // three
            ("66.157.233.109", "adsl-157-233-109.jax", Address),
            ("66.92.151.122", "dsl092-151-122.wdc1.dsl", Address),
            ("66.233.7.222", "cdm-66-7-222-bent", Address),
            // as a number
            ("217.80.138.61", "pd9508a3d.dip", Address),
            ("194.250.150.98", "c2fa9662.adsl", Address),
            ("1.2.3.4", "x04030201", Address),
            ("1.2.3.4", "host-16909060", Address),
            ("66.32.184.43", "user-1121e1b.dsl", Address),
            // two
            ("166.84.159.98", "159-98.nyc.dsl", Tail),
            ("24.232.128.60", "ol60-128", Tail),
            ("200.45.110.250", "host110250", Tail),
            ("62.194.12.115", "node-c-0c73", Tail),
            // chance, and parts of other numbers
            ("10.0.1.2", "mail12", No),
            ("10.0.1.2", "mail-012", No),
            ("192.0.2.1", "192-0-2", No),
            ("192.0.2.1", "1192-0-2-1", No),
            ("192.0.2.1", "192-0-2-11", No),
            ("198.51.100.7", "web7", No),
            ("198.51.100.77", "web77", Last),
            ("12.102.21.142", "142.muaab.cmbr.dsl", Last),
            ("198.51.100.77", "web777", No),
            ("24.60.36.142", "h00306548b0d2.ne", Hardware),
            ("24.60.36.142", "abcdefabcdef", No),
            ("24.60.36.142", "200306548002", No),
            ("198.51.100.7", "", No),
            // IPv6
            ("2001:db8:8a2e:12::5", "p20010db88a2e00120000000000000005.dip0", Address),
            ("2001:db8:8a2e:12::5", "2001-db8-8a2e-12-0-0-0-5.dyn", Address),
            ("2001:db8:8a2e:12::5", "2001-0db8-8a2e-0012.cust", Address),
            ("2001:db8:8a2e:12::5", "2.1.0.0.e.2.a.8.8.b.d.0.1.0.0.2.ip", Address),
            ("2001:db8::5", "host-2001-db8--5", Address),
            ("2001:db8:8a2e:12::5", "2001-db8-8a2e-123-0-0-0-5.dyn", No),
            ("2001:db8:8a2e:12::5", "mail5", No),
            ("::ffff:151.203.19.38", "pool-151-203-19-38.bos.east", Address),
        ] {
            assert_eq!(embedded(client, host), expected, "{client} {host}");
        }
    }
}
