//! The server under more load than it can carry, over real sockets on loopback: what its callers still get.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::print_stdout, reason = "the figures of an overload")]

#[path = "overload/callers.rs"]
mod callers;
#[path = "support"]
mod support {
    pub(crate) mod http;
    pub(crate) mod patience;
    pub(crate) mod round_robin;
}

use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_io::{Async, Timer};
use bramble::config::Config;
use bramble::internals::transport::server::{Limits, Options, Stats, listen, serve};
use bramble::limit::LimiterSettings;
use futures_lite::future;
use futures_lite::prelude::*;
use smol::Executor;
use smol::channel::{Sender, bounded};

/// Time that a call takes the server: a capacity of 30 calls a second.
const SERVICE: Duration = Duration::from_millis(33);
const CAPACITY: f64 = 1.0 / 0.033;
/// The server's mark.
const ID: &str = "slow-0123456789abcdef";
/// How long a caller waits: `[call] attempt_timeout`.
const PATIENCE: Duration = Duration::from_millis(1300);

/// A server on a thread of its own, so that handlers that compute hold up no other server.
struct Server {
    addr: SocketAddr,
    stats: Arc<Stats>,
    stop: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    runs: Arc<AtomicUsize>,
}

fn server(concurrency: usize, app: tide::Server<()>, runs: Arc<AtomicUsize>) -> Server {
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let addr = listener.get_ref().local_addr().unwrap();
    let stats = Arc::new(Stats::default());
    let (stop, stopped) = bounded::<()>(1);
    let shared = Arc::clone(&stats);
    let thread = std::thread::spawn(move || {
        let executor = Arc::new(Executor::new());
        let limits = Limits {
            requests: LimiterSettings { concurrency, ..LimiterSettings::default() },
            drain_timeout: Duration::ZERO,
            ..Limits::from(&Config::default().server)
        };
        let options = Options {
            stats: shared,
            id: Some(ID.into()),
            unlimited: &["/healthz"],
            ..Options::new(limits, Arc::clone(&executor))
        };
        let serve = serve(listener, app, options, async move {
            let _ = stopped.recv().await;
        });
        let serve = executor.spawn(serve);
        smol::block_on(executor.run(serve));
    });
    Server { addr, stats, stop: Some(stop), thread: Some(thread), runs }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().unwrap().join();
    }
}

fn app(runs: &Arc<AtomicUsize>) -> tide::Server<()> {
    let mut app = tide::Server::new();
    app.at("/healthz").get(|_| async { Ok("alive") });
    let count = Arc::clone(runs);
    app.at("/spin").get(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async {
            let until = Instant::now() + SERVICE;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            Ok("done")
        }
    });
    let (count, one) = (Arc::clone(runs), Arc::new(smol::lock::Mutex::new(())));
    app.at("/serial").get(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        let one = Arc::clone(&one);
        async move {
            let _one = one.lock().await;
            Timer::after(SERVICE).await;
            Ok("done")
        }
    });
    app
}

/// Outcome of one call.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    began: Duration,
    took: Duration,
    /// 0: nothing in time.
    status: u16,
}

async fn call(addr: SocketAddr, path: &str) -> u16 {
    let ask = async {
        let mut stream = Async::<TcpStream>::connect(addr).await.ok()?;
        let left = PATIENCE.as_millis();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-envoy-expected-rq-timeout-ms: {left}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.get(9..12)?.parse().ok()
    };
    let late = async {
        Timer::after(PATIENCE).await;
        None
    };
    future::or(ask, late).await.unwrap_or(0)
}

/// Asks at the rates of `phases`, each for as long as it says, whatever comes back.
fn load<F: Future<Output = u16> + Send + 'static>(ask: impl Fn() -> F, phases: &[(f64, Duration)]) -> Vec<Outcome> {
    let executor = Arc::new(Executor::new());
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let spawn = Arc::clone(&executor);
    let drive = async {
        let start = Instant::now();
        let (mut at, mut calls) = (start, Vec::new());
        for &(rate, long) in phases {
            let until = at + long;
            while at < until {
                at += Duration::from_secs_f64(1.0 / rate);
                Timer::at(at).await;
                let outcomes = Arc::clone(&outcomes);
                let asked = ask();
                calls.push(spawn.spawn(async move {
                    let began = Instant::now();
                    let status = asked.await;
                    let outcome = Outcome { began: began - start, took: began.elapsed(), status };
                    outcomes.lock().unwrap().push(outcome);
                }));
            }
        }
        for call in calls {
            call.await;
        }
    };
    smol::block_on(executor.run(drive));
    let mut outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
    outcomes.sort_by_key(|outcome| outcome.began);
    outcomes
}

fn answered(outcomes: &[Outcome], from: Duration, to: Duration) -> usize {
    outcomes.iter().filter(|one| (from..to).contains(&one.began) && one.status == 200).count()
}

/// Half of what the server can do, then 1.3 and 2 times of it for so `long`, then half again. In percent: of what it
/// could do, how much it did in the second and third, and of the calls from 4 s after the load had fallen on, how many
/// were answered.
fn goodput<F: Future<Output = u16> + Send + 'static>(ask: impl Fn() -> F, long: Duration) -> [f64; 3] {
    let [half, more, much, less] = [Duration::from_secs(1), long, long, Duration::from_secs(6)];
    let phases = [(0.5, half), (1.3, more), (2.0, much), (0.5, less)].map(|(load, long)| (load * CAPACITY, long));
    let outcomes = load(ask, &phases);
    let (first, second) = (half + more, half + more + much);
    let share = |from, to| 100.0 * answered(&outcomes, from, to) as f64 / (CAPACITY * (to - from).as_secs_f64());
    let mut refusals: Vec<_> = outcomes.iter().filter(|one| one.status == 503).map(|one| one.took).collect();
    refusals.sort();
    let typical = refusals[refusals.len() / 2];
    assert!(typical < Duration::from_millis(200), "refusals take {typical:?}: they are to come before the wait");
    let (from, to) = (second + Duration::from_secs(4), second + less);
    let after = outcomes.iter().filter(|one| (from..to).contains(&one.began)).count();
    [share(half, first), share(first, second), 100.0 * answered(&outcomes, from, to) as f64 / after as f64]
}

#[test]
fn handlers_that_compute_are_overloaded_and_healthz_is_answered_meanwhile() {
    let runs = Arc::new(AtomicUsize::new(0));
    let server = server(64, app(&runs), runs);
    let addr = server.addr;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let health = std::thread::spawn(move || {
        let mut slowest = Duration::ZERO;
        while stopped.recv_timeout(Duration::from_millis(100)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let began = Instant::now();
            assert_eq!(smol::block_on(call(addr, "/healthz")), 200);
            slowest = slowest.max(began.elapsed());
        }
        slowest
    });
    let [more, much, after] = goodput(|| call(addr, "/spin"), Duration::from_secs(6));
    let told = format!("{more:.0} % of capacity at 1.3 times the load, {much:.0} % at twice, {after:.0} % afterwards");
    assert!(more >= 80.0 && much >= 80.0 && after >= 95.0, "{told}");
    drop(stop);
    let slowest = health.join().unwrap();
    assert!(slowest < Duration::from_secs(1), "/healthz took {slowest:?}");
    let answered = usize::try_from(server.stats.snapshot().answers[1]).unwrap();
    assert!(server.runs.load(Ordering::Relaxed) <= answered, "no handler ran for a caller that had left");
}

#[test]
fn handlers_that_wait_for_each_other_are_overloaded_though_all_of_them_may_run() {
    let runs = Arc::new(AtomicUsize::new(0));
    let server = server(64, app(&runs), runs);
    let addr = server.addr;
    let [more, much, after] = goodput(move || call(addr, "/serial"), Duration::from_secs(6));
    let told = format!("{more:.0} % of capacity at 1.3 times the load, {much:.0} % at twice, {after:.0} % afterwards");
    // The first callers have to leave before the server knows: two of the twelve seconds.
    assert!(more + much >= 160.0 && after >= 95.0, "{told}");
}
