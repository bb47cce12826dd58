//! Lines of a text file, of bounded length, as written or joined as Postfix joins them.

use std::io::{self, BufRead};

/// A longer line is cut here; what comes after is read and dropped.
pub const LINE_LIMIT: usize = 64 * 1024;

/// Reads lines into one buffer that is used again for each.
///
/// A byte order mark at the start of the file, and CR before LF, are dropped.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    number: u64,
}

/// A line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1; of a joined line, where it begins.
    pub number: u64,
    /// The bytes, at most [`LINE_LIMIT`].
    pub text: &'a [u8],
    /// The line was longer than that.
    pub cut: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines from the start of a file.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), number: 0 }
    }

    /// The next line as it stands in the file.
    ///
    /// # Errors
    /// Those of the reader.
    #[expect(clippy::should_implement_trait, reason = "it lends its buffer, which an Iterator can't")]
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let Some(cut) = self.append()? else { return Ok(None) };
        Ok(Some(Line { number: self.number, text: &self.buffer, cut }))
    }

    /// The next logical line, postmap(1): a line that starts with whitespace continues the one before;
    /// empty lines, and lines whose first other character is `#`, are ignored and end nothing.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn next_logical(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let (number, mut cut) = loop {
            let Some(cut) = self.append()? else { return Ok(None) };
            if !is_comment(&self.buffer) {
                break (self.number, cut);
            }
            self.buffer.clear();
        };
        while self.peek()?.is_some_and(|byte| byte == b'#' || is_blank(byte)) {
            let end = self.buffer.len();
            cut |= self.append()?.unwrap_or(false);
            if is_comment(&self.buffer[end..]) {
                self.buffer.truncate(end);
            }
        }
        Ok(Some(Line { number, text: &self.buffer, cut }))
    }

    /// What follows the last line, for a format that has more than lines.
    pub fn rest(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Appends one line to the buffer. Whether it was cut; `None` at the end of the file.
    fn append(&mut self) -> io::Result<Option<bool>> {
        let start = self.buffer.len();
        let (mut cut, mut any) = (false, false);
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            any = true;
            // memchr(3): a line may be of gigabytes.
            let mut rest = chunk;
            let used = rest.skip_until(b'\n')?;
            let has_end = chunk[..used].ends_with(b"\n");
            let line = &chunk[..used - usize::from(has_end)];
            // One byte more than the limit, for the CR.
            let room = (LINE_LIMIT + 1).saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(&line[..line.len().min(room)]);
            cut |= line.len() > room;
            self.reader.consume(used);
            if has_end {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        if !cut && self.buffer.len() > start && self.buffer.last() == Some(&b'\r') {
            self.buffer.pop();
        }
        if self.buffer.len() > LINE_LIMIT {
            self.buffer.truncate(LINE_LIMIT);
            cut = true;
        }
        if self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
            self.buffer.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Some(cut))
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.reader.fill_buf() {
                Ok(chunk) => return Ok(chunk.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// isspace(3) in the C locale.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Nothing but whitespace, or a comment.
fn is_comment(line: &[u8]) -> bool {
    line.iter().find(|&&byte| !is_blank(byte)).is_none_or(|&byte| byte == b'#')
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    fn physical(text: &[u8], chunk: usize) -> Vec<(u64, Vec<u8>, bool)> {
        let mut lines = Lines::new(BufReader::with_capacity(chunk, text));
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push((line.number, line.text.to_vec(), line.cut));
        }
        found
    }

    fn logical(text: &[u8]) -> Vec<(u64, String)> {
        let mut lines = Lines::new(text);
        let mut found = Vec::new();
        while let Some(line) = lines.next_logical().unwrap() {
            found.push((line.number, String::from_utf8(line.text.to_vec()).unwrap()));
        }
        found
    }

    #[test]
    fn line_ends_and_the_byte_order_mark_are_dropped() {
        for (text, expected) in [
            (&b""[..], vec![]),
            (b"\n", vec![""]),
            (b"a", vec!["a"]),
            (b"a\nb", vec!["a", "b"]),
            (b"a\r\nb\r\n", vec!["a", "b"]),
            (b"a\r\r\n\rb\n", vec!["a\r", "\rb"]),
            (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", vec!["a", "\u{feff}b"]),
            (b"\xef\xbb\xbf", vec![""]),
        ] {
            let found: Vec<_> =
                physical(text, 3).into_iter().map(|(_, line, _)| String::from_utf8(line).unwrap()).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    /// postmap(1), TABLE FORMAT.
    #[test]
    fn logical_lines_are_joined() {
        for (text, expected) in [
            ("a 1\nb 2\n", vec![(1, "a 1"), (2, "b 2")]),
            ("a 1\n  2\n\t3\nb 4", vec![(1, "a 1  2\t3"), (4, "b 4")]),
            ("# no\n\n   \n #no\na 1\n", vec![(5, "a 1")]),
            ("a 1\n# between\n\n  2\nb", vec![(1, "a 1  2"), (5, "b")]),
            ("a 1\r\n\r\n  2\r\n", vec![(1, "a 1  2")]),
            ("  a 1\nb", vec![(1, "  a 1"), (2, "b")]),
            ("a", vec![(1, "a")]),
            ("", vec![]),
            ("#", vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(n, line)| (n, line.to_owned())).collect();
            assert_eq!(logical(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn the_limit_is_exact() {
        for (length, cut) in
            [(LINE_LIMIT - 1, false), (LINE_LIMIT, false), (LINE_LIMIT + 1, true), (3 * LINE_LIMIT, true)]
        {
            for end in ["\n", "\r\n", ""] {
                let mut text = vec![b'x'; length];
                text.extend_from_slice(end.as_bytes());
                if !end.is_empty() {
                    text.extend_from_slice(b"next");
                }
                let found = physical(&text, 8192);
                assert_eq!(found[0].1.len(), length.min(LINE_LIMIT));
                assert_eq!(found[0].2, cut, "{length} {end:?}");
                assert_eq!(found.len(), if end.is_empty() { 1 } else { 2 });
            }
        }
    }

    #[test]
    fn a_joined_line_is_bounded_too() {
        let text = "a 1\n".to_owned() + &format!("  {}\n", "x".repeat(1000)).repeat(1000) + "b 2\n";
        let mut lines = Lines::new(text.as_bytes());
        let long = lines.next_logical().unwrap().unwrap();
        assert_eq!((long.text.len(), long.cut), (LINE_LIMIT, true));
        assert_eq!(lines.next_logical().unwrap().unwrap().text, b"b 2");
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), any::<u8>()], 0..200), chunk in 1_usize..20) {
            prop_assert_eq!(physical(&text, chunk), physical(&text, 1 << 16));
        }

        #[test]
        fn lines_joined_again_are_the_text(text in "([a-z#\t ]{0,9}\n){0,9}") {
            let joined: Vec<u8> = physical(text.as_bytes(), 7).into_iter().flat_map(|(_, mut line, _)| { line.push(b'\n'); line }).collect();
            prop_assert_eq!(joined, text.as_bytes());
        }
    }
}
