//! The limiter in virtual time: one server, callers that wait 1.3 s, and what they still get.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use fastrand::Rng;

use super::*;

/// How long a caller waits.
const PATIENCE: Duration = Duration::from_millis(1300);
/// Time that a request takes of a resource that serves 30 a second.
const SERVICE: Duration = Duration::from_millis(33);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Work of the server's handler.
enum Handler {
    /// Waits for something that others do not wait for, as long as the function says.
    Wait(Box<dyn FnMut(&mut Rng) -> Duration>),
    /// Waits for a resource that serves one request at a time, as long as the function says.
    Share(Box<dyn FnMut(&mut Rng) -> Duration>),
}

impl Handler {
    fn share(time: Duration) -> Self {
        Self::Share(Box::new(move |_| time))
    }

    /// Answers of an upstream for `cold` percent of the requests, of a cache for the others.
    fn upstream(cold: u64, mut time: impl FnMut(&mut Rng) -> Duration + 'static) -> Self {
        Self::Wait(Box::new(move |rng| if rng.u64(..100) < cold { time(rng) } else { millis(1) }))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    /// The handler of this request is done.
    Done(usize),
    /// The caller of this request leaves.
    Leave(usize),
}

/// Outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestOutcome {
    Pending,
    Answered,
    Refused,
    Left,
}

struct Request {
    since: Duration,
    fate: RequestOutcome,
    took: Duration,
}

struct Simulation {
    start: Instant,
    now: Duration,
    limiter: Limiter,
    handler: Handler,
    rng: Rng,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    requests: Vec<Request>,
    waiting: HashMap<Ticket, usize>,
    running: HashMap<usize, RequestPermit>,
    /// Requests at the shared resource; the first is being served.
    shared: VecDeque<usize>,
}

impl Simulation {
    fn new(concurrency: usize, handler: Handler, seed: u64) -> Self {
        let start = Instant::now();
        let settings = LimiterSettings { concurrency, ..LimiterSettings::default() };
        Self {
            start,
            now: Duration::ZERO,
            limiter: Limiter::new(settings, start),
            handler,
            rng: Rng::with_seed(seed),
            events: BinaryHeap::new(),
            requests: Vec::new(),
            waiting: HashMap::new(),
            running: HashMap::new(),
            shared: VecDeque::new(),
        }
    }

    fn clock(&self) -> Instant {
        self.start + self.now
    }

    /// `rate` requests a second for `long`, at random times.
    fn load(&mut self, rate: f64, long: Duration) -> &mut Self {
        let until = self.now + long;
        let mut next = self.now;
        while next < until {
            next += Duration::from_secs_f64(-(1.0 - self.rng.f64()).ln() / rate);
            self.events.push(Reverse((next, Event::Arrive)));
        }
        self.run_until(until)
    }

    /// Time for what has arrived to end.
    fn rest(&mut self) -> &mut Self {
        self.run_until(self.now + seconds(3))
    }

    fn run_until(&mut self, until: Duration) -> &mut Self {
        while let Some(&Reverse((at, event))) = self.events.peek().filter(|Reverse((at, _))| *at < until) {
            self.events.pop();
            self.now = at;
            self.on(event);
        }
        self.now = until;
        self
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Done(request) => self.done(request),
            Event::Leave(request) => self.leave(request),
        }
        while let Some(ticket) = self.limiter.call() {
            let request = self.waiting.remove(&ticket).expect("it waits");
            match self.limiter.start(ticket, self.clock()) {
                Ok(permit) => self.run(request, permit),
                Err(_) => self.end(request, RequestOutcome::Refused),
            }
        }
    }

    fn arrive(&mut self) {
        let request = self.requests.len();
        self.requests.push(Request { since: self.now, fate: RequestOutcome::Pending, took: Duration::ZERO });
        self.events.push(Reverse((self.now + PATIENCE, Event::Leave(request))));
        match self.limiter.arrive(self.clock(), Some(self.clock() + PATIENCE)) {
            Admission::Run(permit) => self.run(request, permit),
            Admission::Queue(ticket) => drop(self.waiting.insert(ticket, request)),
            Admission::Refuse(_) => self.end(request, RequestOutcome::Refused),
        }
    }

    fn run(&mut self, request: usize, permit: RequestPermit) {
        self.running.insert(request, permit);
        match &mut self.handler {
            Handler::Wait(time) => self.events.push(Reverse((self.now + time(&mut self.rng), Event::Done(request)))),
            Handler::Share(_) => {
                self.shared.push_back(request);
                if self.shared.len() == 1 {
                    self.serve_next();
                }
            }
        }
    }

    fn serve_next(&mut self) {
        if let (Handler::Share(time), Some(&request)) = (&mut self.handler, self.shared.front()) {
            self.events.push(Reverse((self.now + time(&mut self.rng), Event::Done(request))));
        }
    }

    fn release(&mut self, request: usize) {
        let Some(at) = self.shared.iter().position(|one| *one == request) else { return };
        self.shared.remove(at);
        if at == 0 {
            self.serve_next();
        }
    }

    fn done(&mut self, request: usize) {
        if let Some(permit) = self.running.remove(&request) {
            self.limiter.finish(permit, self.clock());
            self.end(request, RequestOutcome::Answered);
            self.release(request);
        }
    }

    fn leave(&mut self, request: usize) {
        if let Some(permit) = self.running.remove(&request) {
            self.limiter.abandon(permit, self.clock());
            self.end(request, RequestOutcome::Left);
            self.release(request);
        } else if let Some(ticket) = self.waiting.iter().find(|(_, one)| **one == request).map(|(ticket, _)| *ticket) {
            self.waiting.remove(&ticket);
            self.limiter.leave(ticket);
            self.end(request, RequestOutcome::Left);
        }
    }

    fn end(&mut self, request: usize, fate: RequestOutcome) {
        let request = &mut self.requests[request];
        request.fate = fate;
        request.took = self.now - request.since;
    }

    fn requests_until(&self, until: Duration) -> usize {
        self.requests.iter().filter(|one| one.since < until).count()
    }

    /// How many of the requests of `from` to `to` came to `fate`.
    fn count(&self, from: Duration, to: Duration, fate: RequestOutcome) -> usize {
        self.requests.iter().filter(|one| (from..to).contains(&one.since) && one.fate == fate).count()
    }
}

const CAPACITY: f64 = 1.0 / 0.033;

fn exponential(mean: Duration) -> Handler {
    Handler::Share(Box::new(move |rng| mean.mul_f64(-(1.0 - rng.f64()).ln())))
}

/// 20 s of `load` times `capacity`, then half of it: the share of `capacity` that was answered during the first, and of
/// all requests that came from 4 s after it on.
fn goodput(concurrency: usize, handler: Handler, capacity: f64, load: f64, seed: u64) -> (f64, f64) {
    let mut simulation = Simulation::new(concurrency, handler, seed);
    simulation.load(capacity * 0.5, seconds(5)).load(capacity * load, seconds(20));
    simulation.load(capacity * 0.5, seconds(12)).rest();
    let during = simulation.count(seconds(5), seconds(25), RequestOutcome::Answered) as f64 / (capacity * 20.0);
    let after = simulation.count(seconds(29), seconds(37), RequestOutcome::Answered);
    let all = simulation.requests.iter().filter(|one| (seconds(29)..seconds(37)).contains(&one.since)).count();
    (during, after as f64 / all as f64)
}

#[test]
fn an_overloaded_server_answers_what_it_can_and_recovers_at_once() {
    for load in [1.3, 2.0, 3.0] {
        for seed in 0..5 {
            let (during, after) = goodput(1, Handler::share(SERVICE), CAPACITY, load, seed);
            assert!(during > 0.95 && after == 1.0, "{load}, seed {seed}: {during}, {after}");
        }
    }
}

#[test]
fn handlers_that_wait_for_each_other_are_found_out_whatever_concurrency_is_set() {
    for load in [1.3, 2.0, 3.0] {
        for seed in 0..5 {
            for (handler, capacity) in [
                (Handler::share(SERVICE), CAPACITY),
                (exponential(SERVICE), CAPACITY),
                (Handler::share(millis(100)), 10.0),
                (Handler::share(millis(5)), 200.0),
            ] {
                let (during, after) = goodput(64, handler, capacity, load, seed);
                assert!(during > 0.9 && after > 0.99, "{load} x {capacity}, seed {seed}: {during}, {after}");
            }
        }
    }
}

#[test]
fn a_slow_upstream_throttles_no_request() {
    for cold in [10, 50, 90, 95, 100] {
        for (least, most) in [(1200, 1200), (1000, 1290), (2500, 2700)] {
            let time = move |rng: &mut Rng| millis(rng.u64(least..=most));
            let mut simulation = Simulation::new(64, Handler::upstream(cold, time), cold);
            simulation.load(30.0, seconds(40)).rest();
            assert_eq!(
                simulation.count(Duration::ZERO, seconds(40), RequestOutcome::Refused),
                0,
                "{cold} % of {least} ms"
            );
            let left = simulation.count(Duration::ZERO, seconds(40), RequestOutcome::Left);
            assert!(most > 1300 || left == 0, "{left} callers left at {cold} % of {least} ms");
        }
    }
}

#[test]
fn a_cache_that_grows_cold_is_not_taken_for_a_queue_of_handlers() {
    let mut simulation = Simulation::new(64, Handler::upstream(0, |_| millis(1)), 1);
    simulation.load(40.0, seconds(10));
    simulation.handler = Handler::upstream(100, |rng| millis(rng.u64(1000..1290)));
    simulation.load(40.0, seconds(20));
    assert_eq!(
        simulation.count(Duration::ZERO, seconds(28), RequestOutcome::Answered),
        simulation.requests_until(seconds(28))
    );
}

#[test]
fn a_wrong_suspicion_of_a_queue_of_handlers_is_given_up() {
    // All that could be taken for it: a third of the callers leave, quick answers are known, and there are none now.
    for seed in 0..5 {
        let mut simulation = Simulation::new(64, Handler::upstream(0, |_| millis(1)), seed);
        simulation.load(40.0, seconds(10));
        let in_time = |rng: &mut Rng| millis(rng.u64(1100..1400));
        simulation.handler = Handler::upstream(100, in_time);
        simulation.load(40.0, seconds(20)).rest();
        let answered = simulation.count(seconds(10), seconds(30), RequestOutcome::Answered);
        let all = simulation.requests_until(seconds(30)) - simulation.requests_until(seconds(10));
        assert!(answered as f64 > 0.5 * all as f64, "{answered} of {all}, where two thirds would be without a limit");
    }
}
