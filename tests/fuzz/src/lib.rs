//! Targets: each takes any bytes for what somebody sends, and panics where a promise about them is broken.
//!
//! `tests/fuzz/run` looks for such bytes; the ones that are kept in `corpus/` are replayed by every run of the tests.

mod address;
mod config;
mod control;
mod corpus;
mod files;
mod milter;
mod names;
#[path = "../../../protocol/tests/play/mod.rs"]
mod play;
mod servers;
mod session;
mod text;
mod words;

pub use corpus::{pack, unpack};

/// One reader, and what it promises.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As its corpus is called.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "address", run: address::run },
    Target { name: "config", run: config::run },
    Target { name: "control", run: control::run },
    Target { name: "detect", run: backstop::detect::fuzz_detect },
    Target { name: "ldap-answers", run: backstop::directory::fuzz_ldap_answers },
    Target { name: "ldap-filter", run: servers::filter },
    Target { name: "list", run: files::list },
    Target { name: "log", run: files::log },
    Target { name: "milter-client", run: milter::client },
    Target { name: "milter-frame", run: milter::frame },
    Target { name: "milter-reply", run: milter::reply },
    Target { name: "milter-server", run: milter::server },
    Target { name: "names", run: names::run },
    Target { name: "session", run: session::run },
    Target { name: "smtp-answers", run: servers::smtp },
    Target { name: "table", run: files::table },
    Target { name: "text", run: text::run },
    Target { name: "words", run: words::run },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
