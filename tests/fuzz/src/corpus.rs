//! A corpus as one file: an input a line, in ASCII (`\x00`, `\n`, `\\`), in order.

use std::collections::BTreeSet;

/// Inputs as the lines of a file, each once; short ones first. Of more than [`MOST`] bytes the shortest.
#[must_use]
pub fn pack(inputs: impl IntoIterator<Item = Vec<u8>>) -> String {
    let ordered: BTreeSet<_> = inputs.into_iter().map(|input| (input.len(), input)).collect();
    let with_sum = ordered.iter().scan(0, |sum, (length, input)| {
        *sum += length;
        Some((*sum, input))
    });
    let kept = with_sum.take_while(|(sum, _)| *sum <= MOST);
    kept.map(|(_, input)| format!("{}\n", input.escape_ascii())).collect()
}

/// A corpus is read by people, too.
const MOST: usize = 24 * 1024;

/// The inputs of such a file; `Err` has the number of the line that is none.
///
/// # Errors
/// When a line is not what [`pack`] writes.
pub fn unpack(text: &str) -> Result<Vec<Vec<u8>>, usize> {
    text.lines().enumerate().map(|(at, line)| input(line).ok_or(at + 1)).collect()
}

fn input(line: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut letters) = (Vec::new(), line.bytes());
    while let Some(letter) = letters.next() {
        bytes.push(match letter {
            b'\\' => match letters.next()? {
                b'x' => {
                    let digits = [letters.next()?, letters.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                quoted @ (b'\\' | b'\'' | b'"') => quoted,
                _ => return None,
            },
            b' '..=b'~' => letter,
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacking_undoes_packing() {
        let every: Vec<u8> = (0..=255).collect();
        let inputs = vec![b"b".to_vec(), b"\\x\"'\n".to_vec(), every];
        let packed = pack([inputs[2].clone(), inputs[1].clone(), inputs[0].clone(), inputs[1].clone()]);
        assert_eq!(unpack(&packed), Ok(inputs));
        assert_eq!(unpack(&pack([vec![b'a'; MOST], vec![b'b'; MOST - 1], b"c".to_vec()])).unwrap().len(), 2);
        assert_eq!(unpack("a\n\\q\n"), Err(2));
        assert_eq!(unpack("\\x0"), Err(1));
    }
}
