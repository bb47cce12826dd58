//! Backstop between real mail servers: each module is one behaviour, each test starts the servers it needs.

mod bounces;
mod check;
mod clients;
mod config;
mod control;
mod denied;
mod dialogue;
mod dialogues;
mod drain;
mod failure;
mod failure_policies;
mod greylist;
mod harvest;
mod ipv6;
mod kept;
mod ldap;
mod live_edit;
mod metrics;
mod mta;
mod next_hop;
mod out_of_the_box;
mod pop_before_smtp;
mod remembered;
mod report;
mod reverse_ndr;
mod seed;
mod sessions;
mod shared;
mod signals;
mod site;
mod sql;
mod standing;
mod store;
mod structure;
mod submission;
mod suspending;
mod tarpit;
mod traps;
mod trust_socket;
mod unavailable;
mod unix_socket;
mod unseen;
mod verification;
mod works_out_of_the_box;

/// The program under test.
const BACKSTOP: &str = env!("CARGO_BIN_EXE_backstop");
