//! The one place that talks to the weather API, and the only one that sees the key.
//!
//! Whatever goes wrong leaves here as an [`UpstreamError`], which carries neither address nor text of what was sent.

pub mod address;
mod gate;
mod outcome;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bramble::breaker::CircuitBreaker;
use bramble::circuit::guard::{CircuitGuard, GuardedCall};
use bramble::client::{Deadline, TransportError};
use bramble::telemetry::Event;
use bramble::telemetry::hystrix::{Command, CommandSettings};
use bramble::timeout::timeout_at;
use bramble_weather::Query;
use smol::io::AsyncReadExt;
use surf::http::{Method, Request};
use surf::{StatusCode, Url};

use crate::clock::Clock;
use crate::key::ApiKey;
use crate::openweathermap::{self, MAX_BODY, Observation, UpstreamError};
use gate::Gate;
use outcome::outcome;

/// The weather API.
pub struct Upstream {
    client: surf::Client,
    endpoint: Url,
    language: String,
    key: ApiKey,
    /// For one call.
    timeout: Duration,
    clock: Clock,
    gate: Mutex<Gate>,
    /// While the API fails, new places are refused at once instead of after `fetch_timeout` each.
    guard: CircuitGuard,
    counters: Counters,
}

/// Options of the calls to the weather API.
#[derive(Debug)]
pub struct UpstreamOptions {
    /// Language of descriptions, as the weather API names it.
    pub language: String,
    /// `[producer] fetch_timeout`: for one call.
    pub timeout: Duration,
    /// Refuses calls to it while it fails.
    pub breaker: CircuitBreaker,
    /// As `/hystrix.stream` shows it.
    pub shown: CommandSettings,
    /// Whether the time of day is known.
    pub clock: Clock,
}

/// Calls since the start, by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpstreamCounts {
    /// Gave an observation.
    pub answered: u64,
    /// No such place, or no such question.
    pub not_found: u64,
    /// The key was refused.
    pub rejected: u64,
    /// The limit was reached.
    pub rate_limited: u64,
    /// 5xx, or an answer that is no weather.
    pub failed: u64,
    /// No connection.
    pub unreachable: u64,
    /// No answer in time.
    pub timed_out: u64,
    /// Not sent, because the key was refused or the limit reached a moment before, because the circuit is open,
    /// or because the time of day is not known yet.
    pub held_back: u64,
}

#[derive(Default)]
struct Counters {
    answered: AtomicU64,
    not_found: AtomicU64,
    rejected: AtomicU64,
    rate_limited: AtomicU64,
    failed: AtomicU64,
    unreachable: AtomicU64,
    timed_out: AtomicU64,
    held_back: AtomicU64,
}

/// A failure to get any answer.
struct NoAnswer {
    error: UpstreamError,
    /// Whether the address refuses connections.
    refused: bool,
    /// The client's, for the log.
    words: String,
}

impl NoAnswer {
    fn new(error: &surf::Error) -> Self {
        let timed_out = matches!(error.status(), StatusCode::GatewayTimeout | StatusCode::RequestTimeout);
        let kind = if timed_out { UpstreamError::TimedOut } else { UpstreamError::Unreachable };
        let refused = TransportError::of(error).is_some_and(TransportError::is_refused);
        Self { error: kind, refused, words: error.to_string() }
    }
}

impl Upstream {
    /// The weather API at `endpoint` (see [`endpoint`](address::BaseUrl::endpoint)).
    pub fn new(client: surf::Client, endpoint: Url, key: ApiKey, options: UpstreamOptions) -> Self {
        let UpstreamOptions { language, timeout, breaker, shown, clock } = options;
        let guard = CircuitGuard::new("upstream", breaker, shown, Instant::now()).logged_as("the weather API");
        let (gate, counters) = (Mutex::default(), Counters::default());
        Self { client, endpoint, language, key, timeout, clock, gate, guard, counters }
    }

    /// Asks for the weather at a place. `now` is the time of the question.
    ///
    /// # Errors
    /// Any [`UpstreamError`]. While the key is refused, the limit reached or the circuit open, hardly any call is sent.
    pub async fn fetch(&self, query: &Query, now: Instant) -> Result<Observation, UpstreamError> {
        let admitted = if self.waits_for_the_time() {
            Err(UpstreamError::ClockUnset) // it says nothing of the weather API, so neither gate nor circuit learns of it
        } else {
            let mut gate = self.gate();
            // The gate looks first, as it knows more, but lets no call out that the circuit keeps in.
            gate.look(now).and_then(|()| self.admit(now)).inspect(|_| gate.pass(now))
        };
        let call = admitted.inspect_err(|_| {
            self.counters.held_back.fetch_add(1, Ordering::Relaxed);
        })?;
        let started = Instant::now();
        let answer = self.call(query).await;
        call.ended(outcome(&answer), now, started.elapsed());
        let (result, words) = match answer {
            Ok(result) => (result, String::new()),
            Err(NoAnswer { error, words, .. }) => (Err(error), self.key.scrub(&words)),
        };
        self.counters.of(&result).fetch_add(1, Ordering::Relaxed);
        let is_news = self.gate().learn(&result, now);
        if let Err(error) = &result {
            let level = match error {
                _ if !is_news => log::Level::Debug,
                UpstreamError::BadKey => log::Level::Error,
                _ => log::Level::Warn,
            };
            let colon = if words.is_empty() { "" } else { ": " };
            log::log!(level, "{error}{colon}{words}");
        }
        result
    }

    /// Whether it cannot be asked yet: without the time of day, no certificate is valid.
    pub fn waits_for_the_time(&self) -> bool {
        self.endpoint.scheme() == "https" && self.clock.is_a_guess()
    }

    /// How long the circuit before the weather API refuses calls still; `None` unless it is open.
    pub fn opens_in(&self, now: Instant) -> Option<Duration> {
        self.guard.breaker().snapshot(now).next_probe.map(|at| at.saturating_duration_since(now))
    }

    /// The circuit before the weather API, as `/circuits` shows it.
    pub fn circuit(&self, now: Instant) -> serde_json::Value {
        let host = self.endpoint.host_str().unwrap_or_default();
        let addr = format!("{host}:{}", self.endpoint.port_or_known_default().unwrap_or(0));
        let endpoint = [("id", host.to_owned()), ("addr", addr)];
        let endpoint = endpoint.map(|(key, value)| (key.to_owned(), value.into())).into_iter().collect();
        self.guard.circuit(endpoint, now).into()
    }

    /// The circuit before the weather API, as `/hystrix.stream` shows it.
    pub fn command(&self, now: Instant) -> Command {
        self.guard.command(now)
    }

    /// Notes what was given in the place of an answer: a fallback's [`Event`].
    pub fn fell_back(&self, event: Event) {
        self.guard.note(event, Instant::now());
    }

    /// Calls since the start, by result.
    pub fn counts(&self) -> UpstreamCounts {
        let Counters { answered, not_found, rejected, rate_limited, failed, unreachable, timed_out, held_back } =
            &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        UpstreamCounts {
            answered: read(answered),
            not_found: read(not_found),
            rejected: read(rejected),
            rate_limited: read(rate_limited),
            failed: read(failed),
            unreachable: read(unreachable),
            timed_out: read(timed_out),
            held_back: read(held_back),
        }
    }

    fn admit(&self, now: Instant) -> Result<GuardedCall<'_>, UpstreamError> {
        self.guard.admit(now).map_err(|refusal| UpstreamError::CircuitOpen {
            retry_after: refusal.retry_at.map(|at| at.saturating_duration_since(now)),
        })
    }

    async fn call(&self, query: &Query) -> Result<Result<Observation, UpstreamError>, NoAnswer> {
        let deadline = Instant::now() + self.timeout;
        let late = NoAnswer { error: UpstreamError::TimedOut, refused: false, words: String::new() };
        timeout_at(deadline, self.exchange(query, deadline)).await.unwrap_or(Err(late))
    }

    async fn exchange(&self, query: &Query, deadline: Instant) -> Result<Result<Observation, UpstreamError>, NoAnswer> {
        let mut request = Request::new(Method::Get, self.address(query));
        request.ext_mut().insert(Deadline(deadline));
        let mut response = self.client.send(request).await.map_err(|error| NoAnswer::new(&error))?;
        let status = u16::from(response.status());
        let retry_after = response.header("retry-after").and_then(|value| retry_after(value.last().as_str()));
        let mut body = Vec::new();
        let read = response.take_body().take(MAX_BODY as u64 + 1).read_to_end(&mut body).await;
        read.map_err(|error| {
            let status = TransportError::in_io(&error).map_or(StatusCode::BadGateway, TransportError::status);
            NoAnswer::new(&surf::Error::new(status, error))
        })?;
        Ok(openweathermap::parse(status, &body).map_err(|error| match error {
            UpstreamError::RateLimited { .. } => {
                UpstreamError::RateLimited { retry_after: Some(gate::pause(retry_after)) }
            }
            error => error,
        }))
    }

    fn address(&self, query: &Query) -> Url {
        let mut url = self.endpoint.clone();
        // A postal code has nothing else to escape. The comma stays as the API's documentation writes it.
        let zip = query.zip.as_str().replace(' ', "%20");
        url.set_query(Some(&format!("zip={zip},{}&units=metric", query.country)));
        url.query_pairs_mut().append_pair("lang", &self.language).append_pair("appid", self.key.expose());
        url
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("endpoint", &self.endpoint.as_str()).finish_non_exhaustive()
    }
}

impl Counters {
    fn of<T>(&self, result: &Result<T, UpstreamError>) -> &AtomicU64 {
        match result {
            Ok(_) => &self.answered,
            Err(UpstreamError::NotFound | UpstreamError::BadQuestion) => &self.not_found,
            Err(UpstreamError::BadKey) => &self.rejected,
            Err(UpstreamError::RateLimited { .. }) => &self.rate_limited,
            Err(UpstreamError::Failed { .. } | UpstreamError::Unusable { .. }) => &self.failed,
            Err(UpstreamError::Unreachable) => &self.unreachable,
            Err(UpstreamError::TimedOut) => &self.timed_out,
            Err(UpstreamError::CircuitOpen { .. } | UpstreamError::ClockUnset) => &self.held_back,
        }
    }
}

/// `Retry-After` in seconds (RFC 9110, 10.2.3). The form with a date counts as none; the gate has a default and a
/// bound.
fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}
