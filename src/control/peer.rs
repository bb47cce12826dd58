//! Who is at the other end of a control socket.

use std::time::Duration;

use nix::unistd::{Uid, User, geteuid};
use tokio::{net::UnixStream, sync::Semaphore};

/// Who asks, as the kernel tells it (unix(7), SO_PEERCRED): nothing that he could choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The user's number.
    pub uid: Option<u32>,
    /// The process that connected.
    pub pid: Option<i32>,
    /// The user's name, where the system knows it.
    pub user: Option<String>,
}

impl Peer {
    /// The other end, without the name.
    pub(super) fn of(stream: &UnixStream) -> Self {
        let found = stream.peer_cred().ok();
        Self { uid: found.map(|peer| peer.uid()), pid: found.and_then(|peer| peer.pid()), user: None }
    }

    /// Root, or the user that this process runs as.
    pub(super) fn is_own(&self) -> bool {
        self.uid.is_some_and(|uid| uid == 0 || uid == geteuid().as_raw())
    }

    /// Finds the name. The system may ask another server for it: who waits for an order waits no longer than that.
    pub(super) async fn look_up(&mut self) {
        let Some(uid) = self.uid.filter(|_| self.user.is_none()) else { return };
        // A name service that hangs must not take all threads.
        let Ok(place) = PLACES.try_acquire() else { return };
        let asked = tokio::task::spawn_blocking(move || {
            let _place = place;
            User::from_uid(Uid::from_raw(uid))
        });
        let found = tokio::time::timeout(NAME_SERVICE, asked).await;
        self.user = found.ok().and_then(Result::ok).and_then(Result::ok).flatten().map(|user| user.name);
    }

    /// The name, or the number, for what is kept and shown.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.user.clone().or_else(|| self.uid.map(|uid| format!("user {uid}")))
    }
}

static PLACES: Semaphore = Semaphore::const_new(8);
const NAME_SERVICE: Duration = Duration::from_secs(2);
