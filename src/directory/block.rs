//! Some keys that follow each other, as bytes: what each shares with the one before it is not written again.
//!
//! What a search looks at first is at the beginning. It may be searched, and read, whatever the bytes are.

/// Keys with values of `VALUE` bytes, which all are zero where none is written.
///
/// As bytes: number of keys, and 64 if their tails are long, and 128 if there are values (1 byte); for each key its [`mark`] (2
/// bytes), where its tail ends (1 byte, or 2 of long ones), and, if there are any, its value; the tails. A tail is what follows the
/// shared bytes and the one in the mark. Numbers have the lowest byte first.
struct Block<'a, const VALUE: usize> {
    marks: &'a [[u8; 2]],
    is_long: bool,
    ends: &'a [u8],
    values: &'a [[u8; VALUE]],
    /// And what follows the block.
    tails: &'a [u8],
}

impl<'a, const VALUE: usize> Block<'a, VALUE> {
    /// The block at the beginning of these bytes.
    #[inline]
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let (&head, bytes) = bytes.split_first()?;
        let (keys, is_long) = (usize::from(head & 63), head & LONG != 0);
        let (marks, bytes) = bytes.split_at_checked(keys * 2)?;
        let (ends, bytes) = bytes.split_at_checked(keys << u8::from(is_long))?;
        let (values, tails) = bytes.split_at_checked(if head & VALUES != 0 { keys * VALUE } else { 0 })?;
        Some(Self { marks: marks.as_chunks().0, is_long, ends, values: values.as_chunks().0, tails })
    }

    #[inline]
    fn value(&self, at: usize) -> [u8; VALUE] {
        self.values.get(at).copied().unwrap_or([0; VALUE])
    }

    #[inline]
    fn tail(&self, at: usize) -> Option<&'a [u8]> {
        let (begin, end) = match at.checked_sub(1) {
            Some(before) => (self.end(before)?, self.end(at)?),
            None => (0, self.end(at)?),
        };
        self.tails.get(begin..end)
    }

    /// Where the tail of a key ends, and that of the next one begins.
    #[inline]
    fn end(&self, at: usize) -> Option<usize> {
        if self.is_long {
            self.ends.as_chunks().0.get(at).map(|end| u16::from_le_bytes(*end).into())
        } else {
            self.ends.get(at).copied().map(usize::from)
        }
    }
}

/// What [`search`] found.
pub(super) struct Found<const VALUE: usize> {
    pub(super) value: [u8; VALUE],
    /// It is of the key sought.
    pub(super) is_same: bool,
}

/// The last key of a block that is not behind the one sought. `known`: how many bytes the one sought shares with that for which
/// the block was chosen; then, with the one that was found.
#[inline]
pub(super) fn search<const VALUE: usize>(
    block: &[u8],
    key: &[u8],
    known: &mut usize,
) -> Option<Found<VALUE>> {
    let block = Block::<VALUE>::new(block)?;
    // The first key begins with that for which the block was chosen, which has one byte more than it shares with the key before.
    let first = shared(*block.marks.first()?);
    let mut at = usize::from(*known <= first && first < MOST_SHARED);
    *known = first.min(*known);
    loop {
        let sought = key.get(*known..)?;
        // A key that shares more with the one before it than the one sought does is before that, and one that shares less is
        // behind it.
        let least = number(mark(*known, sought.first().copied().unwrap_or(0)));
        let left = block.marks.get(at..)?;
        let passed = left.iter().position(|mark| number(*mark) >= least).unwrap_or(left.len());
        at += passed;
        let is_alike = left.get(passed).is_some_and(|mark| number(*mark) == least);
        let Some((_, sought)) = sought.split_first().filter(|_| is_alike) else { break };
        let tail = block.tail(at)?;
        let same = if tail.first() == sought.first() { common(tail, sought) } else { 0 };
        if let Some(byte) = tail.get(same)
            && sought.get(same).is_none_or(|sought| byte > sought)
        {
            break;
        }
        *known = (*known + 1 + same).min(MOST_SHARED);
        if same == sought.len() {
            return Some(Found { value: block.value(at), is_same: true });
        }
        at += 1;
    }
    Some(Found { value: block.value(at.checked_sub(1)?), is_same: false })
}

/// A place among keys of blocks that follow each other.
pub(super) struct Cursor<const VALUE: usize> {
    /// Where the block begins.
    pub(super) block: usize,
    /// The next key.
    at: usize,
    /// The last one.
    pub(super) key: Vec<u8>,
    pub(super) value: [u8; VALUE],
}

impl<const VALUE: usize> Cursor<VALUE> {
    /// At the beginning of a block, with a key that shares as much with the first one as the key before it.
    pub(super) fn new(block: usize, key: Vec<u8>) -> Self {
        Self { block, at: 0, key, value: [0; VALUE] }
    }

    /// Goes to the next key, if there is one.
    pub(super) fn advance(&mut self, blocks: &[u8]) -> bool {
        self.advance_if(blocks, |_, _, _| true).unwrap_or(false)
    }

    /// Goes on to the last key before this one.
    pub(super) fn advance_to(&mut self, blocks: &[u8], key: &[u8]) {
        let is_before =
            |shared: &[u8], mark: [u8; 2], tail: &[u8]| shared.iter().chain(&mark[..1]).chain(tail).lt(key);
        while self.advance_if(blocks, is_before) == Some(true) {}
    }

    /// Goes on to the last key that begins with so many bytes of this one, but `most` keys at most. Whether it is the last.
    pub(super) fn pass(&mut self, blocks: &[u8], length: usize, most: usize) -> bool {
        (0..most).any(|_| self.advance_if(blocks, |shared, _, _| shared.len() >= length) != Some(true))
    }

    /// Goes to the next key, if it is wanted for its shared bytes, mark and tail. Whether it is; `None` if there is none.
    fn advance_if(
        &mut self,
        blocks: &[u8],
        is_wanted: impl Fn(&[u8], [u8; 2], &[u8]) -> bool,
    ) -> Option<bool> {
        loop {
            let block = Block::<VALUE>::new(blocks.get(self.block..)?)?;
            if let Some(&mark) = block.marks.get(self.at) {
                let tail = block.tail(self.at)?;
                let shared = shared(mark).min(self.key.len());
                if !is_wanted(&self.key[..shared], mark, tail) {
                    return Some(false);
                }
                self.key.truncate(shared);
                self.key.push(mark[0]);
                self.key.extend_from_slice(tail);
                self.value = block.value(self.at);
                self.at += 1;
                return Some(true);
            }
            let last = self.at.checked_sub(1).and_then(|last| block.end(last));
            self.block = blocks.len() - block.tails.len() + last.unwrap_or_default();
            self.at = 0;
        }
    }
}

/// Writes blocks of keys that come in order.
pub(super) struct Writer<const VALUE: usize> {
    /// The blocks that are full.
    pub(super) bytes: Vec<u8>,
    /// How many keys there are, and the last one.
    pub(super) keys: usize,
    pub(super) before: Vec<u8>,
    /// Of the block that is being written.
    marks: Vec<[u8; 2]>,
    ends: Vec<usize>,
    values: Vec<[u8; VALUE]>,
    tails: Vec<u8>,
}

impl<const VALUE: usize> Default for Writer<VALUE> {
    fn default() -> Self {
        let (marks, ends, values, tails) = Default::default();
        Self { bytes: Vec::new(), keys: 0, before: Vec::new(), marks, ends, values, tails }
    }
}

impl<const VALUE: usize> Writer<VALUE> {
    /// Whether this key is to be the first of a block. Ends the block before.
    pub(super) fn begins_block(&mut self, key: &[u8]) -> bool {
        if self.marks.len() == BLOCK || self.tails.len() + key.len() > u16::MAX.into() {
            self.end_block();
        }
        self.marks.is_empty()
    }

    /// Adds a key, which is behind the one before, of up to 65 535 bytes. [`Writer::begins_block`] was asked before.
    pub(super) fn put(&mut self, key: &[u8], value: [u8; VALUE]) {
        let same = common(&self.before, key).min(MOST_SHARED);
        self.before.truncate(same);
        self.before.extend_from_slice(&key[same..]);
        self.keys += 1;
        self.marks.push(mark(same, key[same]));
        self.tails.extend_from_slice(&key[same + 1..]);
        self.ends.push(self.tails.len());
        self.values.push(value);
    }

    /// Writes the last block.
    pub(super) fn end_block(&mut self) {
        if self.marks.is_empty() {
            return;
        }
        let is_long = self.tails.len() > u8::MAX.into();
        let has_values = self.values.iter().any(|value| *value != [0; VALUE]);
        let flags = (u8::from(is_long) * LONG) | (u8::from(has_values) * VALUES);
        self.bytes.push(self.marks.len() as u8 | flags);
        self.bytes.extend_from_slice(self.marks.as_flattened());
        for end in &self.ends {
            self.bytes.extend_from_slice(&end.to_le_bytes()[..1 + usize::from(is_long)]);
        }
        if has_values {
            self.bytes.extend_from_slice(self.values.as_flattened());
        }
        self.bytes.extend_from_slice(&self.tails);
        self.marks.clear();
        self.ends.clear();
        self.values.clear();
        self.tails.clear();
    }
}

/// Of a key: how many bytes it shares with the one before it, and the first byte behind these. As a number it is the greater, the
/// less is shared; then, the greater the byte.
fn mark(shared: usize, byte: u8) -> [u8; 2] {
    [byte, (MOST_SHARED - shared.min(MOST_SHARED)) as u8]
}

fn shared([_, mark]: [u8; 2]) -> usize {
    MOST_SHARED - usize::from(mark)
}

fn number(mark: [u8; 2]) -> u16 {
    u16::from_le_bytes(mark)
}

/// How many bytes both begin with.
#[inline]
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    let words = |bytes| <[u8]>::as_chunks::<8>(bytes).0;
    let mut same = 0;
    for (a, b) in words(a).iter().zip(words(b)) {
        let other = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if other != 0 {
            return same + other.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

/// More than that is not known to be shared.
const MOST_SHARED: usize = u8::MAX as usize;
/// Keys of a block; 63 at most.
const BLOCK: usize = if cfg!(test) { 3 } else { 16 };
/// In a block's first byte.
const LONG: u8 = 64;
const VALUES: u8 = 128;
