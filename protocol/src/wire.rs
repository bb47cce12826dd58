//! The primitives that every parser here is made of: a C string, a list of them, a u32, the rest.
//!
//! They are nom parsers over complete input (a frame is whole), borrow from it, and never allocate. [`all`] makes a parser
//! of a whole payload: leftover bytes are refused.

use bytes::{BufMut, BytesMut};
use nom::combinator::{all_consuming, rest, verify};
use nom::error::ErrorKind;
use nom::{IResult, Parser};

/// Why a payload does not have the shape of its command. The place is of no use to anyone: payloads are short.
pub(crate) type WireError<'i> = nom::error::Error<&'i [u8]>;

/// `byte* NUL`, without the NUL.
pub(crate) fn c_string(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let end = memchr::memchr(0, input).ok_or(nom::Err::Error(WireError::new(input, ErrorKind::TakeUntil)))?;
    Ok((&input[end + 1..], &input[..end]))
}

/// `(byte* NUL)*`: what is left, as it is; empty, or with a NUL at its end.
pub(crate) fn c_strings(input: &[u8]) -> IResult<&[u8], CStrings<'_>> {
    verify(rest, |bytes: &[u8]| bytes.last().is_none_or(|&last| last == 0)).map(CStrings).parse(input)
}

/// Runs `parser` on the whole payload. `None`: it has another shape, or bytes are left over.
pub(crate) fn all<'i, T>(
    parser: impl Parser<&'i [u8], Output = T, Error = WireError<'i>>,
    payload: &'i [u8],
) -> Option<T> {
    all_consuming(parser).parse(payload).ok().map(|(_, value)| value)
}

/// A list of C strings, still in its wire form: `(byte* NUL)*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CStrings<'i>(&'i [u8]);

impl<'i> CStrings<'i> {
    /// Takes the wire form. `None` if it is neither empty nor ends with a NUL.
    #[must_use]
    pub fn from_wire(bytes: &'i [u8]) -> Option<CStrings<'i>> {
        all(c_strings, bytes)
    }

    /// The strings, without their NUL.
    pub fn iter(&self) -> impl Iterator<Item = &'i [u8]> + use<'i> {
        let terminated = self.0.strip_suffix(&[0]);
        terminated.into_iter().flat_map(|bytes| bytes.split(|&byte| byte == 0))
    }

    /// The wire form.
    #[must_use]
    pub fn as_wire(&self) -> &'i [u8] {
        self.0
    }

    /// Whether there is no string at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends `bytes` and a NUL. A NUL within `bytes` ends the string there, as in C: it can never become two strings.
pub(crate) fn put_c_string(output: &mut BytesMut, bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    output.put_slice(&bytes[..end]);
    output.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_strings() {
        type Expected = Option<Vec<&'static [u8]>>;
        let table: [(&[u8], Expected); 6] = [
            (b"", Some(vec![])),
            (b"\0", Some(vec![b""])),
            (b"a\0", Some(vec![b"a"])),
            (b"a\0\0b\0", Some(vec![b"a", b"", b"b"])),
            (b"a", None),
            (b"a\0b", None),
        ];
        for (bytes, expected) in table {
            assert_eq!(CStrings::from_wire(bytes).map(|list| list.iter().collect()), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_nul_ends_a_string() {
        let mut output = BytesMut::new();
        put_c_string(&mut output, b"a\0b");
        assert_eq!(&output[..], b"a\0");
    }
}
