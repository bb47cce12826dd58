//! Network namespaces: clients that really have other addresses.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::dir::TempDir;
use crate::process::{Process, Signal, run};
use crate::wait::wait_until;

/// A network of its own. It knows nothing but the other one of its pair, and is gone when dropped.
#[derive(Debug)]
pub struct Netns {
    file: File,
    holder: Process,
    _dir: TempDir,
}

impl Netns {
    /// The first one's address in the pair, the server's.
    pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 25));
    /// The second one's.
    pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

    /// Two networks with a wire between them: the first has [`Netns::SERVER`] and 2001:db8:25::25, the second every
    /// address of 203.0.113.0/24, 198.51.100.0/24, 10.9.0.0/16 and 2001:db8:1::/64.
    ///
    /// # Panics
    /// Without root, or the programs `ip` and `unshare`.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let (server, client) = (Self::new(), Self::new());
        let peer = client.holder.pid();
        server.ip(&format!("link add wire type veth peer name wire netns {peer}"));
        for (namespace, v4, v6) in [
            (&server, "198.18.0.25/24", "2001:db8:25::25/64"),
            (&client, "198.18.0.1/24", "2001:db8:25::1/64"),
        ] {
            namespace.ip("link set lo up");
            namespace.ip(&format!("addr add {v4} dev wire"));
            namespace.ip(&format!("-6 addr add {v6} dev wire nodad"));
            namespace.ip("link set wire up");
        }
        for net in ["203.0.113.0/24", "198.51.100.0/24", "10.9.0.0/16"] {
            client.ip(&format!("route add local {net} dev lo"));
            server.ip(&format!("route add {net} via 198.18.0.1"));
        }
        client.ip("-6 route add local 2001:db8:1::/64 dev lo");
        server.ip("-6 route add 2001:db8:1::/64 via 2001:db8:25::1");
        client.enter(|| {
            for key in ["ipv4/ip_nonlocal_bind", "ipv6/ip_nonlocal_bind"] {
                fs::write(format!("/proc/sys/net/{key}"), "1")
                    .unwrap_or_else(|error| panic!("{key}: {error}"));
            }
        });
        (server, client)
    }

    /// Does this in there: sockets that it opens, and programs and threads that it starts, stay there.
    ///
    /// # Panics
    /// When it does.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let result = thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("enter a network namespace");
                work()
            });
            entered.join()
        });
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn new() -> Self {
        let dir = TempDir::new("netns");
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "infinity"]);
        let mut holder = Process::spawn("a network namespace", &mut command, &dir.join("log"), Signal::TERM);
        let path = format!("/proc/{}/ns/net", holder.pid());
        let name = |path: &str| fs::read_link(path).ok();
        wait_until(Duration::from_secs(10), "a network namespace", || {
            assert!(holder.exited().is_none(), "no network namespace: {}", holder.log());
            name(&path).is_some_and(|other| Some(other) != name("/proc/self/ns/net"))
        });
        let file = File::open(path).expect("open a network namespace");
        let namespace = Self { file, holder, _dir: dir };
        // Else IPv6 addresses are of no use for two seconds.
        namespace.enter(|| {
            for which in ["all", "default"] {
                let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{which}/accept_dad"), "0");
            }
        });
        namespace
    }

    /// Has ip(8) do this in there. `link set wire down`, on the second side of a pair, cuts the wire; IPv6 addresses don't come
    /// back with it.
    ///
    /// # Panics
    /// When it fails.
    pub fn ip(&self, words: &str) {
        self.enter(|| run(Command::new("ip").args(words.split(' '))));
    }
}
