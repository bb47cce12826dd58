//! The system's own users, asked by name through NSS: /etc/passwd, but also what SSSD, LDAP or NIS add.
//!
//! NSS blocks for as long as it likes, so it is asked on few threads of its own, with a time-out. Only the
//! clear answer "no such user" is Absent; any error, and no answer in time, is Unknown.

use std::{borrow::Cow, sync::Arc, time::Duration};

use nix::unistd::User;
use tokio::sync::Semaphore;

use super::source::{Answer, Why};
use crate::{address::Candidate, policy::Attributes};

/// Whether a user has this name.
type Lookup = fn(&str) -> nix::Result<bool>;

/// Asks the system for users.
#[derive(Debug, Clone)]
pub struct Users {
    threads: Arc<Semaphore>,
    timeout: Duration,
    lookup: Lookup,
}

impl Users {
    /// The users of this host.
    pub fn new() -> Self {
        Self::with(|name| Ok(User::from_name(name)?.is_some()))
    }

    pub(super) fn with(lookup: Lookup) -> Self {
        Self { threads: Arc::new(Semaphore::new(THREADS)), timeout: TIMEOUT, lookup }
    }

    /// Whether one of the local parts is a user. Takes up to [`TIMEOUT`].
    pub(super) async fn ask(&self, candidates: &[Candidate<'_>]) -> Answer {
        let names: Vec<Vec<String>> = candidates.iter().map(|form| names(form.address.local())).collect();
        if names.iter().all(Vec::is_empty) {
            return Answer::Absent;
        }
        let answer = tokio::time::timeout(self.timeout, self.on_thread(names)).await;
        answer.unwrap_or(Answer::Unknown(Why::TimedOut))
    }

    /// `names` of each form.
    async fn on_thread(&self, names: Vec<Vec<String>>) -> Answer {
        let Ok(permit) = Arc::clone(&self.threads).acquire_owned().await else {
            return Answer::Unknown(Why::TimedOut);
        };
        let lookup = self.lookup;
        let answer = tokio::task::spawn_blocking(move || {
            // Given back when NSS returns, not when the caller lost patience.
            let _permit = permit;
            Answer::of_forms(names.iter().map(|names| ask_for(lookup, names)))
        });
        answer.await.unwrap_or(Answer::Unknown(Why::TimedOut))
    }
}

impl Default for Users {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether one of these names of one form is a user's.
fn ask_for(lookup: Lookup, names: &[String]) -> Answer {
    // Names are composed here (NFC), and the system compares bytes: whether it has another spelling can't be told.
    let beyond_ascii = names.iter().any(|name| !name.is_ascii());
    let mut answer = if beyond_ascii { Answer::Unknown(Why::Spelling) } else { Answer::Absent };
    for name in names {
        match lookup(name) {
            Ok(true) => return Answer::Exists(Attributes::default()),
            Ok(false) => {}
            Err(errno) => answer = Answer::Unknown(Why::System(errno)),
        }
    }
    answer
}

/// Under which a user may be known whose address has this local part.
fn names(local: &str) -> Vec<String> {
    let spellings = [Some(Cow::Borrowed(local)), lower(local)].into_iter().flatten();
    spellings.filter(|name| can_be_user(name)).map(Cow::into_owned).collect()
}

/// In lower case, if that differs: addresses fold more than user names do (`ß`, NFC).
fn lower(local: &str) -> Option<Cow<'_, str>> {
    let lower = local.to_lowercase();
    (lower != local).then_some(Cow::Owned(lower))
}

/// What no user database can hold isn't asked for.
fn can_be_user(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(['\0', ':', '\n', '/'])
}

/// Questions to NSS at once.
const THREADS: usize = 8;
/// How long a question may wait for a thread and for the answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// LOGIN_NAME_MAX on Linux.
const MAX_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, Delimiters, candidates};

    async fn ask(users: &Users, address: &str) -> Answer {
        let address = Address::parse(address).unwrap();
        let delimiters = Delimiters::default();
        let candidates: Vec<_> = candidates(&address, &delimiters).collect();
        users.ask(&candidates).await
    }

    #[tokio::test]
    async fn the_users_of_this_host_are_found() {
        let users = Users::new();
        for (address, answer) in [
            ("root@x", Answer::Exists(Attributes::default())),
            ("ROOT@x", Answer::Exists(Attributes::default())),
            ("root+tag@x", Answer::Exists(Attributes { form: 1, ..Attributes::default() })),
            ("no-such-user-here@x", Answer::Absent),
            ("\"root:x\"@x", Answer::Absent),
            ("\"../root\"@x", Answer::Absent),
        ] {
            assert_eq!(ask(&users, address).await, answer, "{address}");
        }
        assert_eq!(ask(&users, &format!("{}@x", "r".repeat(300))).await, Answer::Absent);
    }

    /// getpwnam(3): 0 and no entry is "not found"; whatever else it returns may be an unreachable service.
    #[tokio::test]
    async fn an_error_is_unknown_unless_another_form_exists() {
        use nix::errno::Errno;
        for errno in [Errno::EIO, Errno::ENOENT, Errno::ETIMEDOUT, Errno::EMFILE, Errno::ESRCH] {
            let users = Users::with(match errno {
                Errno::EIO => |_| Err(Errno::EIO),
                Errno::ENOENT => |_| Err(Errno::ENOENT),
                Errno::ETIMEDOUT => |_| Err(Errno::ETIMEDOUT),
                Errno::EMFILE => |_| Err(Errno::EMFILE),
                _ => |_| Err(Errno::ESRCH),
            });
            assert_eq!(ask(&users, "joe@x").await, Answer::Unknown(Why::System(errno)));
        }
        let users = Users::with(|name| if name == "joe" { Ok(true) } else { Err(Errno::EIO) });
        let found = Attributes { form: 1, unsure: true, ..Attributes::default() };
        assert_eq!(ask(&users, "joe+x@x").await, Answer::Exists(found));
    }

    /// The system compares bytes; what is asked for here is composed.
    #[tokio::test]
    async fn beyond_ascii_nobody_is_absent() {
        let users = Users::with(|name| Ok(name == "jose\u{301}" || name == "ann\u{e9}"));
        for (address, answer) in [
            ("jose\u{301}@x", Answer::Unknown(Why::Spelling)),
            ("ann\u{e9}@x", Answer::Exists(Attributes::default())),
            ("ann@x", Answer::Absent),
        ] {
            assert_eq!(ask(&users, address).await, answer, "{address}");
        }
    }

    #[tokio::test]
    async fn a_service_that_hangs_costs_a_bounded_time_and_few_threads() {
        use std::sync::{Condvar, Mutex};
        static HELD: (Mutex<bool>, Condvar) = (Mutex::new(true), Condvar::new());
        fn hang(_: &str) -> nix::Result<bool> {
            let held = HELD.1.wait_while(HELD.0.lock().unwrap(), |held| *held).unwrap();
            drop(held);
            Ok(true)
        }
        let users = Users { timeout: Duration::from_millis(50), ..Users::with(hang) };
        let mut questions = tokio::task::JoinSet::new();
        for _ in 0..THREADS * 2 {
            let users = users.clone();
            questions.spawn(async move { ask(&users, "joe@x").await });
        }
        while let Some(answer) = questions.join_next().await {
            assert_eq!(answer.unwrap(), Answer::Unknown(Why::TimedOut));
        }
        assert_eq!(users.threads.available_permits(), 0, "as many threads as permits hang, and no more");
        *HELD.0.lock().unwrap() = false;
        HELD.1.notify_all();
        let all = users.threads.acquire_many(u32::try_from(THREADS).unwrap()).await.unwrap();
        drop(all);
        assert_eq!(ask(&users, "joe@x").await, Answer::Exists(Attributes::default()));
    }
}
