//! The event loop of a thread that serves MTAs: which task waits for which socket, and nothing else.
//!
//! A task stays on its thread. Timers, and all that is asked of others, are another runtime's: the thread is in its context,
//! and what is ready there wakes a task from outside. A session that asks nobody costs no more than its system calls: what
//! waits for a socket takes no lock, and there is no second list of sockets besides the system's. Failure: a task that panics
//! ends alone; when the system's event queue fails, the loop ends with its error.

use std::{
    cell::{Cell, RefCell},
    io::{self, Read, Write},
    mem::take,
    os::fd::{AsFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        EventfdFlags, Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
        eventfd,
    },
    io::Errno,
};
use slab::Slab;

/// Makes this thread an event loop until `main` is done; tasks that are left then are dropped.
///
/// # Errors
/// When the system's event queue can't be made, or fails.
///
/// # Panics
/// Within an event loop.
pub fn run<T>(main: impl Future<Output = T>) -> io::Result<T> {
    let this = Rc::new(EventLoop::new()?);
    let before = THIS.replace(Some(Rc::clone(&this)));
    assert!(before.is_none(), "a thread has one event loop");
    let result = this.run(pin!(main));
    // They may look for it in their end.
    let left = take(&mut *this.tasks.borrow_mut());
    drop(left);
    THIS.set(None);
    result
}

/// Has this thread's event loop run a task, which begins at the loop's next turn.
///
/// # Panics
/// Outside of an event loop.
pub fn spawn(task: Work) {
    here(|this| this.spawn(task));
}

/// What a task does.
pub type Work = Pin<Box<dyn Future<Output = ()>>>;

/// How a socket is watched.
#[derive(Debug, Clone, Copy)]
pub(super) enum Watch {
    /// For what comes from now on, and for what is there.
    Connection,
    /// As long as somebody waits to be accepted; of several loops that are idle, one is told.
    Listener,
}

/// Has the task that asks polled whenever there is something new at the socket, until that is closed or
/// [left alone](Watched::end).
///
/// # Errors
/// When the system's event queue fails.
///
/// # Panics
/// Outside of a task of an event loop.
pub(super) fn watch(socket: impl AsFd, how: Watch) -> io::Result<Watched> {
    here(|this| {
        let key = this.current.get();
        let signal = this.tasks.borrow().get(key).map(|task| Arc::clone(&task.signal));
        let signal = signal.expect("a task of this event loop asks");
        let flags = match how {
            Watch::Connection => EventFlags::IN | EventFlags::RDHUP | EventFlags::ET,
            Watch::Listener => EventFlags::IN | EventFlags::EXCLUSIVE,
        };
        epoll::add(&this.queue, socket, EventData::new_u64(key as u64), flags)?;
        Ok(Watched(signal))
    })
}

/// A socket that is watched for a task.
#[derive(Debug)]
pub(super) struct Watched(Arc<Signal>);

impl Watched {
    /// Whether there may be something since the last look. When the peer has ended its part there always is: that end may
    /// lie behind what is read, and is told of once.
    pub(super) fn look(&self) -> bool {
        // Only the loop's own thread writes these.
        let Signal { is_ready, has_ended, .. } = &*self.0;
        has_ended.load(Ordering::Relaxed)
            || is_ready.load(Ordering::Relaxed) && is_ready.swap(false, Ordering::Relaxed)
    }

    /// Watches it no longer: for one that stays open.
    pub(super) fn end(self, socket: impl AsFd) {
        // With the loop itself all has ended.
        THIS.with_borrow(|this| this.as_ref().map(|this| epoll::delete(&this.queue, socket)));
    }
}

/// One thread's.
struct EventLoop {
    /// The system's event queue.
    queue: OwnedFd,
    tasks: RefCell<Slab<Task>>,
    /// The task that is polled.
    current: Cell<usize>,
    woken: Arc<Woken>,
}

struct Task {
    signal: Arc<Signal>,
    /// Not there while it is polled.
    work: Option<(Work, Waker)>,
}

/// What a task is polled for.
#[derive(Debug)]
struct Signal {
    key: usize,
    /// There is something at its socket.
    is_ready: AtomicBool,
    /// Whoever is at the other end writes no more.
    has_ended: AtomicBool,
    /// It waits for its turn.
    is_woken: AtomicBool,
    woken: Arc<Woken>,
}

/// Tasks that were woken, from any thread.
#[derive(Debug)]
struct Woken {
    keys: Mutex<Vec<usize>>,
    /// The loop waits, or will before it looks at the keys again.
    is_waiting: AtomicBool,
    /// Ends its wait.
    alarm: std::fs::File,
    /// Who has the loop [turn](Turns).
    #[cfg(test)]
    host: Mutex<Option<Waker>>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.woken.add(self.key);
        }
    }
}

impl Woken {
    fn new() -> io::Result<Self> {
        let alarm = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?.into();
        Ok(Self {
            keys: Mutex::default(),
            is_waiting: AtomicBool::new(false),
            alarm,
            #[cfg(test)]
            host: Mutex::default(),
        })
    }

    fn add(&self, key: usize) {
        self.keys().push(key);
        #[cfg(test)]
        if let Some(host) = self.host.lock().unwrap_or_else(PoisonError::into_inner).take() {
            host.wake();
        }
        if self.is_waiting.swap(false, Ordering::AcqRel) {
            // It can't fail but for a count beyond 2^64, and then it is set anyway.
            let _ = (&self.alarm).write(&1_u64.to_ne_bytes());
        }
    }

    /// The loop is about to wait: whether it has to. Who is woken from now on ends the wait.
    fn begin_wait(&self) -> bool {
        self.is_waiting.store(true, Ordering::Release);
        self.keys().is_empty()
    }

    fn end_wait(&self) {
        self.is_waiting.store(false, Ordering::Release);
    }

    fn keys(&self) -> MutexGuard<'_, Vec<usize>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventLoop {
    fn new() -> io::Result<Self> {
        let queue = epoll::create(CreateFlags::CLOEXEC)?;
        let woken = Arc::new(Woken::new()?);
        epoll::add(&queue, &woken.alarm, EventData::new_u64(ALARM), EventFlags::IN)?;
        Ok(Self { queue, tasks: RefCell::default(), current: Cell::new(MAIN), woken })
    }

    fn run<T>(&self, mut main: Pin<&mut impl Future<Output = T>>) -> io::Result<T> {
        let signal = self.signal(MAIN);
        let waker = Waker::from(Arc::clone(&signal));
        signal.wake_by_ref();
        let mut woken = Vec::new();
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            std::mem::swap(&mut woken, &mut self.woken.keys());
            for key in woken.drain(..) {
                if key != MAIN {
                    self.poll(key, None);
                    continue;
                }
                signal.is_woken.store(false, Ordering::Release);
                if let Poll::Ready(result) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(result);
                }
            }
            let limit =
                if self.woken.begin_wait() { None } else { Some(&Timespec { tv_sec: 0, tv_nsec: 0 }) };
            self.wait(&mut events, limit)?;
        }
    }

    /// Waits for what the system tells of, and polls whom that is for; how many there were.
    fn wait(&self, events: &mut Vec<Event>, limit: Option<&Timespec>) -> io::Result<usize> {
        let waited = epoll::wait(&self.queue, spare_capacity(events), limit);
        self.woken.end_wait();
        match waited {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let count = events.len();
        for Event { data, flags, .. } in events.drain(..) {
            match data.u64() {
                ALARM => {
                    let _ = (&self.woken.alarm).read(&mut [0; 8]);
                }
                key => self.poll(usize::try_from(key).unwrap_or(MAIN), Some(flags)),
            }
        }
        Ok(count)
    }

    fn spawn(&self, work: Work) {
        let mut tasks = self.tasks.borrow_mut();
        let place = tasks.vacant_entry();
        let signal = self.signal(place.key());
        let waker = Waker::from(Arc::clone(&signal));
        signal.wake_by_ref();
        place.insert(Task { signal, work: Some((work, waker)) });
    }

    /// `told`: of its socket. Who was meant may have ended, and another have its place: to be polled in vain does no harm.
    fn poll(&self, key: usize, told: Option<EventFlags>) {
        let work = self.tasks.borrow_mut().get_mut(key).and_then(|task| {
            let signal = &task.signal;
            if let Some(flags) = told {
                signal.is_ready.store(true, Ordering::Relaxed);
                if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
                    signal.has_ended.store(true, Ordering::Relaxed);
                }
            } else {
                signal.is_woken.store(false, Ordering::Release);
            }
            task.work.take()
        });
        let Some((mut future, waker)) = work else { return };
        self.current.set(key);
        let polled =
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        if matches!(polled, Ok(Poll::Pending)) {
            if let Some(task) = self.tasks.borrow_mut().get_mut(key) {
                task.work = Some((future, waker));
            }
            return;
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        let _task = self.tasks.borrow_mut().try_remove(key);
    }

    fn signal(&self, key: usize) -> Arc<Signal> {
        let woken = Arc::clone(&self.woken);
        let [is_ready, has_ended, is_woken] = [const { AtomicBool::new(false) }; 3];
        Arc::new(Signal { key, is_ready, has_ended, is_woken, woken })
    }
}

fn here<T>(work: impl FnOnce(&EventLoop) -> T) -> T {
    THIS.with_borrow(|this| work(this.as_ref().expect("in an event loop")))
}

thread_local! {
    static THIS: RefCell<Option<Rc<EventLoop>>> = const { RefCell::new(None) };
}

/// Keys that no task has.
const MAIN: usize = usize::MAX;
const ALARM: u64 = u64::MAX - 1;
/// So many are told of in one turn.
const EVENTS: usize = 256;

/// Does the work as a task of an event loop of its own, in the context of a runtime.
///
/// # Panics
/// Where the task does.
#[cfg(test)]
pub(crate) fn served<T: 'static>(work: impl Future<Output = T> + 'static) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _context = runtime.enter();
    let (told, result) = tokio::sync::oneshot::channel();
    let main = async {
        spawn(Box::pin(async { drop(told.send(work.await)) }));
        result.await.expect("the task is done")
    };
    run(main).expect("an event loop")
}

/// This thread's event loop, turned by a task of a runtime: whose time a test may have stopped.
#[cfg(test)]
pub(crate) struct Turns(Rc<EventLoop>);

#[cfg(test)]
impl Turns {
    pub(crate) fn begin() -> Self {
        let this = Rc::new(EventLoop::new().expect("an event queue"));
        assert!(THIS.replace(Some(Rc::clone(&this))).is_none(), "a thread has one event loop");
        Self(this)
    }

    /// Until nobody has anything left to do.
    pub(crate) fn turn(&self) {
        let (mut woken, mut events) = (Vec::new(), Vec::with_capacity(EVENTS));
        loop {
            std::mem::swap(&mut woken, &mut self.0.woken.keys());
            let (is_idle, now) = (woken.is_empty(), Timespec { tv_sec: 0, tv_nsec: 0 });
            woken.drain(..).for_each(|key| self.0.poll(key, None));
            if self.0.wait(&mut events, Some(&now)).expect("it does not fail") == 0 && is_idle {
                return;
            }
        }
    }

    /// Until somebody has.
    pub(crate) async fn woken(&self) {
        std::future::poll_fn(|context| {
            let woken = &self.0.woken;
            *woken.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
            if woken.keys().is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

#[cfg(test)]
impl Drop for Turns {
    fn drop(&mut self) {
        let left = take(&mut *self.0.tasks.borrow_mut());
        drop(left);
        THIS.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        io::Write,
        os::unix::net::{UnixListener, UnixStream},
        sync::atomic::AtomicUsize,
        thread,
        time::Duration,
    };

    use rustix::net::{SocketFlags, accept_with};
    use tokio::task::yield_now;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (socket, peer) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, peer)
    }

    /// Until the peer has written or left.
    async fn told(socket: &UnixStream, watched: &mut Option<Watched>) {
        if watched.is_none() {
            *watched = Some(watch(socket, Watch::Connection).unwrap());
        }
        poll_fn(|_| if watched.as_ref().unwrap().look() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    #[test]
    fn a_task_is_woken_by_its_socket_by_other_threads_and_by_timers() {
        served(async {
            let (mut socket, mut peer) = pair();
            let writer = thread::spawn(move || {
                for pause in [0, 30, 30] {
                    thread::sleep(Duration::from_millis(pause));
                    peer.write_all(b"x").unwrap();
                }
                peer
            });
            let (mut watched, mut received) = (None, 0);
            while received < 3 {
                told(&socket, &mut watched).await;
                received += socket.read(&mut [0; 8]).unwrap();
            }
            let (tell, hears) = tokio::sync::oneshot::channel();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(30));
                tell.send(5).unwrap();
            });
            assert_eq!(hears.await, Ok(5));
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert_eq!(tokio::task::spawn_blocking(|| 7).await.unwrap(), 7);
            drop(writer.join().unwrap());
            told(&socket, &mut watched).await;
            assert_eq!(socket.read(&mut [0; 8]).unwrap(), 0);
        });
    }

    #[test]
    fn a_task_that_panics_ends_alone_and_others_take_its_place() {
        let dropped = Rc::new(());
        let held = Rc::clone(&dropped);
        served(async move {
            let (tell, hears) = tokio::sync::oneshot::channel::<()>();
            spawn(Box::pin(async move {
                let _held = held;
                yield_now().await;
                assert!(tell.is_closed(), "a fault put in by a test");
            }));
            assert!(hears.await.is_err());
            assert_eq!(Rc::strong_count(&dropped), 1);
            let (tell, hears) = tokio::sync::oneshot::channel();
            spawn(Box::pin(async { tell.send(()).unwrap() }));
            hears.await.unwrap();
        });
    }

    #[test]
    fn what_is_left_in_the_end_is_dropped() {
        let dropped = Rc::new(());
        let held = Rc::clone(&dropped);
        run(async {
            spawn(Box::pin(async move {
                let _held = held;
                std::future::pending::<()>().await;
            }));
            let mut turns = 3;
            poll_fn(|context| {
                turns -= 1;
                context.waker().wake_by_ref();
                if turns > 0 { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        })
        .unwrap();
        assert_eq!(Rc::strong_count(&dropped), 1);
        assert_eq!(run(async { 5 }).unwrap(), 5, "the thread may have another one");
    }

    /// One that always has something to do keeps nobody waiting.
    #[test]
    fn tasks_take_turns() {
        served(async {
            let (mut socket, mut peer) = pair();
            let end = Rc::new(Cell::new(false));
            let turns = Rc::new(Cell::new(0_u64));
            let (is_over, counted) = (Rc::clone(&end), Rc::clone(&turns));
            spawn(Box::pin(async move {
                while !is_over.get() {
                    counted.set(counted.get() + 1);
                    yield_now().await;
                }
            }));
            let mut watched = None;
            for _ in 0..10 {
                let before = turns.get();
                peer.write_all(b"x").unwrap();
                told(&socket, &mut watched).await;
                assert_eq!(socket.read(&mut [0; 8]).unwrap(), 1);
                assert!(turns.get() - before <= 2, "{} and {before}", turns.get());
            }
            end.set(true);
        });
    }

    /// Wakers live on where somebody keeps them.
    #[test]
    fn to_wake_who_has_ended_does_no_harm() {
        let (tell, keeps) = std::sync::mpsc::channel();
        served(async move {
            let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
            tell.send(waker).unwrap();
        });
        let waker: Waker = keeps.recv().unwrap();
        waker.wake_by_ref();
        served(async move {
            let again = waker.clone();
            waker.wake();
            thread::spawn(move || again.wake()).join().unwrap();
        });
    }

    /// All are taken, each once, by two loops; a loop that pauses gets none.
    #[test]
    fn a_listener_of_several_loops() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = Arc::new(listener);
        let taken = Arc::new([const { AtomicUsize::new(0) }; 2]);
        let paused = Arc::new(AtomicBool::new(false));
        let threads = [0, 1].map(|at| {
            let (listener, taken, paused) = (Arc::clone(&listener), Arc::clone(&taken), Arc::clone(&paused));
            thread::spawn(move || {
                served(async move {
                    let mut watched = Some(watch(&listener, Watch::Listener).unwrap());
                    let total = || taken.iter().map(|taken| taken.load(Ordering::SeqCst)).sum::<usize>();
                    while total() < 2 * EACH {
                        if at == 0 && total() >= EACH && !paused.swap(true, Ordering::SeqCst) {
                            watched.take().unwrap().end(&listener);
                        }
                        if watched.as_ref().is_some_and(Watched::look)
                            && accept_with(&listener, SocketFlags::NONBLOCK).is_ok()
                        {
                            taken[at].fetch_add(1, Ordering::SeqCst);
                        }
                        let _ =
                            tokio::time::timeout(Duration::from_millis(2), poll_fn(|_| Poll::<()>::Pending))
                                .await;
                    }
                });
            })
        });
        for _ in 0..EACH {
            UnixStream::connect(&path).unwrap();
        }
        while !paused.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        let before = taken[0].load(Ordering::SeqCst);
        for _ in 0..EACH {
            UnixStream::connect(&path).unwrap();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(taken[0].load(Ordering::SeqCst), before);
        assert_eq!(taken[1].load(Ordering::SeqCst), 2 * EACH - before);
    }

    const EACH: usize = 50;
}
