//! What libFuzzer calls: the target that `BACKSTOP_FUZZ` names.

#![no_main]

use std::sync::LazyLock;

use backstop_fuzz::{Target, target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("BACKSTOP_FUZZ").expect("BACKSTOP_FUZZ names the target");
    target(&name).expect("a target of this name")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
