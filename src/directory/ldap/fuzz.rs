//! What a server sends, and what an administrator writes of it, through the readers of this part. For tests/fuzz.

use futures_util::FutureExt;

use super::{
    ber,
    feed::fuzz_control,
    filter::{Filter, Test, escape},
    object::Object,
    url,
};

/// Messages of a server; and the first byte's control, with the other bytes as its value.
///
/// # Panics
/// Where what is read is not what was sent.
pub fn fuzz_ldap_answers(bytes: &[u8]) {
    for sealed in [false, true] {
        let (mut rest, mut message, mut taken) = (bytes, Vec::new(), 0);
        // Reading from memory never waits.
        while let Some(Ok(true)) = ber::read(&mut rest, sealed, &mut message).now_or_never() {
            let sent = bytes.get(taken..bytes.len() - rest.len());
            assert_eq!(sent, Some(&*message), "another message than was sent");
            taken += message.len();
            for cut in [message.len() - 1, message.len() / 2] {
                let read = ber::read(&mut &message[..cut], sealed, &mut Vec::new()).now_or_never();
                assert!(!matches!(read, Some(Ok(true))), "a message of which {cut} bytes came");
            }
            if message.first() == Some(&0x30) {
                let whole = ldap3::asn1::parse_tag(&message).map(|(rest, _)| rest.is_empty());
                assert!(matches!(whole, Ok(true)), "the library can't take apart what passed");
            }
        }
    }
    if let Some((at, value)) = bytes.split_first() {
        fuzz_control(*at, value);
    }
}

/// Filters and addresses of servers as an administrator writes them; and the text of a client in a filter.
///
/// # Panics
/// Where the text of a client is not the value, or more than the value.
pub fn fuzz_ldap_filter(text: &str) {
    if let Ok(filter) = Filter::parse(text) {
        let _ = filter.judge(&Object::default());
    }
    let _ = (Filter::parse_own(text), url::Server::parse(text, false));
    let written = format!("(mail={})", escape(text));
    let equal = Filter::Item(Some("mail".to_owned()), Test::Equal(text.as_bytes().to_vec()));
    assert_eq!(Filter::parse(&written), Ok(equal), "{written:?}");
}
