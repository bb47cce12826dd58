//! Buffers for bytes on their way, lent only while there are bytes: each worker thread keeps a few.

use std::{
    cell::RefCell,
    io::{self, Read},
};

use bytes::BytesMut;

use crate::net::Got;

/// The room that a read finds, in bytes: what an MTA writes at once is smaller, as a rule.
pub(super) const SIZE: usize = 4096;

/// Bytes that were read, the oldest of which are taken off.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// What is there, in `bytes`.
    begin: usize,
    end: usize,
}

impl Input {
    /// An empty one.
    pub(super) fn take() -> Self {
        INPUTS.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Gives it back; one that had to grow is freed.
    pub(super) fn give_back(mut self) {
        (self.begin, self.end) = (0, 0);
        let is_kept = self.bytes.len() <= 2 * SIZE;
        keep(&INPUTS, self, is_kept);
    }

    /// Reads once.
    pub(super) fn read_from(&mut self, source: &mut dyn Read) -> io::Result<Got> {
        let spare = self.spare();
        let count = source.read(spare)?;
        let is_all = count < spare.len();
        self.end += count;
        Ok(Got { count, is_all })
    }

    /// Room for more bytes: for [`SIZE`] at least.
    fn spare(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        // It grows by what has come, never by what was announced.
        if self.bytes.len() < self.end + SIZE {
            self.bytes.resize(self.end + SIZE, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// So many are not needed any more.
    pub(super) fn advance(&mut self, count: usize) {
        self.begin = self.end.min(self.begin + count);
    }
}

impl std::ops::Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.begin..self.end]
    }
}

/// An empty buffer for what is written.
pub(super) fn output() -> BytesMut {
    OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(SIZE))
}

/// Gives a buffer back; one that had to grow is freed.
pub(super) fn give_back(mut output: BytesMut) {
    output.clear();
    let is_kept = output.capacity() <= 2 * SIZE;
    keep(&OUTPUTS, output, is_kept);
}

fn keep<T>(spare: &'static std::thread::LocalKey<RefCell<Vec<T>>>, buffer: T, is_kept: bool) {
    if is_kept {
        spare.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(buffer);
            }
        });
    }
}

const KEPT: usize = 32;

thread_local! {
    static INPUTS: RefCell<Vec<Input>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What comes out is what went in, in whatever pieces, and the room follows what is there.
        #[test]
        fn an_input_is_a_queue_of_bytes(steps in proptest::collection::vec((0_usize..3 * SIZE, 0_usize..3 * SIZE), 0..40)) {
            let (mut input, mut model, mut next) = (Input::default(), Vec::new(), 0_u8);
            let mut most = 0;
            for (read, taken) in steps {
                let bytes: Vec<u8> = (0..read).map(|at| next.wrapping_add((at * at) as u8)).collect();
                next = next.wrapping_add(7);
                let got = input.read_from(&mut &*bytes).unwrap();
                prop_assert!(got.count == read || got.count >= SIZE && !got.is_all, "{got:?}");
                model.extend_from_slice(&bytes[..got.count]);
                prop_assert_eq!(&*input, &*model);
                most = most.max(model.len());
                prop_assert!(input.bytes.len() <= most + SIZE);
                input.advance(taken);
                model.drain(..taken.min(model.len()));
                prop_assert_eq!(&*input, &*model);
            }
            input.give_back();
            prop_assert!(Input::take().is_empty());
        }
    }
}
