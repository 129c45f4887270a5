//! The decision rules of a client, as the simulator drives them.
//!
//! The interface is that of `bramble::call`: a client process has shared state towards one service; each call is a
//! state machine that is told what happened and says what to do next. The simulator owns sockets, timers and clock.

pub mod baseline;
mod directory;
pub mod rules;

pub use bramble::breaker::HealthCheck;
pub use bramble::call::{CallEvent, Ending, Question};
pub use directory::{Directory, DirectoryProbe};

use fastrand::Rng;
use std::time::{Duration, Instant};

/// The time limits that are equal for every contestant.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimits {
    /// How long a caller waits in all.
    pub call: Duration,
    /// How long a baseline waits for one instance.
    pub attempt: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self { call: Duration::from_secs(3), attempt: Duration::from_millis(1300) }
    }
}

/// A set of decision rules that takes part in the scoreboard.
pub trait Contestant: Sync {
    /// Name of the contestant, as the scoreboard prints it.
    fn name(&self) -> &'static str;

    /// Whether the servers have Bramble's early refusal in front of their queue.
    fn early_refusal(&self) -> bool {
        false
    }

    /// Whether the servers have the circuit of Bramble's producer before the upstream. Their cache is the same for all.
    fn upstream_circuit(&self) -> bool {
        false
    }

    /// Whether its clients tell an answer of the service from a stranger's, a broken body, and a failed upstream. Other
    /// clients know the status alone: 2xx is a success, everything else a failure.
    fn checks_contract(&self) -> bool {
        false
    }

    /// A client process that has just started and knows no instance.
    fn client(&self, client: ClientOptions<'_>, now: Instant) -> Box<dyn Client>;
}

/// Options that a client process is started with.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions<'a> {
    /// Zone of the client; empty for none.
    pub zone: &'a str,
    /// Another one for each process.
    pub seed: u64,
    /// The time limits.
    pub limits: TimeLimits,
}

/// The state that all calls of one client process to the service share.
pub trait Client {
    /// Replaces the list of instances.
    fn update(&self, targets: &[Target], now: Instant);

    /// Table of instances of the client, if it has one: where mDNS finds instances, the table takes them in, and
    /// the client takes those in use by [`Client::refresh`].
    fn directory(&self) -> Option<&Directory> {
        None
    }

    /// Takes in the instances that the directory has in use.
    fn refresh(&self, now: Instant) {
        let _ = now;
    }

    /// Begins a call. The first event of its machine is [`CallEvent::Begin`].
    fn call(&self, question: Question, now: Instant) -> Box<dyn Call + '_>;

    /// When [`Client::probes_due`] is to be asked next, if ever.
    fn next_probe(&self, now: Instant) -> Option<Instant> {
        let _ = now;
        None
    }

    /// The probes to be sent now.
    fn probes_due(&self, now: Instant) -> Vec<Probe> {
        let _ = now;
        Vec::new()
    }

    /// Takes in what a probe found.
    fn probed(&self, probe: Probe, found: HealthCheck, now: Instant) {
        let _ = (probe, found, now);
    }
}

/// A call: a state machine without I/O.
pub trait Call {
    /// Says what to do after `event`. After a [`Step::Ask`] it is asked again, with [`CallEvent::Woken`].
    fn step(&mut self, event: CallEvent, now: Instant, rng: &mut Rng) -> Step;
}

/// An instance of the service: a server, and how often its process has been replaced by one of another identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndpointId {
    /// Number of the server, from 0 on.
    pub server: usize,
    /// Number of the process there, from 0 on.
    pub process: u32,
    /// Number of the address among those that the server has had, from 0 on; a new port is a new address.
    pub address: u8,
}

/// A `GET /healthz` to an instance.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Another one for each probe of a client.
    pub number: u64,
    /// The instance.
    pub endpoint: EndpointId,
}

/// An instance as discovery knows it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Identity of the endpoint.
    pub endpoint: EndpointId,
    /// Zone of the endpoint; empty for none.
    pub zone: &'static str,
}

/// Next action of a call's machine.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// Send an attempt.
    Ask {
        /// Number of the attempt within the call, from 0 on.
        attempt: usize,
        /// The instance.
        endpoint: EndpointId,
        /// When it has timed out.
        deadline: Instant,
        /// Whether only an answer out of the instance's cache is wanted.
        only_if_cached: bool,
    },
    /// Wait for an attempt to end, but not beyond this time.
    Wait(Instant),
    /// The call is over, with what this attempt has brought, or nothing. Attempts in flight are dropped.
    Done(Option<usize>),
}
