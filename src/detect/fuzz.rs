//! What the programs of MTAs print, and what is in their files, through the readers of this part. For tests/fuzz.

use super::{Findings, cdb, dovecot, postfix::fuzz_postfix, sendmail::fuzz_sendmail};

/// One text as each of them.
///
/// # Panics
/// Where a record of a map is not in its file.
pub fn fuzz_detect(bytes: &[u8]) {
    if let Ok(records) = cdb::records(bytes) {
        let held: usize = records.iter().map(|(key, data)| key.len() + data.len()).sum();
        assert!(held < bytes.len(), "more than the file holds");
    }
    let text = String::from_utf8_lossy(bytes);
    fuzz_postfix(&text);
    fuzz_sendmail(&text);
    let mut findings = Findings::default();
    dovecot::find(Ok(text.into_owned()), &mut findings);
}
