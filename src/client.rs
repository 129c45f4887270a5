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
mod request;
mod show;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_lite::FutureExt as _;
use http::HeaderMap;
use http_types::Method;
use serde::de::DeserializeOwned;
use smol::Timer;

use crate::breaker::InvalidSetting;
use crate::bulkhead::{Full, Seat};
use crate::call::{CallMachine, Question, Verdict};
use crate::config::Config;
use crate::discovery::{Directory, Suspicion};
use crate::telemetry::Event;
pub use crate::transport::TIME_LEFT;
use crate::transport::client::Wire;
pub use crate::transport::client::{Deadline, Error as TransportError, Phase};
pub use crate::transport::tls::Error as TlsError;
use crate::trust::{ClusterKey, Once};
pub(crate) use attempt::is_forbidden;
pub(crate) use attempt::is_trace;
use callee::Callee;
use request::Prepared;
pub use request::Request;

/// The header that names the trace a request belongs to (W3C Trace Context).
pub const TRACE: &str = "traceparent";

/// What an instance answered. Any status: a 404 is an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
    /// `x-bramble-retry-after-ms`, or `Retry-After` where it is in seconds.
    pub retry_after: Option<Duration>,
    /// The instance that answered.
    pub from: Arc<str>,
    headers: HeaderMap,
}

impl Answer {
    /// The first value of a header, if it is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// The body is not such JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let unreadable = |cause| Error::Unreadable { instance: Arc::clone(&self.from), status: self.status, cause };
        serde_json::from_slice(&self.body).map_err(unreadable)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {0}")]
    InvalidRequest(String),
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
        cause: TransportError,
    },
    /// The instance answers its own cluster only, and this process is not of it.
    #[error("{instance} answers its own cluster only: node.cluster_key_file here must name a key of that cluster")]
    Forbidden {
        /// The instance that answered.
        instance: Arc<str>,
    },
    /// The body of the answer is not the JSON that was expected.
    #[error("what {instance} answered with status {status} is not the JSON that was expected: {cause}")]
    Unreadable {
        /// The instance that answered.
        instance: Arc<str>,
        /// The status of the answer.
        status: u16,
        /// The error of the JSON parser.
        cause: serde_json::Error,
    },
}

/// A surf client for any URL, on connections of its own, for a program that has no [`Host`](crate::Host). A [`Deadline`]
/// among a request's extensions bounds its exchange, else 10 s; [`TransportError::of`] finds the reason of a failure.
pub fn outside() -> surf::Client {
    Wire::default().into_surf()
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
    wire: Wire,
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
    /// A client that finds instances in `directory`, and signs nothing. That of a service is
    /// [`Host::client`](crate::Host::client).
    ///
    /// # Errors
    /// A setting that makes no sense.
    pub fn new(config: Config, directory: Directory) -> Result<Self, InvalidSetting> {
        Self::signing(config, directory, Wire::default(), None)
    }

    /// A client that reaches instances by `wire`, with a key that signs its requests.
    ///
    /// # Errors
    /// A setting that makes no sense.
    pub(crate) fn signing(
        config: Config,
        directory: Directory,
        wire: Wire,
        key: Option<ClusterKey>,
    ) -> Result<Self, InvalidSetting> {
        // What would fail at a first call fails here.
        for service in config.callees().chain(["any other"]) {
            Callee::new(service, &config, Instant::now())?;
        }
        let (forbidden_by, callees) = (Once::default(), RwLock::default());
        let unhealthy = event_listener::Event::new();
        let inner = Inner { config, directory, wire, key, forbidden_by, callees, unhealthy };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A GET for `path`, with its query, to an instance of `service`.
    pub fn get<'a>(&'a self, service: &'a str, path: &'a str) -> Request<'a> {
        self.request(Method::Get, service, path)
    }

    /// A POST to `path` at an instance of `service`.
    pub fn post<'a>(&'a self, service: &'a str, path: &'a str) -> Request<'a> {
        self.request(Method::Post, service, path)
    }

    /// A request with any method to `path` at an instance of `service`.
    pub fn request<'a>(&'a self, method: Method, service: &'a str, path: &'a str) -> Request<'a> {
        Request::new(self, method, service, path)
    }

    /// How long a call to `service` waits unless it says so itself.
    fn timeout(&self, service: &str) -> Duration {
        self.callee(service).settings.call.timeout
    }

    /// A seat for a fallback of `service`. They run when calls pile up, so they have a bound of their own.
    pub(crate) fn enter_fallback(&self, service: &str) -> Result<Seat, Full> {
        self.callee(service).fallbacks.try_enter()
    }

    async fn send(&self, service: &str, request: Result<Prepared<'_>, Error>) -> Result<Answer, Error> {
        let callee = self.callee(service);
        let started = Instant::now();
        let result = match request {
            Ok(request) => self.perform(&callee, &request).await,
            Err(error) => Err(error),
        };
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

    async fn perform(&self, callee: &Callee, request: &Prepared<'_>) -> Result<Answer, Error> {
        let Ok(_seat) = callee.bulkhead.try_enter() else {
            return Err(Error::Full { service: Arc::clone(&callee.service), max: callee.bulkhead.max() });
        };
        callee.calls.begun(callee.bulkhead.in_flight(), Instant::now());
        self.settled(callee, request.deadline).await;
        let &Prepared { deadline, may_hedge, repeat, .. } = request;
        let question = Question { deadline, key: request.home.map(|home| callee.key(home)), may_hedge, repeat };
        let mut machine = CallMachine::new(&callee.rules, question);
        let (verdict, results) = self.drive(callee, request, &mut machine).await;
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
        if !is_forbidden(answer) || !self.inner.forbidden_by.is_first(&answer.from) {
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
        let why = match cause {
            error if error.is_refused() => Suspicion::Refused,
            error if error.is_before_sending() => Suspicion::Unreachable,
            error if error.is_timeout() => Suspicion::TimedOut,
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
