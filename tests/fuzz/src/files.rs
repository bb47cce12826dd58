//! Files that others write: lists of recipients, tables of expressions, logs.

use backstop::{
    directory::file::{Format, fuzz_list},
    files::{BadRule, Grammar, Lines, Matched, Table},
    replay::fuzz_log,
};

/// The first byte chooses the format. How the last line ends does not matter, and no list has more than it was told.
pub(crate) fn list(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let formats =
        [Format::Addresses, Format::Aliases, Format::Virtual, Format::Passwd, Format::DovecotPasswd];
    let format = formats[usize::from(*choice) % formats.len()];
    let read = fuzz_list(bytes, format);
    if let Some((index, good, bad)) = &read {
        let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert!(index.len() as u64 <= *good && good + bad <= 2 * lines, "{good} and {bad} of {lines} lines");
    }
    if !bytes.ends_with(b"\n") && !bytes.ends_with(b"\r") && !bytes.ends_with(b"\\") {
        let ended = fuzz_list(&[bytes, b"\n"].concat(), format);
        let facts = |read: &Option<(backstop::directory::Index, u64, u64)>| {
            read.as_ref().map(|(index, good, bad)| (index.len(), *good, *bad))
        };
        assert_eq!(facts(&read), facts(&ended), "with and without a line feed at the end");
    }
}

/// The first byte chooses the grammar; the first line is looked up in a table of the others. The same key has the same answer.
pub(crate) fn table(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let grammar = if choice % 2 == 0 { Grammar::Pcre } else { Grammar::Regexp };
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (key, rules) = bytes.split_at(at);
    let mut table = Table::default();
    let mut is_whole = true;
    let read = table.read(&mut Lines::new(rules), grammar, &mut |_, bad| {
        is_whole &= bad == BadRule::EndWithoutIf;
    });
    assert!(read.is_ok(), "memory can be read");
    let key = String::from_utf8_lossy(key);
    let first = table.find(&key);
    assert!(first == table.find(&key), "{key:?}");
    assert!(is_whole || first != Matched::No, "a rule that was not understood may match anything");
}

/// The first byte says how few bytes come at once. No log has more entries than lines.
pub(crate) fn log(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let entries = fuzz_log(bytes, usize::from(*piece)).len();
    let is_plain = !bytes.starts_with(&[0x1f, 0x8b]);
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(!is_plain || entries <= lines, "{entries} of {lines}");
}
