//! What can be set, and what it is when nobody sets it: a Pi that finds no file must run as well as one that does.
//!
//! One small struct a section of `bramble.toml`. Later sources win: code, then `/etc/bramble/bramble.toml` or
//! `--config FILE`, then `BRAMBLE__SECTION__KEY` in the environment, then flags. Reading never stops at the first
//! mistake: whoever edits a file on a card wants all of them at once, each with its line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Which service a process is; some defaults depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers `GET /weather`.
    Producer,
    /// The web form.
    Consumer,
    /// The page that shows every service.
    Registry,
    /// The stand-in for the weather API.
    UpstreamSim,
    /// A command in a terminal: calls, serves nothing.
    Command,
}

/// Everything that can be set. [`Config::for_role`] is what a role has when nothing is.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[node]`: who this process is to the others.
    pub node: Node,
    /// `[discovery]`: where others are looked for.
    pub discovery: Discovery,
    /// `[server]`: limits towards those who call.
    pub server: Server,
    /// `[call]`: limits towards those who are called.
    pub call: Call,
    /// `[breaker]`: when a failing endpoint is left alone, and for how long.
    pub breaker: Breaker,
    /// `[balance]`: which of several endpoints is called.
    pub balance: Balance,
    /// `[cache]`: what is kept, and how long it is good.
    pub cache: Cache,
    /// `[producer]`: the weather API.
    pub producer: Producer,
    /// `[consumer]`: the web form.
    pub consumer: Consumer,
    /// `[registry]`: the page of all services.
    pub registry: Registry,
}

/// `[node]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The cluster's name. Instances of another cluster are not seen. 1-32 letters, digits, `-`, `_`, `.`.
    pub cluster: String,
    /// Where the node is ("shelf-2"); calls prefer their own zone. Empty: none.
    pub zone: String,
    /// Share of the traffic in comparison with others, 1-100.
    pub weight: u32,
    /// File with the key that signs registrations and calls. None: unsigned.
    pub cluster_key_file: Option<PathBuf>,
}

/// `[discovery]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovery {
    /// Whether to register and look by mDNS.
    pub mdns: bool,
    /// Names of the network interfaces to use for mDNS. Empty: the one of the default route.
    pub interfaces: Vec<String>,
    /// UDP port of mDNS; only ever another one in tests.
    pub port: u16,
    /// Services behind a DNS name: service -> `host:port`.
    pub dns: BTreeMap<String, String>,
    /// Services at fixed addresses: service -> `address:port`s.
    pub fixed: BTreeMap<String, Vec<SocketAddr>>,
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Address and port to serve at; port 0 lets the system choose. None: the role's own default.
    pub listen: Option<SocketAddr>,
    /// Executor threads, 1-64.
    pub threads: usize,
    /// Connections served at the same time; one more is answered 503.
    pub max_connections: usize,
    /// How long the head of a request may take from its first byte to its last.
    pub header_timeout: Duration,
    /// How long a connection may rest between two requests.
    pub idle_timeout: Duration,
    /// Largest body of a request, in bytes.
    pub max_body: usize,
    /// How long requests in flight may take to end after SIGTERM.
    pub drain_timeout: Duration,
}

/// `[call]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// For the whole call, all attempts together.
    pub timeout: Duration,
    /// For one attempt; never more than what is left of the whole.
    pub attempt_timeout: Duration,
    /// After this long a second copy goes to another endpoint. None: never.
    pub hedge_after: Option<Duration>,
    /// Retries as a share of recent calls, 0-1.
    pub retry_budget: f64,
    /// Calls in flight to one service; one more is refused.
    pub max_concurrent: usize,
    /// What the caller gets when nobody answers.
    pub fallback: Fallback,
}

/// What a caller gets when nobody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The error, at once.
    FailFast,
    /// An empty answer that says it is empty.
    FailSilent,
    /// The last good answer, marked so; without one, an error.
    Stale,
}

/// `[breaker]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    /// Length of the sliding window over which rates are measured.
    pub window: Duration,
    /// Outcomes that must lie in the window before a rate is known.
    pub minimum_calls: u32,
    /// Failures in a row that open the circuit whatever the volume.
    pub consecutive_failures: u32,
    /// Share of failures at which the circuit opens, above 0 and up to 1.
    pub failure_rate: f64,
    /// A call at least this long counts as slow.
    pub slow_call: Duration,
    /// Share of slow calls at which the circuit opens, above 0 and up to 1.
    pub slow_call_rate: f64,
    /// How long an open circuit refuses; doubled at each failed recovery.
    pub open_for: Duration,
    /// The longest an open circuit refuses.
    pub open_for_max: Duration,
    /// Calls admitted at a time while half-open.
    pub half_open_calls: u32,
    /// How long the admitted share takes to grow back to 1.
    pub ramp: Duration,
    /// The share admitted at the ramp's start, above 0 and up to 1.
    pub ramp_floor: f64,
}

/// `[balance]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Balance {
    /// How one endpoint is chosen.
    pub policy: Policy,
    /// Below this share of endpoints available, all are candidates again; 0-1.
    pub panic_threshold: f64,
    /// How long a new or recovered endpoint takes to get its full share.
    pub slow_start: Duration,
    /// Whether the own zone is preferred.
    pub prefer_zone: bool,
}

/// How one endpoint is chosen of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The one of two random ones that has fewer calls in flight.
    LeastRequest,
    /// At random, the faster the likelier.
    WeightedResponseTime,
    /// The one of two random ones with the lower peak-sensitive latency times calls in flight.
    PeakEwma,
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// `memory`, or `redis://HOST:PORT`.
    pub store: String,
    /// Answers kept.
    pub capacity: usize,
    /// How long an answer is given without asking anew.
    pub fresh_for: Duration,
    /// How long after that it is given at once while one refresh runs.
    pub stale_while_revalidate: Duration,
    /// How long after that it is given when nothing newer can be had.
    pub stale_if_error: Duration,
}

/// `[producer]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Producer {
    /// Base URL of the weather API. `https`, or `http` towards loopback and private addresses only.
    pub upstream: String,
    /// File whose first line is the key of the weather API.
    pub api_key_file: Option<PathBuf>,
    /// File with the only certificate authorities to trust for the weather API. None: the system's.
    pub ca_file: Option<PathBuf>,
    /// Language of the description, as the weather API names it: `en`, `de`, `zh_cn`.
    pub language: String,
}

/// `[consumer]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    /// Address and port of the form.
    pub listen: SocketAddr,
}

/// `[registry]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    /// Address and port of the page.
    pub listen: SocketAddr,
}

impl Config {
    /// What `role` runs with when nothing is set.
    pub fn for_role(role: Role) -> Self {
        // Who calls waits longer than who is called, and long enough for a second try.
        let (timeout, attempt_timeout) = match role {
            Role::Producer => (Duration::from_secs(1), Duration::from_secs(1)),
            _ => (Duration::from_secs(3), Duration::from_millis(1300)),
        };
        Self {
            node: Node { cluster: "bramble".into(), zone: String::new(), weight: 1, cluster_key_file: None },
            discovery: Discovery {
                mdns: true,
                interfaces: Vec::new(),
                port: 5353,
                dns: BTreeMap::new(),
                fixed: BTreeMap::new(),
            },
            server: Server {
                listen: None,
                threads: 1,
                max_connections: 512,
                header_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(30),
                max_body: 64 << 10,
                drain_timeout: Duration::from_secs(10),
            },
            call: Call {
                timeout,
                attempt_timeout,
                hedge_after: None,
                retry_budget: 0.2,
                max_concurrent: 64,
                fallback: Fallback::Stale,
            },
            breaker: Breaker {
                window: Duration::from_secs(10),
                minimum_calls: 20,
                consecutive_failures: 5,
                failure_rate: 0.5,
                slow_call: Duration::from_millis(500),
                slow_call_rate: 1.0,
                open_for: Duration::from_secs(5),
                open_for_max: Duration::from_secs(60),
                half_open_calls: 1,
                ramp: Duration::from_secs(10),
                ramp_floor: 0.1,
            },
            balance: Balance {
                policy: Policy::PeakEwma,
                panic_threshold: 0.5,
                slow_start: Duration::from_secs(10),
                prefer_zone: true,
            },
            cache: Cache {
                store: "memory".into(),
                capacity: 1024,
                fresh_for: Duration::from_secs(600),
                stale_while_revalidate: Duration::from_secs(30),
                stale_if_error: Duration::from_secs(24 * 3600),
            },
            producer: Producer {
                upstream: "https://api.openweathermap.org".into(),
                api_key_file: None,
                ca_file: None,
                language: "en".into(),
            },
            consumer: Consumer { listen: SocketAddr::from(([0, 0, 0, 0], 8088)) },
            registry: Registry { listen: SocketAddr::from(([0, 0, 0, 0], 8761)) },
        }
    }

    /// Where `role` serves: `[server] listen` if set, else the role's own.
    pub fn listen(&self, role: Role) -> SocketAddr {
        let own = match role {
            Role::Consumer => self.consumer.listen,
            Role::Registry => self.registry.listen,
            _ => SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        self.server.listen.unwrap_or(own)
    }
}
