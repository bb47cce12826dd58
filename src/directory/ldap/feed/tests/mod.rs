//! Feeds of real servers into a replica in memory.

mod flood;
mod samba;
mod slapd;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_harness::wait_until;
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    address::Address,
    directory::{
        ldap::{Client, Config},
        replica::Writer,
    },
    policy::Attributes,
};

/// A feed that runs, and is run again when it fails, as a replica does.
struct Following {
    replica: Writer,
    tasks: TaskTracker,
    stop: CancellationToken,
    writer: Arc<Mutex<Option<Writer>>>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Following {
    fn start(config: &Config, refresh: Duration) -> Self {
        Self::resume(Writer::in_memory(), config, refresh)
    }

    /// Goes on with a writer that another feed left.
    fn resume(mut writer: Writer, config: &Config, refresh: Duration) -> Self {
        let (replica, tasks, stop) = (writer.view(), TaskTracker::new(), CancellationToken::new());
        let (left, failures) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(Vec::new())));
        let mut follower = Client::build("directory.test", config).unwrap().follower("test", config, refresh);
        let (stopped, leave, told) = (stop.clone(), Arc::clone(&left), Arc::clone(&failures));
        tasks.spawn(async move {
            let feed = async {
                loop {
                    let failure = follower.run(&mut writer).await.to_string();
                    eprintln!("the feed failed: {failure}");
                    told.lock().unwrap().push(failure);
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            };
            stopped.run_until_cancelled(feed).await;
            *leave.lock().unwrap() = Some(writer);
        });
        Self { replica, tasks, stop, writer: left, failures }
    }

    /// Ends the feed wherever it is.
    async fn stop(self) -> Writer {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.writer.lock().unwrap().take().unwrap().hand_on()
    }

    fn find(&self, address: &str) -> Option<Attributes> {
        self.replica.find(&address.parse::<Address>().unwrap())
    }

    #[track_caller]
    fn sees(&self, address: &str) {
        wait_until(SEEN, &format!("{address} to be seen"), || self.find(address).is_some());
    }

    #[track_caller]
    fn misses(&self, address: &str) {
        wait_until(SEEN, &format!("{address} to be gone"), || self.find(address).is_none());
    }

    /// Waits for the first list.
    #[track_caller]
    fn wait_complete(&self) {
        wait_until(Duration::from_secs(60), "the first list", || self.replica.is_complete());
    }

    #[track_caller]
    fn wait_current(&self) {
        wait_until(Duration::from_secs(20), "the replica to be current", || self.replica.is_current());
    }

    #[track_caller]
    fn wait_outdated(&self) {
        wait_until(Duration::from_secs(20), "the replica to be known for old", || !self.replica.is_current());
    }

    #[track_caller]
    fn wait_failure(&self, text: &str) {
        wait_until(Duration::from_secs(30), &format!("a failure with {text:?}"), || {
            self.failures.lock().unwrap().iter().any(|failure| failure.contains(text))
        });
    }

    fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }
}

fn config(url: &str, base: &str, schema: &str, who: (&str, &Path), feed: &str) -> Config {
    serde_json::from_value(json!({
        "urls": [url], "base": base, "schema": schema, "bind_dn": who.0, "password_file": who.1, "allow_plain": true,
        "feed": feed,
    }))
    .unwrap()
}

/// From the change at the server until the replica knows.
const SEEN: Duration = Duration::from_secs(2);
/// For feeds that list nothing again within a test.
const NEVER: Duration = Duration::from_secs(3600);
