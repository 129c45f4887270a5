//! The rules alone, in a program of blocking threads: `cargo run --example plain --no-default-features`. Of two servers
//! one breaks off every other call; the caller gets all its answers.

#![allow(clippy::print_stdout)] // for the terminal

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bramble::Ratio;
use bramble::balance::{Balancer, Ending, Endpoint, PickRequest, Target};
use bramble::breaker::{CircuitBreaker, Outcome};
use bramble::bulkhead::Bulkhead;
use bramble::retry::Budget;

type Error = Box<dyn std::error::Error + Send + Sync>;

struct Service {
    limit: Arc<Bulkhead>,
    circuit: CircuitBreaker,
    servers: Balancer,
    retries: Budget,
}

impl Service {
    fn new(servers: &[Target]) -> Self {
        let (breaker, now, seed) = (Default::default(), Instant::now(), fastrand::u64(..));
        let balancer = Balancer::new(&Default::default(), &breaker, "", now, seed);
        balancer.update(servers, now);
        let circuit = CircuitBreaker::new(&breaker.for_sole_callee(), now, seed);
        let retries = Budget::new(Ratio::new(0.2), 50, now);
        Self { limit: Bulkhead::new("greeter", 8), circuit, servers: balancer, retries }
    }

    /// Calls a server: at most 8 calls at a time, none while the circuit is open, another server after a failure.
    fn call(&self) -> Result<String, Error> {
        let _permit = self.limit.try_enter()?;
        let (permit, started) = (self.circuit.try_acquire(Instant::now())?, Instant::now());
        let answer = self.attempts();
        let outcome = if answer.is_ok() { Outcome::Success { latency: started.elapsed() } } else { Outcome::Failure };
        permit.record(outcome, Instant::now());
        answer
    }

    fn attempts(&self) -> Result<String, Error> {
        let (mut rng, mut tried) = (fastrand::Rng::new(), Vec::new());
        loop {
            let started = Instant::now();
            let pick =
                self.servers.pick(started, &mut rng, &PickRequest { tried: &tried, ..PickRequest::default() })?;
            tried.push(Arc::clone(pick.endpoint()));
            let answer = ask(pick.endpoint());
            let (latency, now) = (started.elapsed(), Instant::now());
            pick.finish(answer.as_ref().map_or(Ending::Failed, |_| Ending::Success { latency }), now);
            match answer {
                Ok(text) => return Ok(text).inspect(|_| self.retries.deposit(now)),
                Err(error) if !self.retries.try_withdraw(now) => return Err(error.into()),
                Err(_) => {}
            }
        }
    }
}

/// The blocking call, over any protocol. Here `flaky` breaks off every other one.
fn ask(server: &Endpoint) -> io::Result<String> {
    thread::sleep(Duration::from_millis(1));
    let breaks = server.id() == "flaky" && fastrand::bool();
    if breaks { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(format!("Hello from {}!", server.address())) }
}

fn main() -> Result<(), Error> {
    let target = |id: &str, port| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Target { id: id.into(), address, weight: 1, zone: String::new(), draining: false }
    };
    let service = Service::new(&[target("sound", 4001), target("flaky", 4002)]);
    let answered: usize = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..25).filter(|_| service.call().is_ok()).count())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    });
    println!("{answered} of 100 calls answered");
    for endpoint in service.servers.endpoints() {
        println!("{}: circuit {}", endpoint.id(), endpoint.breaker().state());
    }
    Ok(())
}
