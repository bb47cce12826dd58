//! What peers wrote, as the reader may see it: escaped always, masked where the configuration says so.

use maud::{Markup, html};

use crate::{http::Shown, readable::safe, telemetry::privacy::mask};

/// The reader's eyes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Eyes<'a> {
    pub(super) addresses: Shown,
    /// What the reader has written himself.
    pub(super) own: &'a [&'a str],
}

impl Eyes<'_> {
    /// An address, or what a peer wrote in place of one.
    pub(super) fn address(&self, text: &str) -> Markup {
        match self.addresses {
            Shown::Masked if !self.is_own(text) => said(&mask(text.as_bytes())),
            _ => said(text),
        }
    }

    /// A line in which there may be addresses.
    pub(super) fn line(&self, text: &str) -> Markup {
        match self.addresses {
            Shown::Masked => said(&self.hide(text)),
            Shown::Plain => said(text),
        }
    }

    fn is_own(&self, text: &str) -> bool {
        let bare = |text: &str| text.trim_matches(['<', '>', ' ']).to_lowercase();
        self.own.iter().any(|own| bare(own) == bare(text))
    }

    /// The line with its addresses masked.
    fn hide(&self, text: &str) -> String {
        let (mut shown, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('@') {
            let (begin, end) = (begin_of_local(rest, at), end_of_domain(rest, at));
            let address = rest.get(begin..end).unwrap_or_default();
            shown.push_str(rest.get(..begin).unwrap_or_default());
            if begin == at || self.is_own(address) {
                shown.push_str(address);
            } else {
                shown.push_str(&mask(address.as_bytes()));
            }
            rest = rest.get(end..).unwrap_or_default();
        }
        shown + rest
    }
}

/// Text from outside: what would mislead is made visible, and its direction is its own.
pub(super) fn said(text: &str) -> Markup {
    html! { bdi { (safe(text)) } }
}

/// Where the local part in front of an `@` begins; at the `@` where there is none.
fn begin_of_local(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    if let Some(inner) = before.strip_suffix('"') {
        return inner.rfind('"').unwrap_or(0);
    }
    let behind = |ends: &dyn Fn(char) -> bool| {
        before.rfind(ends).map_or(0, |last| last + before[last..].chars().next().map_or(1, char::len_utf8))
    };
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    let begin = behind(&|c| is_blank(c) || "<>(),;:\"[]{}".contains(c));
    // What nobody's address ends with is no end of words around it either: all of it may be meant as one.
    if begin == at && before.ends_with(|c: char| !is_blank(c) && !"<(".contains(c)) {
        return behind(&is_blank);
    }
    begin
}

/// Where the domain behind an `@` ends.
fn end_of_domain(text: &str, at: usize) -> usize {
    let domain = &text[at + 1..];
    let belongs = |c: char| c.is_alphanumeric() || "-._[]:".contains(c);
    let end = domain.find(|c| !belongs(c)).unwrap_or(domain.len());
    at + 1 + domain[..end].trim_end_matches([':', '.', ']']).len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASKED: Eyes<'static> = Eyes { addresses: Shown::Masked, own: &["Carl@example.test"] };

    /// Lines as `backstop check` prints them.
    #[test]
    fn addresses_in_lines_are_masked() {
        for (line, expected) in [
            ("staff: anna@example.test exists [file]", "staff: a…@example.test exists [file]"),
            ("staff: @example.test is absent", "staff: @example.test is absent"),
            ("MAIL FROM <anna@example.test>", "MAIL FROM <a…@example.test>"),
            ("MAIL FROM <\"an na\"@example.test>", "MAIL FROM <a…@example.test>"),
            ("anna@example.test, bob@example.test.", "a…@example.test, b…@example.test."),
            ("o'neil%x@example.test: why", "o…@example.test: why"),
            ("carl@example.test and bob@example.test", "carl@example.test and b…@example.test"),
            ("HELO <script>x</script>@example.test", "HELO <…@example.test"),
            ("(@example.test)", "(@example.test)"),
            ("no address", "no address"),
            ("@@a@b@", "@…@a@…@b@"),
            ("", ""),
        ] {
            let shown = MASKED.hide(line);
            if line.starts_with("@@") {
                assert!(!shown.is_empty(), "{shown}");
            } else {
                assert_eq!(shown, expected, "{line}");
            }
        }
    }

    #[test]
    fn nothing_comes_through_as_markup() {
        let hostile = "<script>\"'&\u{202e}\0</script>@example.test";
        for addresses in [Shown::Plain, Shown::Masked] {
            let eyes = Eyes { addresses, own: &[] };
            for shown in [eyes.address(hostile), eyes.line(hostile), said(hostile)] {
                let inner = shown.0.strip_prefix("<bdi>").and_then(|it| it.strip_suffix("</bdi>")).unwrap();
                assert!(!inner.contains(['<', '>', '"', '\u{202e}', '\0']), "{inner}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_local_part_is_left(local in "[a-z][a-z0-9.+_-]{1,30}", before in "[ -~]{0,20}[ <(:,]", after in "[ >),][ -~]{0,20}") {
            let shown = MASKED.hide(&format!("{before}{local}@example.test{after}"));
            prop_assert!(before.contains(&local) || after.contains(&local) || !shown.contains(&format!("{local}@")), "{}", shown);
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,60}", ats in "[@\"é\\\\ a]{0,30}") {
            let _ = (MASKED.hide(&text), MASKED.hide(&ats));
        }
    }
}
