//! What peers wrote, as the reader may see it: escaped always, masked where the configuration says so.

use maud::{Markup, html};

use crate::{
    http::Shown,
    readable::safe,
    telemetry::privacy::{each_address, mask},
};

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
        let show = |address: &str| match self.is_own(address) {
            true => address.to_owned(),
            false => mask(address.as_bytes()),
        };
        each_address(text, show)
    }
}

/// Text from outside: what would mislead is made visible, and its direction is its own.
pub(super) fn said(text: &str) -> Markup {
    html! { bdi { (safe(text)) } }
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
            ("to \"anna\\\"smith\"@example.test", "to a…@example.test"),
            ("anna{smith@example.test", "a…@example.test"),
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
