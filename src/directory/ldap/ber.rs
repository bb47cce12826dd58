//! The outer shape of LDAP messages (BER, RFC 4511 §5.1): where one ends, and whether it is safe to take apart.
//!
//! The LDAP library waits for however many bytes a length announces, and takes nested values apart by recursion. So each
//! message is measured here first: not too long, not too deep, not too many parts, nothing that sticks out of what is
//! around it. Failure: the connection ends.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// A message that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// Longer than [`LONGEST`].
    #[error("a message of the server is too long")]
    Long,
    /// Deeper than [`DEEPEST`], or of more parts than [`MOST_PARTS`].
    #[error("a message of the server is too complex")]
    Complex,
    /// Not BER as RFC 4511 §5.1 restricts it.
    #[error("the server does not speak LDAP")]
    Malformed,
}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(io::ErrorKind::InvalidData, unfit)
    }
}

/// Reads one whole message into `message`; `false`: the connection ended before it. `sealed`: it may also be a buffer
/// of a SASL security layer (RFC 4422 §3.7), which is only measured.
///
/// # Errors
/// [`Unfit`], and what the stream says.
pub(super) async fn read<R: AsyncRead + Unpin>(
    reader: &mut R,
    sealed: bool,
    message: &mut Vec<u8>,
) -> io::Result<bool> {
    message.clear();
    let mut start = [0; 2];
    if reader.read(&mut start[..1]).await? == 0 {
        return Ok(false);
    }
    reader.read_exact(&mut start[1..]).await?;
    message.extend(start);
    let (rest, is_sealed) = match start {
        // Its length, in four bytes, is below 2^24.
        [0, _] if sealed => {
            extend(reader, 2, message).await?;
            (number(&message[1..]), true)
        }
        [SEQUENCE, length @ 0..=0x7f] => (usize::from(length), false),
        [SEQUENCE, length @ 0x81..=0x84] => {
            extend(reader, usize::from(length - 0x80), message).await?;
            (number(&message[2..]), false)
        }
        _ => return Err(Unfit::Malformed.into()),
    };
    if rest > LONGEST {
        return Err(Unfit::Long.into());
    }
    // Memory grows with the bytes that come, not with what is announced.
    extend(reader, rest, message).await?;
    if !is_sealed {
        check(message)?;
    }
    Ok(true)
}

/// Whether a whole message can be taken apart safely.
///
/// # Errors
/// [`Unfit`]
fn check(message: &[u8]) -> Result<(), Unfit> {
    let mut ends = Vec::with_capacity(DEEPEST);
    ends.push(message.len());
    let mut at = 0;
    for _ in 0..MOST_PARTS {
        while ends.last() == Some(&at) {
            ends.pop();
        }
        let Some(&around) = ends.last() else { return Ok(()) };
        let (tag, begin, end) = part(message, at, around).ok_or(Unfit::Malformed)?;
        if tag & CONSTRUCTED == 0 {
            at = end;
        } else if ends.len() == DEEPEST {
            return Err(Unfit::Complex);
        } else {
            ends.push(end);
            at = begin;
        }
    }
    Err(Unfit::Complex)
}

/// The part that begins at `at`: its tag, and where its content begins and ends; `None` if it is longer than what is
/// around it. Tags of several bytes and indefinite lengths do not occur in LDAP.
fn part(message: &[u8], at: usize, around: usize) -> Option<(u8, usize, usize)> {
    let here = message.get(at..around)?;
    let (&tag, &length) = (here.first()?, here.get(1)?);
    let (header, length) = match length {
        0..=0x7f => (2, usize::from(length)),
        0x81..=0x84 => {
            let bytes = here.get(2..2 + usize::from(length - 0x80))?;
            (2 + bytes.len(), number(bytes))
        }
        _ => return None,
    };
    let begin = at + header;
    let end = begin.checked_add(length)?;
    (tag & 0x1f != 0x1f && end <= around).then_some((tag, begin, end))
}

async fn extend<R: AsyncRead + Unpin>(reader: &mut R, count: usize, to: &mut Vec<u8>) -> io::Result<()> {
    let count = count as u64;
    let read = reader.take(count).read_to_end(to).await?;
    if read as u64 == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Big-endian, of at most four bytes.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;

/// Bytes. An entry with 1500 addresses, all that Active Directory sends at once, has about 150 000.
const LONGEST: usize = 16 * 1024 * 1024 - 1;
/// A search result's values are six deep, a control's a little more.
const DEEPEST: usize = 24;
/// Each takes some 60 bytes when the library has taken it apart.
const MOST_PARTS: usize = 200_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read_one(mut bytes: &[u8], sealed: bool) -> Result<Option<Vec<u8>>, String> {
        let mut message = Vec::new();
        match read(&mut bytes, sealed, &mut message).await {
            Ok(true) => Ok(Some(message)),
            Ok(false) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// `bytes` with a header around it.
    fn wrap(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[tag, 0x84], &length[..], bytes].concat()
    }

    #[tokio::test]
    async fn messages_end_where_their_length_says() {
        // RFC 4511 §4.2.2: a bind response, as slapd sends it.
        let bind = [0x30, 0x0c, 2, 1, 1, 0x61, 7, 10, 1, 0, 4, 0, 4, 0];
        let long = wrap(0x30, &wrap(4, &[7; 70_000]));
        for message in [&bind[..], &long, &[0x30, 0]] {
            let followed = [message, b"more"].concat();
            assert_eq!(read_one(&followed, false).await.unwrap().unwrap(), message);
            for cut in 1..message.len().min(100) {
                let error = read_one(&message[..cut], false).await.unwrap_err();
                assert!(error.contains("end of file") || error.contains("early eof"), "{cut}: {error}");
            }
        }
        assert_eq!(read_one(b"", false).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_could_harm_is_not_taken() {
        let deep = |levels| (0..levels).fold(Vec::new(), |inner, _| wrap(0x30, &inner));
        let many = wrap(0x30, &[4, 0].repeat(MOST_PARTS));
        for (bytes, why) in [
            (&b"220 mail.example.com ESMTP\r\n"[..], Unfit::Malformed),
            (&[0x30, 0x80, 0, 0], Unfit::Malformed),
            (&[0x30, 0x85, 1, 0, 0, 0, 0], Unfit::Malformed),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], Unfit::Long),
            (&[0x30, 0x84, 1, 0, 0, 0], Unfit::Long),
            (&[0, 0, 0, 1, 9], Unfit::Malformed),
            // Parts that stick out, or are cut.
            (&[0x30, 3, 4, 2, 0], Unfit::Malformed),
            (&[0x30, 4, 0x30, 5, 4, 0], Unfit::Malformed),
            (&[0x30, 1, 4], Unfit::Malformed),
            (&[0x30, 3, 0x1f, 1, 0], Unfit::Malformed),
            (&deep(DEEPEST), Unfit::Complex),
            (&deep(10_000), Unfit::Complex),
            (&many, Unfit::Complex),
        ] {
            assert_eq!(
                read_one(bytes, false).await.unwrap_err(),
                why.to_string(),
                "{:?}",
                &bytes[..4.min(bytes.len())]
            );
        }
        assert!(read_one(&deep(DEEPEST - 1), false).await.is_ok());
    }

    #[tokio::test]
    async fn sealed_buffers_are_measured_only() {
        let buffer = [0, 0, 0, 3, 0xff, 0xff, 0xff];
        assert_eq!(read_one(&buffer, true).await.unwrap().unwrap(), buffer);
        assert!(read_one(&[0, 0, 0, 3, 1], true).await.is_err());
        assert!(read_one(&[1, 0, 0, 0], true).await.is_err());
    }

    proptest! {
        /// The library takes apart whatever passes, to the last byte, and waits for nothing.
        #[test]
        fn what_passes_can_be_taken_apart(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let message = wrap(0x30, &bytes);
            if check(&message).is_ok() {
                let (rest, _) = ldap3::asn1::parse_tag(&message).expect("it is whole");
                prop_assert!(rest.is_empty());
            }
        }
    }
}
