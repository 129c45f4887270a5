//! Client: calls an instance of a service by name, and another one if that fails.
//!
//! ```text
//! Bulkhead -> Directory -> CallMachine (Balancer, CircuitBreaker, Budget) -> transport
//! ```
//!
//! There is one deadline for the whole call. Which instance is asked, when another one is, and what an outcome is
//! recorded as, is decided by [`call`](crate::call); the client does what it says with sockets and timers. Open circuits of
//! services in use are checked in the background ([`Client::check_health`]).

mod attempt;
mod attempts;
mod callee;
mod drive;
mod health;
mod show;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_lite::FutureExt as _;
use smol::Timer;

use crate::breaker::InvalidSetting;
use crate::call::{CallMachine, Question, Verdict};
use crate::config::Config;
use crate::discovery::{Directory, Suspicion};
use crate::telemetry::Event;
pub use crate::transport::TIME_LEFT;
use crate::transport::client::{Error as WireError, Wire};
use crate::trust::{ClusterKey, Once};
use attempt::is_forbidden;
pub(crate) use attempt::is_trace;
use callee::Callee;

/// The header that names the trace a request belongs to (W3C Trace Context).
pub const TRACE: &str = "traceparent";

/// A GET request to a service, which may be sent again elsewhere.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Path and query, already escaped.
    pub path: &'a str,
    /// When the answer must be there.
    pub deadline: Instant,
    /// The trace to pass on.
    pub trace: Option<&'a str>,
    /// Equal questions have equal homes, and go to the same instance while it is well, so that its cache has the answer.
    pub home: Option<&'a str>,
    /// Whether an answer is one that the service gives. One that is not counts as the answer of another server, and
    /// another instance is asked.
    pub is_valid: Option<&'a (dyn Fn(&Answer) -> bool + Sync)>,
}

impl<'a> Call<'a> {
    /// A question whose answer any instance can give.
    pub fn new(path: &'a str, deadline: Instant) -> Self {
        Self { path, deadline, trace: None, home: None, is_valid: None }
    }
}

impl std::fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What an instance answered. Any status: a 404 is an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
    /// `x-bramble-retry-after-ms`, or `Retry-After` where it is in seconds.
    pub retry_after: Option<Duration>,
    /// The instance that answered.
    pub from: Arc<str>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Discovery knows no instance that could be called.
    #[error("no {service} is available: {why}")]
    NobodyThere {
        /// The service that was asked for.
        service: Arc<str>,
        /// What to look at.
        why: String,
        /// When an instance that does not answer is probed next: it takes calls at its first answer. None: there is none.
        retry_at: Option<Instant>,
    },
    /// No instance answers, so that the circuit of the service is open.
    #[error("no {service} answers: the circuit of the service is open")]
    AllOpen {
        /// The service that was asked for.
        service: Arc<str>,
        /// When the next call is let through at the latest, if known.
        retry_at: Option<Instant>,
    },
    /// The path would lead elsewhere.
    #[error("a path begins with one slash")]
    BadPath,
    /// Too many calls are in flight already.
    #[error("{max} calls to {service} are in flight already, and call.max_concurrent allows no more")]
    Full {
        /// The service that was asked for.
        service: Arc<str>,
        /// How many are allowed.
        max: usize,
    },
    /// The time was over.
    #[error("no {service} answered in time")]
    DeadlineExceeded {
        /// The service that was asked for.
        service: Arc<str>,
    },
    /// Something else than the instance answered at its address, or what is not an answer of the service.
    #[error("at the address of {instance} another server answers, with status {status}")]
    WrongPeer {
        /// The instance that was asked last.
        instance: Arc<str>,
        /// The status of what answered.
        status: u16,
    },
    /// The last attempt failed on the way.
    #[error("{instance} did not answer: {cause}")]
    Failed {
        /// The instance that was asked last.
        instance: Arc<str>,
        /// What happened on the wire.
        cause: surf::Error,
    },
}

/// Calls services by name. Cheap to clone; all clones share what they learn.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    directory: Directory,
    surf: surf::Client,
    /// Signs every request, if there is one.
    key: Option<ClusterKey>,
    /// Instances of which the log has said that they refuse this process.
    forbidden_by: Once,
    /// One entry a service that was ever called; services are named by this program, not by its callers.
    callees: RwLock<BTreeMap<Box<str>, Arc<Callee>>>,
    /// Notified when a health check may be due earlier than before.
    unhealthy: event_listener::Event,
}

impl Client {
    /// A client that finds instances in `directory` and reaches them by `wire`.
    ///
    /// # Errors
    /// A setting that makes no sense.
    pub fn new(config: Config, directory: Directory, wire: Wire) -> Result<Self, InvalidSetting> {
        Self::signing(config, directory, wire, None)
    }

    /// The same, with a key that signs its requests.
    ///
    /// # Errors
    /// A setting that makes no sense.
    pub fn signing(
        config: Config,
        directory: Directory,
        wire: Wire,
        key: Option<ClusterKey>,
    ) -> Result<Self, InvalidSetting> {
        Callee::new("any", &config, Instant::now())?; // what would fail for one service fails for all, so it fails here
        let (surf, forbidden_by, callees) = (wire.into_surf(), Once::default(), RwLock::default());
        let unhealthy = event_listener::Event::new();
        let inner = Inner { config, directory, surf, key, forbidden_by, callees, unhealthy };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Asks an instance of `service`, and others if it does not answer, until the time is over or asking on would do harm.
    ///
    /// # Errors
    /// When there is no answer. A status that tells of a failure (500) is an answer, if no other instance had a better.
    pub async fn get(&self, service: &str, call: Call<'_>) -> Result<Answer, Error> {
        let callee = self.callee(service);
        let started = Instant::now();
        let result = self.get_from(&callee, call).await;
        let now = Instant::now();
        callee.log_changes(now);
        callee.calls.ended(attempt::event(&result), now - started, now);
        result
    }

    /// Counts what was given in the place of an answer of `service`: a fallback's [`Event`](Event::OF_FALLBACKS), which only
    /// the caller knows.
    pub fn fell_back(&self, service: &str, event: Event) {
        self.callee(service).calls.note(event, Instant::now());
    }

    async fn get_from(&self, callee: &Callee, call: Call<'_>) -> Result<Answer, Error> {
        if !call.path.starts_with('/') || call.path.starts_with("//") {
            return Err(Error::BadPath);
        }
        let Ok(_seat) = callee.bulkhead.try_enter() else {
            return Err(Error::Full { service: Arc::clone(&callee.service), max: callee.bulkhead.max() });
        };
        callee.calls.begun(callee.bulkhead.in_flight(), Instant::now());
        self.settled(callee, call.deadline).await;
        let question =
            Question { deadline: call.deadline, key: call.home.map(|home| callee.key(home)), may_hedge: true };
        let mut machine = CallMachine::new(&callee.rules, question);
        let (verdict, results) = self.drive(callee, &call, &mut machine).await;
        self.watch_health(callee);
        let service = || Arc::clone(&callee.service);
        let no_instance = || {
            let why = self.inner.directory.why_nobody(&callee.service);
            let retry_at = self.inner.directory.next_probe_of(&callee.service);
            Error::NobodyThere { service: service(), why, retry_at }
        };
        match verdict {
            Verdict::Attempt(number) => match results.into_iter().nth(number).flatten() {
                Some(result) if !attempt::is_timeout(&result) => result,
                _ => Err(callee.too_late()),
            },
            // All of the time went by in waiting for discovery.
            Verdict::Late if callee.rules.balancer().is_empty() => Err(no_instance()),
            Verdict::Late => Err(callee.too_late()),
            Verdict::NoInstance => Err(no_instance()),
            Verdict::Open { retry_at } => Err(Error::AllOpen { service: service(), retry_at }),
        }
    }

    /// Has the health checks look again if a circuit of `callee` has opened, or an instance is suspected to be silent.
    fn watch_health(&self, callee: &Callee) {
        if callee.rules.next_probe(Instant::now()).is_some() {
            self.inner.unhealthy.notify(usize::MAX);
        }
    }

    /// Says once of each instance that it refuses this process, and what to do.
    fn log_if_forbidden(&self, answer: &Result<Answer, Error>) {
        let Ok(answer) = answer else { return };
        if !is_forbidden(answer.status) || !self.inner.forbidden_by.is_first(&answer.from) {
            return;
        }
        let (from, status) = (&answer.from, answer.status);
        match &self.inner.key {
            Some(_) => log::error!(
                "{from} does not accept the signature of this node ({status}): the files that node.cluster_key_file \
                 names must have a key in common, and the first one here must be in the one there"
            ),
            None => log::error!(
                "{from} answers its own cluster only ({status}): set node.cluster_key_file to a file with the cluster's \
                 key"
            ),
        }
    }

    /// Brings the list of `callee` up to date; in the first moments of this process it waits for an instance to be found.
    async fn settled(&self, callee: &Callee, deadline: Instant) {
        let directory = &self.inner.directory;
        let mut changed = None;
        loop {
            let now = Instant::now();
            callee.refresh(directory, now);
            if now >= deadline || !callee.rules.balancer().is_empty() || !directory.is_settling(now) {
                return;
            }
            // Listened first and looked once more: what comes in between is not missed. Most calls never listen.
            let Some(listener) = changed.take() else {
                changed = Some(directory.changed());
                continue;
            };
            let patience = async {
                Timer::at(deadline).await;
            };
            listener.or(patience).await;
        }
    }

    /// The directory finds out whether an instance that could not be reached is still there.
    fn report_to_directory(&self, answer: &Result<Answer, Error>) {
        let Err(Error::Failed { instance, cause }) = answer else { return };
        let why = match WireError::of(cause) {
            Some(error) if error.is_refused() => Suspicion::Refused,
            Some(error) if error.is_before_sending() => Suspicion::Unreachable,
            Some(error) if error.is_timeout() => Suspicion::TimedOut,
            _ => return,
        };
        self.inner.directory.suspect(instance, why, Instant::now());
    }

    fn callee(&self, service: &str) -> Arc<Callee> {
        let callees = self.inner.callees.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(callee) = callees.get(service) {
            return Arc::clone(callee);
        }
        drop(callees);
        let mut callees = self.inner.callees.write().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let callee = Callee::new(service, &self.inner.config, Instant::now());
            Arc::new(callee.expect("the settings were checked when the client was made"))
        };
        Arc::clone(callees.entry(service.into()).or_insert_with(new))
    }
}
