//! Client: calls an instance of a service by name, and another one if that fails.
//!
//! ```text
//! Bulkhead -> Directory -> CallMachine (Balancer, CircuitBreaker, Budget) -> transport
//! ```
//!
//! There is one deadline for the whole call. Which instance is asked, when another one is, and what an outcome is
//! recorded as, is decided by [`call`](crate::call); the client does what it says with sockets and timers. Open
//! circuits of services in use are checked in the background ([`Client::check_health`]).

mod answer;
mod attempt;
mod attempts;
mod drive;
mod error;
mod health;
mod prepared;
mod request;
mod service_client;
mod show;
mod trace;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_lite::FutureExt as _;
use smol::Timer;

use crate::call::{CallMachine, CallOutcome, Question};
use crate::config::Config;
use crate::discovery::{Directory, Suspicion};
use crate::telemetry::Event;
pub use crate::transport::TIME_LEFT;
use crate::transport::client::HttpTransport;
pub use crate::transport::client::{Deadline, Error as TransportError, Phase};
pub use crate::transport::tls::Error as TlsError;
use crate::trust::{ClusterKey, RepeatFilter};
pub use answer::Answer;
pub use error::Error;
use prepared::Prepared;
pub use request::Request;
use service_client::ServiceClient;
pub use trace::TRACE;
pub(crate) use trace::is_trace;

/// A surf client for any URL, on connections of its own, for a program that has no [`Host`](crate::Host). A
/// [`Deadline`] among a request's extensions bounds its exchange, else 10 s; [`TransportError::of`] finds the reason of
/// a failure.
pub fn outside() -> surf::Client {
    HttpTransport::default().into_surf()
}

/// Calls services by name. Cheap to clone; all clones share what they learn.
///
/// A service has it from [`Host::client`](crate::Host::client). A call is a [`Request`], or one of a typed
/// [`Operation`](crate::Operation):
///
/// ```
/// # use bramble::{Client, client::Error};
/// async fn greeting(client: &Client) -> Result<Vec<u8>, Error> {
///     let answer = client.get("greeter", "/greeting").send().await?;
///     Ok(answer.body)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    directory: Directory,
    wire: HttpTransport,
    /// Signs every request, if there is one.
    key: Option<ClusterKey>,
    /// Instances of which the log has said that they refuse this process.
    forbidden_by: RepeatFilter,
    /// An entry for each service that was ever called; services are named by this program, not by its callers.
    callees: RwLock<BTreeMap<Box<str>, Arc<ServiceClient>>>,
    /// Notified when a health check may be due earlier than before.
    unhealthy: event_listener::Event,
}

impl Client {
    /// A client that finds instances in `directory`, and signs nothing. That of a service is
    /// [`Host::client`](crate::Host::client).
    pub fn new(config: Config, directory: Directory) -> Self {
        Self::signing(config, directory, HttpTransport::default(), None)
    }

    /// A client that reaches instances by `wire`, with a key that signs its requests.
    pub(crate) fn signing(config: Config, directory: Directory, wire: HttpTransport, key: Option<ClusterKey>) -> Self {
        let (forbidden_by, callees) = (RepeatFilter::default(), RwLock::default());
        let unhealthy = event_listener::Event::new();
        let inner = Inner { config, directory, wire, key, forbidden_by, callees, unhealthy };
        Self { inner: Arc::new(inner) }
    }

    /// Shows `services` from now on, before they are called.
    pub(crate) fn expect(&self, services: &[&str]) {
        services.iter().for_each(|service| drop(self.callee(service)));
    }

    /// How long a call to `service` waits unless it says so itself.
    fn timeout(&self, service: &str) -> Duration {
        self.callee(service).settings.call.timeout
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

    /// Counts what was given in the place of an answer of `service`: a fallback's [`Event`](Event::OF_FALLBACKS), which
    /// only the caller knows.
    pub fn fell_back(&self, service: &str, event: Event) {
        self.callee(service).calls.note(event, Instant::now());
    }

    /// Does what `fallback` says in the place of a call of `service` that has failed with `error`, and counts what
    /// became of it. At most `[call] max_concurrent` fallbacks of a service run at a time, since they do when calls
    /// pile up.
    ///
    /// # Errors
    /// That of the fallback, or `error` where no more of them may run.
    pub async fn fall_back<T, E, Work>(&self, service: &str, error: E, fallback: impl FnOnce(E) -> Work) -> Result<T, E>
    where
        Work: Future<Output = Result<T, E>>,
    {
        let callee = self.callee(service);
        let Ok(_permit) = callee.fallbacks.try_enter() else {
            callee.calls.note(Event::FallbackRejection, Instant::now());
            return Err(error);
        };
        let result = fallback(error).await;
        let event = if result.is_ok() { Event::FallbackSuccess } else { Event::FallbackFailure };
        callee.calls.note(event, Instant::now());
        result
    }

    async fn perform(&self, callee: &ServiceClient, request: &Prepared<'_>) -> Result<Answer, Error> {
        let Ok(_permit) = callee.bulkhead.try_enter() else {
            return Err(Error::Full { service: Arc::clone(&callee.service), max: callee.bulkhead.max() });
        };
        callee.calls.begun(callee.bulkhead.in_flight(), Instant::now());
        self.settled(callee, request.deadline).await;
        let &Prepared { deadline, may_hedge, repeat, .. } = request;
        let question = Question { deadline, key: request.home.map(|home| callee.key(home)), may_hedge, repeat };
        let mut machine = CallMachine::new(&callee.rules, question);
        let (outcome, results) = self.drive(callee, request, &mut machine).await;
        self.watch_health(callee);
        let service = || Arc::clone(&callee.service);
        let no_instance = || {
            let why = self.inner.directory.why_none_found(&callee.service);
            let retry_at = self.inner.directory.next_probe_of(&callee.service);
            Error::NoInstance { service: service(), why, retry_at }
        };
        match outcome {
            CallOutcome::Attempt(number) => match results.into_iter().nth(number).flatten() {
                Some(result) if !attempt::is_timeout(&result) => result,
                _ => Err(callee.too_late()),
            },
            // All of the time went by in waiting for discovery.
            CallOutcome::Late if callee.rules.balancer().is_empty() => Err(no_instance()),
            CallOutcome::Late => Err(callee.too_late()),
            CallOutcome::NoInstance => Err(no_instance()),
            CallOutcome::Open { retry_at } => Err(Error::AllOpen { service: service(), retry_at }),
        }
    }

    /// Has the health checks look again if a circuit of `callee` has opened, or an instance is suspected to be silent.
    fn watch_health(&self, callee: &ServiceClient) {
        if callee.rules.next_probe(Instant::now()).is_some() {
            self.inner.unhealthy.notify(usize::MAX);
        }
    }

    /// Says once of each instance that it refuses this process, and what to do.
    fn log_if_forbidden(&self, answer: &Result<Answer, Error>) {
        let Ok(answer) = answer else { return };
        if !answer.is_forbidden() || !self.inner.forbidden_by.is_first(&answer.from) {
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

    /// Brings the list of `callee` up to date; in the first moments of this process it waits for an instance to be
    /// found.
    async fn settled(&self, callee: &ServiceClient, deadline: Instant) {
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

    fn callee(&self, service: &str) -> Arc<ServiceClient> {
        let callees = self.inner.callees.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(callee) = callees.get(service) {
            return Arc::clone(callee);
        }
        drop(callees);
        let mut callees = self.inner.callees.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(ServiceClient::new(service, &self.inner.config, Instant::now()));
        Arc::clone(callees.entry(service.into()).or_insert_with(new))
    }
}
