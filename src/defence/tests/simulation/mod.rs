//! The defences in a world that is made up: who is blocked or trusted and until when, who has to come again, who waits.

mod blocks;
mod greylist;
mod tarpit;

use std::{future::Future, task};

use crate::{
    address::Address,
    defence::{Metrics, Shared},
    store::{self, Store},
    telemetry::Registry,
};

/// With room for everything, or for so many entries in each table.
fn shared(room: Option<usize>) -> Shared {
    let registry = Registry::default();
    let metrics = store::Metrics::register(&registry);
    let store = match room {
        None => Store::in_memory(metrics),
        Some(room) => Store::bounded(metrics, room),
    };
    Shared::new(store, Metrics::register(&registry))
}

fn address(number: usize) -> Address {
    Address::parse(format!("u{number}@example.test")).expect("an address")
}

/// What is in memory needs no waiting.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    match work.as_mut().poll(&mut task::Context::from_waker(task::Waker::noop())) {
        task::Poll::Ready(done) => done,
        task::Poll::Pending => panic!("a store in memory has somebody wait"),
    }
}
