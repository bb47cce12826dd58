//! What servers answer over SMTP; text in LDAP filters.

use backstop::{
    directory::fuzz_ldap_filter,
    net::smtp_reply::{Reader, Reply, ReplyError},
};

/// As text.
pub(crate) fn filter(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        fuzz_ldap_filter(text);
    }
}

/// How a stream is cut does not matter, and what is kept of it can be printed.
pub(crate) fn smtp(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(read(bytes, usize::from(*piece).max(1)), whole);
    for reply in whole.0 {
        assert!((200..=599).contains(&reply.code), "{reply:?}");
        assert!(
            reply.lines.iter().all(|line| line.bytes().all(|byte| (b' '..=b'~').contains(&byte))),
            "{reply:?}"
        );
    }
}

fn read(bytes: &[u8], piece: usize) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut reader, mut replies) = (Reader::default(), Vec::new());
    for part in bytes.chunks(piece) {
        reader.push(part);
        loop {
            match reader.take() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}
