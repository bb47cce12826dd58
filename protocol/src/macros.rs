//! Macros (`{rcpt_mailer}`, `i`, …): which stage sends them, and the store that a session keeps.
//!
//! A value is found under its name with or without braces, and the latest stage wins, as with `smfi_getsymval`.
//! The store is one buffer that is used again for each message: it grows to what an MTA really sends and then
//! allocates no more. It takes at most [`Macros::LIMIT`] bytes; more is an error, not a silent loss.
//! Odd lists and stages that have no macros are tolerated, as libmilter tolerates them.

use std::fmt;

/// The stages that macros belong to, in the order of a session. The number is the one of a macro request (`SMFIM_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// The connection.
    Connect = 0,
    /// HELO or EHLO.
    Helo = 1,
    /// MAIL FROM.
    Mail = 2,
    /// RCPT TO.
    Rcpt = 3,
    /// DATA.
    Data = 4,
    /// The end of the header.
    EndOfHeaders = 6,
    /// The end of the message.
    EndOfMessage = 5,
}

impl Stage {
    /// All stages, in the order of a session.
    pub const ALL: [Stage; 7] = [
        Stage::Connect,
        Stage::Helo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::EndOfHeaders,
        Stage::EndOfMessage,
    ];

    /// The stage whose macros a `D` frame with this command byte brings.
    ///
    /// Postfix also sends macros for header fields, body chunks and unknown commands; they have no stage: what they bring
    /// (`i`) is known by then.
    #[must_use]
    pub fn from_command(code: u8) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.command() == code)
    }

    /// The stage with this number in a macro request.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.id() == id)
    }

    /// The command byte of the stage.
    #[must_use]
    pub const fn command(self) -> u8 {
        match self {
            Stage::Connect => b'C',
            Stage::Helo => b'H',
            Stage::Mail => b'M',
            Stage::Rcpt => b'R',
            Stage::Data => b'T',
            Stage::EndOfHeaders => b'N',
            Stage::EndOfMessage => b'E',
        }
    }

    /// The number in a macro request.
    #[must_use]
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The place in the order of a session.
    const fn index(self) -> usize {
        match self {
            Stage::Connect => 0,
            Stage::Helo => 1,
            Stage::Mail => 2,
            Stage::Rcpt => 3,
            Stage::Data => 4,
            Stage::EndOfHeaders => 5,
            Stage::EndOfMessage => 6,
        }
    }
}

/// More macros than [`Macros::LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {} bytes of macros", Macros::LIMIT)]
pub struct MacrosTooLong;

/// The macros that hold now.
///
/// Those of connect and HELO stay for the connection. Those of MAIL and later go with the message; those of RCPT are
/// replaced by each recipient's.
#[derive(Clone, Default)]
pub struct Macros {
    /// The macros of each stage, one stage behind the other in the order of a session. Each is a name and a value, with
    /// the lengths of both before them, so that one that is not wanted is stepped over.
    values: Vec<u8>,
    /// Where each stage ends in `values`.
    ends: [u32; Stage::ALL.len()],
    /// For each stage, bits of the names that it may have: most that are asked for are not there.
    names: [u32; Stage::ALL.len()],
    /// One bit a stage: its macros have come and its command has not.
    fresh: u8,
}

impl Macros {
    /// The most bytes that all stages may hold together: names, values, and six for each of them.
    pub const LIMIT: usize = 128 * 1024;

    /// The macros of a message and of a recipient take less, as a rule.
    const USUAL: usize = 384;

    /// What is kept of the buffer between two messages; a longer one is given back.
    const KEPT: usize = 4096;

    /// The value of a macro, by its name with or without braces; the latest stage that has it wins.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let name = bare(name.as_bytes());
        let bit = bit(name);
        let mut stages = Stage::ALL.into_iter().rev().filter(|stage| self.names[stage.index()] & bit != 0);
        stages.find_map(|stage| find(self.stage(stage), name))
    }

    /// The value that one stage brought.
    #[must_use]
    pub fn get_at(&self, stage: Stage, name: &str) -> Option<&[u8]> {
        find(self.stage(stage), bare(name.as_bytes()))
    }

    /// All macros: stage, name as it came, value.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, &[u8], &[u8])> {
        let stages = Stage::ALL.into_iter();
        stages.flat_map(|stage| pairs(self.stage(stage)).map(move |(name, value)| (stage, name, value)))
    }

    /// Puts what a `D` frame brings (`(name NUL value NUL)*`) in place of what the stage had.
    ///
    /// # Errors
    /// When all stages together would hold more than [`Macros::LIMIT`] bytes; the stage is empty then.
    pub fn set(&mut self, stage: Stage, list: &[u8]) -> Result<(), MacrosTooLong> {
        self.forget(stage);
        let (at, before, mut names) = (self.end(stage), self.values.len(), 0);
        // As a rule that is enough: six bytes for each in place of two, and for a message one piece of memory for all stages.
        let most = list.len() + list.len() / 2;
        let usual = if stage == Stage::Mail { Macros::USUAL } else { 0 };
        self.values.reserve(most.max(usual).min(Macros::KEPT));
        for (name, value) in told(list) {
            // Behind all others at first: as a rule its place is there.
            let length = self.values.len() + HEADER + name.len() + value.len();
            if length > Macros::LIMIT {
                self.values.truncate(before);
                return Err(MacrosTooLong);
            }
            self.values.extend_from_slice(&header(name.len(), value.len()));
            self.values.extend_from_slice(name);
            self.values.extend_from_slice(value);
            names |= bit(bare(name));
        }
        self.names[stage.index()] = names;
        let length = self.values.len() - before;
        self.values[at..].rotate_right(length);
        for end in &mut self.ends[stage.index()..] {
            *end += place(length);
        }
        self.fresh |= 1 << stage.index();
        Ok(())
    }

    /// The command of a stage has come: macros that did not come just before it are an older command's.
    pub(crate) fn reached(&mut self, stage: Stage) {
        let bit = 1 << stage.index();
        if self.fresh & bit == 0 {
            if stage == Stage::Mail { self.clear_from(stage) } else { self.clear(stage) }
        }
        self.fresh &= !bit;
    }

    /// The message is over: nothing of MAIL and later holds any more.
    pub(crate) fn end_message(&mut self) {
        self.clear_from(Stage::Mail);
        if self.values.capacity() > Macros::KEPT {
            self.values.shrink_to(Macros::KEPT);
        }
    }

    /// Another connection follows: nothing holds.
    pub(crate) fn end_connection(&mut self) {
        self.clear_from(Stage::Connect);
    }

    /// MAIL begins a message: what came later in the one before goes, too.
    fn forget(&mut self, stage: Stage) {
        if stage == Stage::Mail {
            self.clear_from(stage);
        } else {
            self.clear(stage);
        }
    }

    fn clear(&mut self, stage: Stage) {
        let (start, end) = (self.start(stage), self.end(stage));
        if start == end {
            return;
        }
        self.values.drain(start..end);
        for later in &mut self.ends[stage.index()..] {
            *later -= place(end - start);
        }
    }

    fn clear_from(&mut self, stage: Stage) {
        let start = self.start(stage);
        self.values.truncate(start);
        self.ends[stage.index()..].fill(place(start));
        self.fresh &= (1 << stage.index()) - 1;
    }

    fn stage(&self, stage: Stage) -> &[u8] {
        &self.values[self.start(stage)..self.end(stage)]
    }

    fn start(&self, stage: Stage) -> usize {
        stage.index().checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    fn end(&self, stage: Stage) -> usize {
        self.ends[stage.index()] as usize
    }
}

impl fmt::Debug for Macros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries =
            self.iter().map(|(stage, name, value)| ((stage, name.escape_ascii()), value.escape_ascii()));
        f.debug_map()
            .entries(entries.map(|((stage, name), value)| (format!("{stage:?} {name}"), value.to_string())))
            .finish()
    }
}

/// `{name}` and `name` are one: MTAs send one-letter names without braces, and are asked for them in both ways.
fn bare(name: &[u8]) -> &[u8] {
    name.strip_prefix(b"{").and_then(|name| name.strip_suffix(b"}")).unwrap_or(name)
}

/// One of 32, by the length and the last byte: many names begin alike.
fn bit(bare: &[u8]) -> u32 {
    let last = bare.last().copied().unwrap_or_default();
    1 << (bare.len().wrapping_add(last.into()) % 32)
}

fn find<'m>(list: &'m [u8], name: &[u8]) -> Option<&'m [u8]> {
    let is_it = |candidate: &[u8]| match candidate.len().checked_sub(name.len()) {
        Some(0) => candidate == name,
        Some(2) => bare(candidate) == name,
        _ => false,
    };
    pairs(list).find(|(candidate, _)| is_it(candidate)).map(|(_, value)| value)
}

/// What a stage holds.
fn pairs(mut list: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (&[n0, n1, n2, v0, v1, v2], rest) = list.split_first_chunk()?;
        let length =
            |bytes: [u8; 3]| usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        let (name, rest) = rest.split_at_checked(length([n0, n1, n2]))?;
        let (value, rest) = rest.split_at_checked(length([v0, v1, v2]))?;
        list = rest;
        Some((name, value))
    })
}

/// A place in the buffer, which holds no more than [`Macros::LIMIT`].
fn place(at: usize) -> u32 {
    u32::try_from(at).expect("the limit is less")
}

/// The lengths of a name and of a value, neither of which is longer than [`Macros::LIMIT`].
fn header(name: usize, value: usize) -> [u8; HEADER] {
    let [.., n0, n1, n2] = name.to_be_bytes();
    let [.., v0, v1, v2] = value.to_be_bytes();
    [n0, n1, n2, v0, v1, v2]
}

/// `(name NUL value NUL)*`, as it is told. What lacks its NUL is left out, as libmilter does, and a last name without a value.
fn told(mut list: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (name, rest) = split_at_nul(list)?;
        let (value, rest) = split_at_nul(rest)?;
        list = rest;
        Some((name, value))
    })
}

fn split_at_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // They are short: one by one is faster than many at a time.
    let at = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

const HEADER: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    // mfapi.h: SMFIM_CONNECT 0, HELO 1, ENVFROM 2, ENVRCPT 3, DATA 4, EOM 5, EOH 6.
    #[test]
    fn stages_have_their_numbers() {
        let table = [(b'C', 0), (b'H', 1), (b'M', 2), (b'R', 3), (b'T', 4), (b'E', 5), (b'N', 6)];
        for (command, id) in table {
            let stage = Stage::from_command(command).unwrap();
            assert_eq!((stage.id(), stage.command(), Stage::from_id(id)), (id, command, Some(stage)));
        }
        assert_eq!((Stage::from_command(b'L'), Stage::from_id(7)), (None, None));
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage.index(), index);
        }
    }

    #[test]
    fn lists_as_they_come() {
        type Case = (&'static [u8], &'static str, Option<&'static [u8]>);
        let table: [Case; 16] = [
            (b"", "i", None),
            (b"i\x001\0", "i", Some(b"1")),
            (b"i\x001\0", "{i}", Some(b"1")),
            (b"{i}\x001\0", "i", Some(b"1")),
            (b"{rcpt_addr}\0a\0", "{rcpt_addr}", Some(b"a")),
            (b"{rcpt_addr}\0a\0", "rcpt_addr", Some(b"a")),
            (b"{rcpt_addr}\0a\0", "rcpt", None),
            (b"i\0\0", "i", Some(b"")),
            (b"i\x001\0i\x002\0", "i", Some(b"1")),
            // Values are not names.
            (b"a\0i\0b\0x\0", "i", None),
            // Odd, and cut.
            (b"a\x001\0i\0", "i", None),
            (b"a\x001\0i\0", "a", Some(b"1")),
            (b"a\x001\0i\x002", "i", None),
            (b"a\x001", "a", None),
            (b"i", "i", None),
            (b"\x001\0", "", Some(b"1")),
        ];
        for (list, name, expected) in table {
            let mut macros = Macros::default();
            macros.set(Stage::Rcpt, list).unwrap();
            assert_eq!(macros.get(name), expected, "{} {name}", list.escape_ascii());
        }
    }

    #[test]
    fn debug_output_is_escaped() {
        let mut macros = Macros::default();
        macros.set(Stage::Mail, b"{x}\0a\n\x1b\0").unwrap();
        assert_eq!(format!("{macros:?}"), r#"{"Mail {x}": "a\\n\\x1b"}"#);
    }

    /// A message after a message takes no more memory; one huge message does not hold its memory for ever.
    #[test]
    fn the_buffer_is_used_again() {
        let mut macros = Macros::default();
        let mut message = |size: usize| {
            for stage in Stage::ALL {
                macros.set(stage, &[b"name\0", &vec![b'x'; size][..], b"\0"].concat()).unwrap();
                macros.reached(stage);
            }
            macros.end_message();
            (macros.values.capacity(), macros.values.as_ptr())
        };
        let first = message(100);
        for _ in 0..10 {
            assert_eq!(message(100), first);
        }
        assert!(message(10_000).0 <= 2 * 10_100);
        assert!(message(100).0 <= Macros::KEPT);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(Stage, Vec<(String, String)>),
        Reached(Stage),
        EndMessage,
        EndConnection,
    }

    fn steps() -> impl Strategy<Value = Step> {
        let pairs = vec(("[ab]|\\{[ab]\\}|\\{xy\\}", "[0-9]{0,3}"), 0..4);
        prop_oneof![
            4 => (prop::sample::select(&Stage::ALL[..]), pairs).prop_map(|(stage, pairs)| Step::Set(stage, pairs)),
            4 => prop::sample::select(&Stage::ALL[..]).prop_map(Step::Reached),
            1 => Just(Step::EndMessage),
            1 => Just(Step::EndConnection),
        ]
    }

    proptest! {
        /// Against a list of lists.
        #[test]
        fn it_is_a_list_a_stage(steps in vec(steps(), 0..40)) {
            let mut macros = Macros::default();
            let mut model: [(bool, Vec<(String, String)>); 7] = Default::default();
            for step in steps {
                match step {
                    Step::Set(stage, pairs) => {
                        let list: String = pairs.iter().map(|(name, value)| format!("{name}\0{value}\0")).collect();
                        macros.set(stage, list.as_bytes()).unwrap();
                        if stage == Stage::Mail {
                            model[2..].fill(Default::default());
                        }
                        model[stage.index()] = (true, pairs);
                    }
                    Step::Reached(stage) => {
                        macros.reached(stage);
                        let at = stage.index();
                        match (model[at].0, stage) {
                            (true, _) => model[at].0 = false,
                            (false, Stage::Mail) => model[2..].fill(Default::default()),
                            (false, _) => model[at] = Default::default(),
                        }
                    }
                    Step::EndMessage => {
                        macros.end_message();
                        model[2..].fill(Default::default());
                    }
                    Step::EndConnection => {
                        macros.end_connection();
                        model.fill(Default::default());
                    }
                }
                let all: Vec<_> = macros.iter().map(|(stage, name, value)| (stage, name.to_vec(), value.to_vec())).collect();
                let expected: Vec<_> = Stage::ALL.into_iter().zip(&model).flat_map(|(stage, (_, pairs))| {
                    pairs.iter().map(move |(name, value)| (stage, name.clone().into_bytes(), value.clone().into_bytes()))
                }).collect();
                prop_assert_eq!(all, expected);
                for name in ["a", "{b}", "xy"] {
                    let bare = name.trim_matches(['{', '}']);
                    let expected = model.iter().rev().find_map(|(_, pairs)| {
                        pairs.iter().find(|(other, _)| other.trim_matches(['{', '}']) == bare)
                    });
                    prop_assert_eq!(macros.get(name), expected.map(|(_, value)| value.as_bytes()));
                }
            }
        }
    }
}
