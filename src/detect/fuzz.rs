//! What the programs of MTAs print, and what is in their files, through the readers of this part. For tests/fuzz.

use super::{
    cdb,
    dovecot::{self, fuzz_dovecot},
    postfix::fuzz_postfix,
    sendmail::fuzz_sendmail,
};

/// One text as each of them, and as the records of a map.
///
/// # Panics
/// Where something is found that does not stand there, a comment matters, or what was read can't be read again.
pub fn fuzz_detect(bytes: &[u8]) {
    cdb::fuzz_records(bytes);
    cdb::fuzz_records(&cdb::around(bytes));
    let text = String::from_utf8_lossy(bytes);
    fuzz_postfix(&text);
    fuzz_sendmail(&text);
    fuzz_dovecot(&text);
    let mut findings = super::Findings::default();
    dovecot::find(Ok(text.into_owned()), &mut findings);
    assert!(findings.domains.is_empty() && findings.watch.is_empty(), "Dovecot adds no domain: {findings:?}");
}

/// With a comment between its lines.
pub(super) fn commented(text: &str) -> String {
    text.split('\n').collect::<Vec<_>>().join("\n# nothing\n")
}
