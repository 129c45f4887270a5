//! Scenarios: servers, clients, faults by time, and the phases that are measured.

mod build;
mod discovery;
mod field;
mod gray;
mod outages;
mod overload;
mod topology;
mod traffic;
mod upstream;

use crate::contestant::TimeLimits;
use std::ops::Range;
use std::time::Duration;

/// How often each scenario is run: with the seeds 0 to 4.
pub const SEEDS: u64 = 5;

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    [
        outages::all(),
        overload::all(),
        gray::all(),
        traffic::all(),
        topology::all(),
        upstream::all(),
        discovery::all(),
        field::all(),
    ]
    .concat()
}

/// A test case of the scoreboard.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Unique; the scoreboard prints it.
    pub name: String,
    /// All servers there will ever be.
    pub servers: Vec<ServerSpec>,
    /// The callers.
    pub clients: Vec<ClientGroup>,
    /// The API that the servers ask for what they have not cached; none: they know every answer.
    pub upstream: Option<UpstreamSpec>,
    /// Additional time of a message between two zones.
    pub zone_latency: Duration,
    /// From the start or the end of an instance to its being known to the clients; with mDNS, to its announcement.
    pub discovery: Duration,
    /// Whether clients find instances by a simulated mDNS: Bramble's in the real `InstanceTable`, with its probes, the
    /// others in a list of the records that have not run out. Otherwise all have a list that follows starts and planned
    /// ends, and keeps what is silent: the rules of calls are judged without the help of discovery.
    pub mdns: bool,
    /// Whether the calls may be hedged.
    pub may_hedge: bool,
    /// How long callers and baselines wait.
    pub limits: TimeLimits,
    /// Faults and repairs, by time since the start.
    pub changes: Vec<(Duration, Change)>,
    /// The phases that are measured.
    pub phases: Vec<Phase>,
    /// The server whose share of the attempts is measured.
    pub watched: Option<usize>,
}

/// A server.
#[derive(Debug, Clone, Copy)]
pub struct ServerSpec {
    /// Requests worked on at the same time.
    pub workers: usize,
    /// The mean time that a worker needs.
    pub service_time: Duration,
    /// Whether service times follow a Pareto distribution: p99 is 7 x the mean, p99.9 is 33 x.
    pub long_tail: bool,
    /// Zone of the server; empty for none.
    pub zone: &'static str,
    /// Whether work that waits is dropped once its caller has closed the connection.
    pub drops_abandoned: bool,
    /// Condition of the server at the start.
    pub condition: Condition,
}

/// A fault of a server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    /// Well.
    Up,
    /// Not started, or ended as planned: what it has is answered, new connections are refused. Discovery takes it off
    /// its list.
    Absent,
    /// The process is dead, its work lost; connections are refused.
    Dead,
    /// Packets to and from it are lost; its work goes on.
    Unreachable,
    /// The process is stopped (SIGSTOP): it keeps its work and what arrives.
    Stopped,
    /// The workers wait for a disk and finish nothing; it still accepts, queues, refuses, and answers `/healthz`.
    Stalled,
    /// Accepts requests and answers none. Its work is lost.
    Hung {
        /// Whether `/healthz` still answers.
        healthz: bool,
    },
    /// Takes this many times as long for all it does.
    Slow(f64),
    /// A share of the requests fails: at once, or after the work.
    Failing {
        /// 0 to 1.
        share: f64,
        /// Whether they fail at once.
        at_once: bool,
    },
    /// Answers this share of the requests with a 200 and a broken body at once; `/healthz` is well.
    Lying(f64),
    /// Another program answers at the address, at once, with this status.
    Stranger(u16),
}

/// How slow a process is that has just started.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cold {
    /// Not at all.
    No,
    /// The first `count` requests take `factor` times as long.
    Requests {
        /// At least 1.
        factor: f64,
        /// How many.
        count: u32,
    },
    /// Requests take `factor` times as long at first, and less and less until `warm_after`.
    Seconds {
        /// At least 1.
        factor: f64,
        /// When nothing of it is left.
        warm_after: Duration,
    },
}

/// A fault or a repair.
#[derive(Debug, Clone)]
pub enum Change {
    /// The condition of some servers.
    Servers(Range<usize>, Condition),
    /// Some servers' processes are started, with nothing to do and nothing cached.
    Start {
        /// Numbers of the servers.
        servers: Range<usize>,
        /// How slow they are at first.
        cold: Cold,
        /// Whether discovery sees another instance than before, and the old one no more.
        new_identity: bool,
    },
    /// Some servers' processes are started as new instances at new ports.
    StartElsewhere(Range<usize>, Cold),
    /// Some servers have new IP addresses; mDNS announces them at the old ones too, where nothing is.
    Move(Range<usize>),
    /// Some servers are announced by mDNS, whatever their condition.
    Forge(Range<usize>),
    /// The condition of the API behind the servers.
    Upstream(UpstreamCondition),
    /// The calls per second of each client.
    Rate(f64),
    /// Some clients' network is cut, or whole again.
    ClientsCut(Range<usize>, bool),
    /// The share of all messages that the network loses; TCP sends them again.
    Loss(f64),
    /// A fault of the links of some servers.
    Links(Range<usize>, Link),
    /// Some clients make so many calls at this instant, apart from their rate.
    Burst(Range<usize>, u32),
}

/// The link between a server and its switch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Link {
    /// The share of messages that it loses; TCP sends them again.
    pub loss: f64,
    /// Additional time of a message.
    pub delay: Duration,
}

/// Equal clients.
#[derive(Debug, Clone)]
pub struct ClientGroup {
    /// How many processes.
    pub count: usize,
    /// Calls per second of each.
    pub rate: f64,
    /// Zone of the clients; empty for none.
    pub zone: &'static str,
    /// Whether calls come in equal intervals; otherwise by chance.
    pub steady: bool,
    /// Whether each call is made by a process of its own that knows nothing yet.
    pub short_lived: bool,
    /// Questions of the clients.
    pub questions: Questions,
}

/// Kind of questions that clients ask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Questions {
    /// Questions that cannot be cached.
    Plain,
    /// Questions that come again and again, of `known` ones, but for a share of questions never asked before.
    Keyed {
        /// How many.
        known: u64,
        /// 0 to 1.
        new_share: f64,
        /// From when on there are new ones.
        new_from: Duration,
    },
}

/// The API behind the servers.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamSpec {
    /// How long an answer takes.
    pub latency: Duration,
    /// How long an answer is fresh. How long it is good for what afterwards is the default of `[cache]`.
    pub fresh_for: Duration,
    /// How long a server waits for one.
    pub fetch_timeout: Duration,
    /// Whether every server has fresh answers to all known questions at the start.
    pub filled: bool,
}

/// A fault of the API behind the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamCondition {
    /// Well.
    Up,
    /// Answers with an error at once.
    Failing,
    /// Answers every second call with an error at once.
    EverySecondFails,
    /// Each call is answered with an error at once with probability one half.
    HalfFail,
    /// An answer takes this long.
    Slow(Duration),
    /// Does not answer.
    Silent,
}

/// Calls that are scored together: those begun in `from..to`.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Unique in the scenario.
    pub name: &'static str,
    /// Since the start.
    pub from: Duration,
    /// Since the start.
    pub to: Duration,
    /// Whether only questions that come again and again count.
    pub known_only: bool,
    /// The repair from which recovery is scored.
    pub recovery: Option<Recovery>,
    /// Demands whatever the baselines reach.
    pub demands: Vec<Demand>,
}

/// How recovery is scored.
#[derive(Debug, Clone, Copy)]
pub struct Recovery {
    /// When the fault ends.
    pub from: Duration,
    /// The highest p95 of a second that counts as recovered.
    pub p95: Duration,
}

/// A demand on Bramble's rules that no baseline sets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Demand {
    /// The watched server has three quarters of a fair share of the attempts at most this long after the repair.
    FairShareWithin(Duration),
    /// The first answer after the repair comes within this time.
    FirstGoodWithin(Duration),
    /// At most so many calls to the API behind the servers, per run.
    Fetches(usize),
    /// At least this share of answered calls, in percent.
    Answered(f64),
}

/// So many seconds.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many milliseconds.
pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
