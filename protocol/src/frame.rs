//! Framing: `u32be length | byte | payload[length - 1]`, the same in both directions.
//!
//! A frame is only looked at, never copied; the buffer is the caller's, and it need grow only as bytes arrive:
//! nothing here allocates, and a length that is 0 or over the limit is an error as soon as its four bytes are there.
//! After a [`FrameError`] the stream has lost its step and must be closed.

use bytes::{BufMut, BytesMut};

/// The largest payload of a command that libmilter takes and that Postfix and Sendmail send (`MILTER_CHUNK_SIZE`).
pub const COMMAND_LIMIT: usize = 65_535;

/// One frame without its length word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'i> {
    /// The first byte: which command or reply.
    pub code: u8,
    /// The rest.
    pub payload: &'i [u8],
}

impl Frame<'_> {
    /// Appends the frame with its length word.
    pub fn encode(&self, output: &mut BytesMut) {
        write_frame(output, self.code, |output| output.put_slice(self.payload));
    }
}

/// Why a stream can't be cut into frames. There is no way to go on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Length 0: not even a command byte.
    #[error("frame of length 0")]
    Empty,
    /// The payload would be longer than the limit.
    #[error("frame of length {length}, over the limit of {limit} bytes of payload")]
    TooLong {
        /// The length word as received: payload and one byte.
        length: u32,
        /// The largest payload allowed.
        limit: usize,
    },
}

/// Takes the first frame off `input`, which is advanced behind it. `None`: more bytes are needed, and `input` is untouched.
///
/// `limit` is the largest payload allowed, in bytes.
///
/// # Errors
/// As soon as the length word is there and is 0 or too large.
pub fn next_frame<'i>(input: &mut &'i [u8], limit: usize) -> Result<Option<Frame<'i>>, FrameError> {
    let Some((word, rest)) = input.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*word);
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    if size == 0 {
        return Err(FrameError::Empty);
    }
    if size - 1 > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    let Some((frame, rest)) = rest.split_at_checked(size) else { return Ok(None) };
    *input = rest;
    Ok(frame.split_first().map(|(&code, payload)| Frame { code, payload }))
}

/// Appends a frame whose payload `write` appends.
pub(crate) fn write_frame(output: &mut BytesMut, code: u8, write: impl FnOnce(&mut BytesMut)) {
    let start = output.len();
    output.put_u32(0);
    output.put_u8(code);
    write(output);
    let length =
        u32::try_from(output.len() - start - 4).expect("a frame that was built in memory is below 4 GiB");
    output[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixed(length: u32, bytes: &[u8]) -> Vec<u8> {
        [&length.to_be_bytes()[..], bytes].concat()
    }

    #[test]
    fn lengths_at_the_edges() {
        type Expected = Result<Option<(u8, usize)>, FrameError>;
        let table: [(Vec<u8>, Expected); 8] = [
            (vec![], Ok(None)),
            (vec![0, 0, 0], Ok(None)),
            (prefixed(0, b"c"), Err(FrameError::Empty)),
            (prefixed(1, b""), Ok(None)),
            (prefixed(1, b"c"), Ok(Some((b'c', 0)))),
            (prefixed(11, &[b'B'; 11]), Ok(Some((b'B', 10)))),
            (prefixed(12, b""), Err(FrameError::TooLong { length: 12, limit: 10 })),
            (prefixed(u32::MAX, b""), Err(FrameError::TooLong { length: u32::MAX, limit: 10 })),
        ];
        for (bytes, expected) in table {
            let mut input = &bytes[..];
            let got = next_frame(&mut input, 10);
            assert_eq!(got.map(|f| f.map(|f| (f.code, f.payload.len()))), expected, "{bytes:?}");
            let consumed = matches!(expected, Ok(Some(_)));
            assert_eq!(input.len(), if consumed { 0 } else { bytes.len() }, "{bytes:?}");
        }
    }

    #[test]
    fn frames_follow_each_other() {
        let mut output = BytesMut::new();
        Frame { code: b'H', payload: b"a\0" }.encode(&mut output);
        Frame { code: b'Q', payload: b"" }.encode(&mut output);
        assert_eq!(&output[..], b"\0\0\0\x03Ha\0\0\0\0\x01Q");
        let mut input = &output[..];
        assert_eq!(next_frame(&mut input, 2).unwrap().unwrap().payload, b"a\0");
        assert_eq!(next_frame(&mut input, 2).unwrap().unwrap().code, b'Q');
        assert_eq!(next_frame(&mut input, 2), Ok(None));
    }
}
