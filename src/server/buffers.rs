//! Buffers for bytes on their way, lent only while there are bytes: each worker thread keeps a few.

use std::cell::RefCell;

use bytes::BytesMut;

/// The room that a read finds, in bytes: what an MTA writes at once is smaller, as a rule.
pub(super) const SIZE: usize = 4096;

/// An empty buffer.
pub(super) fn take() -> BytesMut {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(SIZE))
}

/// Gives a buffer back; one that had to grow is freed.
pub(super) fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    if buffer.capacity() <= 2 * SIZE {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < KEPT {
                spare.push(buffer);
            }
        });
    }
}

const KEPT: usize = 32;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}
