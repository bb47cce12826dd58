//! A way to a server that delays, loses and cuts.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What becomes of the bytes that come from now on, also on connections that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They arrive.
    Clear,
    /// Each read of the proxy arrives so much later.
    Slow(Duration),
    /// Nothing arrives, and nobody is told.
    Lost,
    /// Of each answer so many bytes arrive, then the connection ends.
    Cut(usize),
    /// Connections end at once.
    Closed,
}

/// Passes connections on to a port of this host.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    way: Arc<Mutex<Way>>,
    stops: Arc<AtomicBool>,
}

impl Proxy {
    /// In front of a server that listens at `127.0.0.1:target`, or will.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn to(target: u16) -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into(), target)
    }

    /// As [`Proxy::to`]; it listens at another address.
    ///
    /// # Panics
    /// When no port is free, or the address is not this host's.
    #[must_use]
    pub fn at(address: IpAddr, target: u16) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (way, stops) = (Arc::new(Mutex::new(Way::Clear)), Arc::new(AtomicBool::new(false)));
        let (ways, stopped) = (Arc::clone(&way), Arc::clone(&stops));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                if current(&ways) != Way::Closed
                    && let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target))
                {
                    join(client, server, &ways);
                }
            }
        });
        Self { address, way, stops }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn set(&self, way: Way) {
        *self.way.lock().unwrap_or_else(PoisonError::into_inner) = way;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::SeqCst);
        self.set(Way::Closed);
        // Wakes who accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn current(way: &Mutex<Way>) -> Way {
    *way.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes bytes on in both directions until one side ends.
fn join(client: TcpStream, server: TcpStream, way: &Arc<Mutex<Way>>) {
    for (from, to, is_answer) in [(&client, &server, false), (&server, &client, true)] {
        let (Ok(from), Ok(to), way) = (from.try_clone(), to.try_clone(), Arc::clone(way)) else { return };
        thread::spawn(move || {
            pass(&from, &to, &way, is_answer);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, way: &Mutex<Way>, is_answer: bool) {
    let mut buffer = [0; 16 * 1024];
    // So that a way that closes is noticed where nothing comes.
    let _ = from.set_read_timeout(Some(Duration::from_millis(20)));
    loop {
        let read = match from.read(&mut buffer) {
            Ok(read) => read,
            Err(_) if current(way) == Way::Closed => return,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                continue;
            }
            Err(_) => return,
        };
        if read == 0 {
            return;
        }
        let (bytes, ends) = match current(way) {
            Way::Clear => (&buffer[..read], false),
            Way::Slow(time) => {
                thread::sleep(time);
                (&buffer[..read], false)
            }
            Way::Lost => continue,
            Way::Cut(most) if is_answer => (&buffer[..read.min(most)], true),
            Way::Cut(_) => (&buffer[..read], false),
            Way::Closed => return,
        };
        if to.write_all(bytes).is_err() || ends {
            return;
        }
    }
}
