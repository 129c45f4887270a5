//! The server takes every connection as hostile until it has said something, and as slow after that.
//!
//! hyper reads and writes HTTP/1.1, tide answers. What lies between is here: how many connections, how long each may
//! take to ask, to send a body and to take the answer, what is refused before a handler sees it, and how all of it ends
//! on SIGTERM. `connection` drives one connection, `progress` is what it waits for, `admission` decides which requests
//! are worked on and when, `answer` is one request on its way to tide and back, `convert` and `body` translate,
//! `refusal` says no.

mod admission;
mod answer;
mod body;
mod connection;
mod convert;
mod progress;
mod refusal;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use async_io::{Async, Timer};
use event_listener::Event;
use futures_lite::future;
use futures_lite::prelude::*;
use http::HeaderValue;

use crate::timeout::timeout;
use crate::{config, limit};
use admission::Gate;
pub use admission::time_left;
use answer::Session;

/// Time for a whole body: 64 KiB at the 10 kB/s of a bad radio link, three times over.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Time without one byte taken by the peer: what TCP needs for six retransmissions.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections accepted before others have their turn, about a millisecond on a Pi. With one at a time a server whose
/// handlers compute would leave peers in the system's queue, where nothing measures how long they wait.
const ACCEPTED_IN_A_ROW: usize = 32;
/// The system is out of descriptors or memory: others need a moment to give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Peers told "503" at the same time; one more is closed without a word.
const MAX_REFUSING: usize = 64;

/// How much of everything a peer may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections served at the same time; one more is answered 503, unless it asks for a path that is never refused.
    pub max_connections: usize,
    /// From the first byte of a request's head to its last; then 408.
    pub header_timeout: Duration,
    /// For the whole body, from when the handler first waits for it; then 408.
    pub body_timeout: Duration,
    /// Rest between two requests, and before the first; then closed without a word.
    pub idle_timeout: Duration,
    /// Without one byte of the answer taken by the peer; then cut.
    pub write_timeout: Duration,
    /// For requests in flight to end after shutdown; then cut.
    pub drain_timeout: Duration,
    /// Bytes of a request's body; one more is 413.
    pub max_body: usize,
    /// Requests worked on at the same time, and how long others wait for that; then 503.
    pub requests: limit::LimiterSettings,
}

impl From<&config::Server> for limit::LimiterSettings {
    fn from(server: &config::Server) -> Self {
        Self { concurrency: server.concurrency, threads: server.threads, ..Self::default() }
    }
}

impl From<&config::Server> for Limits {
    fn from(server: &config::Server) -> Self {
        Self {
            max_connections: server.max_connections,
            header_timeout: server.header_timeout,
            body_timeout: BODY_TIMEOUT,
            idle_timeout: server.idle_timeout,
            write_timeout: WRITE_TIMEOUT,
            drain_timeout: server.drain_timeout,
            max_body: server.max_body,
            requests: server.into(),
        }
    }
}

/// Counts since the start; cheap to bump, cheap to read.
#[derive(Debug, Default)]
pub struct Stats {
    open: AtomicUsize,
    answers: [AtomicU64; 5],
    refused: AtomicU64,
    panics: AtomicU64,
    waiting: AtomicUsize,
    waited_us: AtomicU64,
    requests_refused: AtomicU64,
    requests_late: AtomicU64,
    requests_left: AtomicU64,
}

/// [`Stats`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSnapshot {
    /// Connections open now.
    pub open_connections: usize,
    /// Answers by the first digit of their status: `[0]` counts 1xx, `[4]` counts 5xx.
    pub answers: [u64; 5],
    /// Connections over the limit.
    pub refused_connections: u64,
    /// Handlers, and bodies of their answers, that panicked.
    pub handler_panics: u64,
    /// Requests that wait for their turn now.
    pub requests_waiting: usize,
    /// How long all requests that had to wait for their turn have waited, together.
    pub requests_waited: Duration,
    /// Requests refused as they came, because they would have waited too long.
    pub requests_refused: u64,
    /// Requests refused after they had waited, because that took too long.
    pub requests_late: u64,
    /// Requests that waited until their caller left; no handler ran for them.
    pub requests_left: u64,
}

impl Stats {
    /// All counts, each read once.
    pub fn snapshot(&self) -> ServerSnapshot {
        ServerSnapshot {
            open_connections: self.open.load(Relaxed),
            answers: std::array::from_fn(|class| self.answers[class].load(Relaxed)),
            refused_connections: self.refused.load(Relaxed),
            handler_panics: self.panics.load(Relaxed),
            requests_waiting: self.waiting.load(Relaxed),
            requests_waited: Duration::from_micros(self.waited_us.load(Relaxed)),
            requests_refused: self.requests_refused.load(Relaxed),
            requests_late: self.requests_late.load(Relaxed),
            requests_left: self.requests_left.load(Relaxed),
        }
    }

    fn waited(&self, wait: Duration) {
        self.waited_us.fetch_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    fn answered(&self, status: u16) {
        if let Some(count) = self.answers.get(usize::from(status / 100).wrapping_sub(1)) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// Options of [`serve`] besides the routes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Limits for a peer.
    pub limits: Limits,
    /// Where connections run.
    pub executor: Arc<smol::Executor<'static>>,
    /// Where they are counted.
    pub stats: Arc<Stats>,
    /// The process's id: every answer carries it as [`ID_HEADER`](super::ID_HEADER), if there is one.
    pub id: Option<Arc<str>>,
    /// Paths of requests that are never refused and never wait.
    pub unlimited: &'static [&'static str],
}

impl Options {
    /// Options of a server that is no service of its own: without id, and without a path that is never refused.
    pub fn new(limits: Limits, executor: Arc<smol::Executor<'static>>) -> Self {
        Self { limits, executor, stats: Arc::default(), id: None, unlimited: &[] }
    }
}

/// How the shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections cut because they were still open after `drain_timeout`.
    pub cut: usize,
}

/// Another program listens there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("port {} is taken; is another instance running?", .0.port())]
pub struct PortTaken(pub SocketAddr);

/// Listens at `addr`; port 0 lets the system choose.
///
/// # Errors
/// What the system says; for a taken port of kind `AddrInUse` with a [`PortTaken`] inside.
pub fn listen(addr: SocketAddr) -> io::Result<Async<TcpListener>> {
    Async::<TcpListener>::bind(addr).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => io::Error::new(io::ErrorKind::AddrInUse, PortTaken(addr)),
        io::ErrorKind::AddrNotAvailable => {
            let why = format!("cannot listen at {addr}: this machine has no such address; 0.0.0.0 is each that it has");
            io::Error::new(io::ErrorKind::AddrNotAvailable, why)
        }
        kind => io::Error::new(kind, format!("cannot listen at {addr}: {error}")),
    })
}

/// State that all connections of a server share.
struct Shared<S> {
    app: tide::Server<S>,
    limits: Limits,
    stats: Arc<Stats>,
    gate: Gate,
    /// [`Options::id`] as a header has it.
    id: Option<HeaderValue>,
    unlimited: &'static [&'static str],
    stop: Stop,
    /// Never above `limits.max_connections`.
    open: AtomicUsize,
    /// Never above `MAX_REFUSING`.
    refusing: AtomicUsize,
    /// Notified at each end of a connection.
    closed: Event,
}

/// Tells every connection to end: first when it can, then now.
#[derive(Default)]
struct Stop {
    draining: AtomicBool,
    cut: AtomicBool,
    changed: Event,
}

impl Stop {
    fn say(&self, what: &AtomicBool) {
        what.store(true, SeqCst);
        self.changed.notify(usize::MAX);
    }
}

/// Serves `app` until `shutdown` resolves, then ends: idle connections at once, busy ones after their answer.
///
/// Connections run on `options.executor`, which another thread or task must drive.
pub async fn serve<S: Clone + Send + Sync + 'static>(
    listener: Async<TcpListener>,
    app: tide::Server<S>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let Options { limits, executor, stats, id, unlimited } = options;
    let drain_timeout = limits.drain_timeout;
    let shared = Arc::new(Shared {
        app,
        gate: Gate::new(limits.requests, &executor),
        limits,
        stats,
        id: id.and_then(|id| HeaderValue::from_str(&id).ok()),
        unlimited,
        stop: Stop::default(),
        open: AtomicUsize::new(0),
        refusing: AtomicUsize::new(0),
        closed: Event::new(),
    });
    future::or(shutdown, accept(&listener, &shared, &executor)).await;
    drop(listener);

    shared.stop.say(&shared.stop.draining);
    let all_closed = async {
        while shared.open.load(SeqCst) > 0 {
            let closed = shared.closed.listen();
            if shared.open.load(SeqCst) > 0 {
                closed.await;
            }
        }
    };
    let is_drained = timeout(drain_timeout, all_closed).await.is_some();
    let cut = if is_drained { 0 } else { shared.open.load(SeqCst) };
    shared.stop.say(&shared.stop.cut);
    Drained { cut }
}

/// Never ends, never waits for a connection.
async fn accept<S: Clone + Send + Sync + 'static>(
    listener: &Async<TcpListener>,
    shared: &Arc<Shared<S>>,
    executor: &smol::Executor<'static>,
) {
    let (mut failing, mut in_a_row) = (false, 0);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                failing = false;
                admit(stream, peer, shared, executor);
                in_a_row += 1;
                if in_a_row == ACCEPTED_IN_A_ROW {
                    in_a_row = 0;
                    future::yield_now().await; // others run even while peers queue up
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    log::warn!("cannot accept connections: {error}; is the limit of open files too low?");
                }
                Timer::after(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Starts the connection, or refuses it. With all taken, one that asks for a path that is never refused is answered
/// once.
fn admit<S: Clone + Send + Sync + 'static>(
    stream: Async<TcpStream>,
    peer: SocketAddr,
    shared: &Arc<Shared<S>>,
    executor: &smol::Executor<'static>,
) {
    let _ = stream.get_ref().set_nodelay(true); // an old kernel's refusal costs speed only
    if shared.open.load(SeqCst) < shared.limits.max_connections {
        let (place, shared) = (Place::take(shared), Arc::clone(shared));
        let run = async move {
            run(stream, peer, shared, true).await;
            drop(place);
        };
        executor.spawn(run).detach();
        return;
    }
    if shared.refusing.fetch_add(1, SeqCst) < MAX_REFUSING {
        let shared = Arc::clone(shared);
        let refuse = async move {
            if connection::asks_for(&stream, shared.unlimited).await {
                run(stream, peer, Arc::clone(&shared), false).await;
            } else {
                shared.stats.refused.fetch_add(1, Relaxed);
                connection::refuse(&stream, &refusal::BUSY, shared.id.as_ref()).await;
            }
            shared.refusing.fetch_sub(1, SeqCst);
        };
        executor.spawn(refuse).detach();
    } else {
        shared.stats.refused.fetch_add(1, Relaxed);
        shared.refusing.fetch_sub(1, SeqCst);
    }
}

/// Serves one connection until it ends, or panics.
async fn run<S: Clone + Send + Sync + 'static>(
    stream: Async<TcpStream>,
    peer: SocketAddr,
    shared: Arc<Shared<S>>,
    keep_alive: bool,
) {
    let run = connection::run(stream, peer, Arc::clone(&shared), keep_alive);
    if AssertUnwindSafe(run).catch_unwind().await.is_err() {
        shared.stats.panics.fetch_add(1, Relaxed);
        log::error!("connection of {peer} cut: the body of an answer panicked");
    }
}

/// A place among `max_connections`; given back when dropped.
struct Place<S>(Arc<Shared<S>>);

impl<S> Place<S> {
    fn take(shared: &Arc<Shared<S>>) -> Self {
        shared.open.fetch_add(1, SeqCst);
        shared.stats.open.fetch_add(1, Relaxed);
        Self(Arc::clone(shared))
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        self.0.stats.open.fetch_sub(1, Relaxed);
        self.0.open.fetch_sub(1, SeqCst);
        self.0.closed.notify(1);
    }
}
