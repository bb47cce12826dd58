//! Text of others on its way into logs and pages.

use std::cell::Cell;

use backstop::{
    readable,
    telemetry::privacy::{each_address, hash, key, mask},
};

/// Nothing that ends a line, steers a terminal or misleads a reader is left; no address is left where none may be.
pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let safe = readable::safe(&text);
    assert!(!safe.chars().any(|c| c.is_control() || readable::misleads(c)), "{safe:?}");
    assert_eq!(readable::safe(&safe), safe, "twice is once");
    let _ = (mask(bytes), hash(bytes, &key(b"0123456789abcdef")));
    let shown = Cell::new(false);
    let without = each_address(&text, |address| {
        assert!(text.contains(address), "{address:?}");
        shown.set(true);
        "-".to_owned()
    });
    assert!(shown.get() || without == text, "{without:?}");
}
