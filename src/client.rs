//! One call to "a producer", whichever that is: who is there, who of them is best, whether it may be asked, and who is
//! asked next if it does not answer.
//!
//! ```text
//! Bulkhead -> Directory -> Balancer (-> CircuitBreaker of the endpoint) -> Wire -> Budget, Backoff -> again elsewhere
//! ```
//!
//! There is one deadline for the whole call. Each attempt gets `attempt_timeout`, but never more than what is left; a
//! second attempt goes to an endpoint that was not tried yet. If `hedge_after` is set, a second copy goes there already
//! when the first answer is late, and the first good answer of the two wins.

mod attempt;
mod attempts;
mod callee;
mod hedge;
mod show;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_lite::FutureExt as _;
use smol::Timer;

use crate::balance::{Endpoint, NoPick, Pick};
use crate::breaker::InvalidSetting;
use crate::config::Config;
use crate::discovery::Directory;
use crate::retry::Backoff;
use crate::telemetry::Event;
use crate::transport::client::{Error as WireError, Wire};
use crate::trust::{ClusterKey, Once};

pub(crate) use attempt::is_trace;
use attempt::{Ended, is_forbidden};
use callee::Callee;

/// The header by which a caller says how many milliseconds it will still wait.
pub const TIME_LEFT: &str = "x-envoy-expected-rq-timeout-ms";
/// The header that names the trace a request belongs to (W3C Trace Context).
pub const TRACE: &str = "traceparent";

/// So many refused connections of a call are followed by another try at once and without budget: they were no work for
/// anybody, and whoever is alone in front of the form has no budget, but half of a cluster can be gone.
const FREE_TRIES: usize = 3;

/// A question to a service: a GET, so it may be asked again elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Path and query, already escaped.
    pub path: &'a str,
    /// When the answer must be there.
    pub deadline: Instant,
    /// The trace to pass on.
    pub trace: Option<&'a str>,
}

/// What an instance answered. Any status: a 404 is an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
    /// `Retry-After`, where it is in seconds.
    pub retry_after: Option<Duration>,
    /// The instance that answered.
    pub from: Arc<str>,
}

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Discovery has found nobody.
    #[error("no {service} has been found; {why}")]
    NobodyThere {
        /// The service that was asked for.
        service: Arc<str>,
        /// What to look at.
        why: String,
    },
    /// Everybody who is there has failed lately and is left alone.
    #[error("every {service} has failed lately and is left alone for a moment")]
    AllOpen {
        /// The service that was asked for.
        service: Arc<str>,
        /// When the next one may be asked, if known.
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
    /// Instances that the log has told of that they refuse this process.
    forbidden_by: Once,
    /// One entry a service that was ever called; services are named by this program, not by its callers.
    callees: RwLock<BTreeMap<Box<str>, Arc<Callee>>>,
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
        let inner = Inner { config, directory, surf, key, forbidden_by, callees };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Asks one instance of `service` after the other until one answers, the time is over, or asking on would do harm.
    ///
    /// # Errors
    /// When there is no answer. A status that tells of a failure (500) is an answer, if no other instance had a better.
    pub async fn get(&self, service: &str, call: Call<'_>) -> Result<Answer, Error> {
        let callee = self.callee(service);
        let started = Instant::now();
        callee.refresh(&self.inner.directory, started);
        let permit = callee.breaker.try_acquire(started);
        let result = match &permit {
            Ok(_) => self.get_from(&callee, call).await,
            Err(refusal) => Err(Error::AllOpen { service: Arc::clone(&callee.service), retry_at: refusal.retry_at }),
        };
        let now = Instant::now();
        if let Ok(permit) = permit {
            let is_fair = attempt::is_fair(
                call.deadline.saturating_duration_since(started),
                self.inner.config.call.attempt_timeout,
            );
            permit.record(attempt::verdict(&result, is_fair), now);
        }
        callee.tell();
        callee.calls.ended(attempt::event(&result), now - started, now);
        result
    }

    /// Notes what was given in the place of an answer of `service`, for those who look: a fallback's
    /// [`Event`](Event::OF_FALLBACKS). Only the caller knows.
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
        let now = Instant::now();
        callee.calls.begun(callee.bulkhead.in_flight(), now);
        callee.budget.deposit(now);
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        let mut backoff = Backoff::default();
        let mut last: Option<(Result<Answer, Error>, Duration)> = None;
        let mut is_free = false;
        loop {
            let pick = match self.pick(callee, &tried, call.deadline).await {
                Ok(pick) => pick,
                Err(error) => return last.map_or(Err(error), |(answer, _)| answer),
            };
            if let Some((last, pause)) = last.take() {
                // Asked last, when somebody would take the call: what a circuit refuses costs no budget. And the pause
                // comes after it: who may not try again does not wait for it.
                if !is_free && !callee.budget.try_withdraw(Instant::now()) {
                    return last;
                }
                callee.calls.note(Event::Retry, Instant::now());
                log::debug!("asking another {}: {}", callee.service, why(&last));
                if !is_free {
                    Timer::after(pause).await;
                }
            }
            tried.push(Arc::clone(pick.endpoint()));
            let Ended { answer, may_ask_again, refused } = self.ask(callee, &call, pick, &mut tried).await;
            self.tell_if_forbidden(&answer);
            self.tell_of_refusal(&answer);
            if !may_ask_again {
                return answer;
            }
            is_free = refused && tried.len() <= FREE_TRIES;
            let pause = backoff.next_wait(&mut fastrand::Rng::new());
            if Instant::now() + pause >= call.deadline {
                return if attempt::is_timeout(&answer) { Err(callee.too_late()) } else { answer };
            }
            last = Some((answer, pause));
        }
    }

    /// Says once of each instance that it refuses this process, and what to do.
    fn tell_if_forbidden(&self, answer: &Result<Answer, Error>) {
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

    /// Chooses an instance. In the first moments of this process it waits for one to be found.
    async fn pick(&self, callee: &Callee, tried: &[Arc<Endpoint>], deadline: Instant) -> Result<Pick, Error> {
        let directory = &self.inner.directory;
        let mut changed = None;
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(callee.too_late());
            }
            callee.refresh(directory, now);
            let service = || Arc::clone(&callee.service);
            match callee.balancer.pick(now, &mut fastrand::Rng::new(), tried) {
                Ok(pick) => {
                    callee.watch.look();
                    return Ok(pick);
                }
                Err(NoPick::Empty) if directory.is_settling(now) => {}
                Err(NoPick::Empty) => {
                    let (service, why) = (service(), directory.why_nobody(&callee.service));
                    return Err(Error::NobodyThere { service, why });
                }
                Err(NoPick::AllTried) => return Err(Error::AllOpen { service: service(), retry_at: None }),
                Err(NoPick::AllRefuse { retry_at }) => return Err(Error::AllOpen { service: service(), retry_at }),
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

    /// The directory finds out whether who refused the connection, or let nobody connect, is still there.
    fn tell_of_refusal(&self, answer: &Result<Answer, Error>) {
        let Err(Error::Failed { instance, cause }) = answer else { return };
        match WireError::of(cause) {
            Some(error) if error.is_refused() => self.inner.directory.refused(instance, Instant::now()),
            Some(error) if error.is_before_sending() => self.inner.directory.unreachable(instance),
            _ => {}
        }
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

fn why(answer: &Result<Answer, Error>) -> String {
    match answer {
        Ok(answer) => format!("{} answered {}", answer.from, answer.status),
        Err(error) => error.to_string(),
    }
}
