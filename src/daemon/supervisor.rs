//! What systemd wants to know (sd_notify(3)); without systemd nobody is told.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// We listen. (A directory that is down must not make systemd restart us: `/ready` tells of that.)
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "no monotonic clock"),
    }
}

/// How long systemd waits for a sign of life (WatchdogSec=); `None`: it waits for none.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|within| !within.is_zero())
}

/// Gives signs of life, for ever. It has to run as a task among those that answer MTAs: where no thread is left to run them,
/// none is left to run this one, and systemd starts the process anew. Where systemd itself hangs, who tells it waits (unix(7)):
/// that is a thread of those that may.
pub(super) async fn keep_alive(within: Duration) {
    let mut time = tokio::time::interval((within / 3).max(Duration::from_millis(1)));
    time.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        time.tick().await;
        let _ = tokio::task::spawn_blocking(|| tell(&[NotifyState::Watchdog])).await;
    }
}

/// The end begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd could not be told");
    }
}
