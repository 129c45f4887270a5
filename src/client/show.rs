//! State of the client, for `/metrics`, `/circuits` and `/hystrix.stream`.
//!
//! `/circuits` is `{"id": ..., "services": [SERVICE, ...]}`, where a SERVICE is a service that has been called:
//!
//! ```json
//! {"service": "greeter", "state": "closed", "since": "2026-11-21T14:04:43.120Z", "for_ms": 5120, "reason": null,
//!  "next_probe_ms": null, "admitted_share": 1.0, "recent_calls": 40, "failure_rate": 0.025, "slow_rate": 0.0,
//!  "in_flight": 1, "max_concurrent": 64, "recent_retries": 1, "retries_left": 12, "late_after_ms": 19.0,
//!  "latency_ms": {"mean": 12.1, "p50": 11.0, "p90": 14.5, "p95": 19.0, "p99": 80.2},
//!  "attempt_latency_ms": {"mean": 11.9, "p50": 11.0, "p90": 14.5, "p95": 18.0, "p99": 40.0},
//!  "recent": {"success": 39, "failure": 1, "...": 0}, "total": {"success": 812, "...": 0},
//!  "endpoints": [ENDPOINT, ...]}
//! ```
//!
//! and an ENDPOINT one of its instances:
//!
//! ```json
//! {"id": "greeter-5f0c2a9be81d4477", "addr": "192.0.2.7:40001", "zone": "", "weight": 1, "draining": false,
//!  "state": "open", "since": "2026-11-21T14:04:43.120Z", "for_ms": 1200, "reason": "5 consecutive failures",
//!  "next_probe_ms": 3800, "admitted_share": 0.0, "recent_calls": 5, "failure_rate": null, "slow_rate": null,
//!  "failures_in_a_row": 5, "in_flight": 0, "expected_ms": 11.4, "slow_start_share": 1.0, "full": false,
//!  "latency_ms": {"mean": null, "p50": null, "p90": null, "p95": null, "p99": null},
//!  "recent": {"success": 0, "failure": 5, "...": 0}, "total": {"success": 271, "...": 0}}
//! ```
//!
//! - `state`: `closed`, `open`, `half-open`, `ramping`, `forced-open`, `disabled`, `metrics-only`. While a service's
//!   own
//!   circuit is closed it is as its best instance, not counting those that drain, and `empty` without any.
//! - `since` (RFC 3339) and `for_ms`: the state's beginning; of a service that lets no call through the moment its last
//!   instance stopped. Null if `empty`.
//! - `reason`: of the last trip, null if there was none or the circuit is closed again; of a service: of the instance
//!   that
//!   changed its state last.
//! - `next_probe_ms`: until the first trial call may be made; null unless open, and while health checks fail.
//! - `full`: whether it has just answered that it has no room, and is avoided. `retries_left`: tokens of the retry
//!   budget.
//!   `late_after_ms`: the p95 of recent successes, after which a copy of a call is sent.
//! - `admitted_share`: the share of its usual load, less than 1 while ramping, 0 while open.
//! - `recent_calls`, `failure_rate`, `slow_rate`: of the breaker's window; a rate is null with fewer than
//!   `breaker.minimum_calls`, which is "unknown", not 0. A service's are those of its instances together.
//! - `latency_ms`: of the last ten seconds, null without calls. Of a service: whole calls, retries and waiting
//!   included;
//!   `attempt_latency_ms`: single attempts. `expected_ms`: peak EWMA, by which instances are chosen.
//! - `recent`, `total`: events of the last ten seconds and since the start; see [`Event`].

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};

use super::Client;
use super::service_client::ServiceClient;
use crate::balance::EndpointSnapshot;
use crate::breaker::State;
use crate::circuit::{self, milliseconds};
use crate::telemetry::hystrix::{Command, CommandSettings};
use crate::telemetry::{CallStatistics, Collect, Event, MetricType, OpenMetrics, Summary, Tally};

impl Collect for Client {
    fn metrics(&self, to: &mut OpenMetrics) {
        let now = Instant::now();
        let callees = self.callees();
        let seen: Vec<_> = callees.iter().map(|callee| ServiceView::new(callee, now)).collect();
        of_calls(&seen, to);
        of_attempts(&seen, to);
        of_circuits(&seen, to);
    }

    fn circuits(&self) -> Vec<Value> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let to_json = |callee: &Arc<ServiceClient>| {
            ServiceView::new(callee, now).to_json(callee.settings.breaker.minimum_calls.get().into(), wall)
        };
        self.callees().iter().map(to_json).collect()
    }

    fn commands(&self, now: Instant) -> Vec<Command> {
        let settings = |callee: &ServiceClient, timeout| {
            CommandSettings::new(&callee.settings.breaker, &callee.settings.call, timeout)
        };
        let whole = |callee: &ServiceClient| settings(callee, callee.settings.call.timeout);
        let attempt = |callee: &ServiceClient| {
            let call = &callee.settings.call;
            settings(callee, call.attempt_timeout.min(call.timeout))
        };
        let callees = self.callees();
        let seen: Vec<_> = callees.iter().map(|callee| ServiceView::new(callee, now)).collect();
        let services = seen.iter().map(|seen| seen.command(whole(seen.callee)));
        let endpoints =
            seen.iter().flat_map(|seen| seen.endpoints.iter().map(move |one| one.command(seen, attempt(seen.callee))));
        services.chain(endpoints).collect()
    }
}

impl Client {
    /// All services that are called. One without instances has those that are known now, as before its first call; else they
    /// change with calls alone, so that the circuit of a lost instance can still be looked at.
    pub(super) fn callees(&self) -> Vec<Arc<ServiceClient>> {
        let callees = self.inner.callees.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let callees: Vec<_> = callees.values().cloned().collect();
        let now = Instant::now();
        let is_new = |callee: &&Arc<ServiceClient>| callee.rules.balancer().is_empty();
        callees.iter().filter(is_new).for_each(|callee| callee.refresh(&self.inner.directory, now));
        callees
    }
}

/// A service at one moment.
struct ServiceView<'a> {
    callee: &'a ServiceClient,
    now: Instant,
    statistics: CallStatistics,
    endpoints: Vec<EndpointView>,
}

/// An endpoint of the service.
struct EndpointView {
    seen: EndpointSnapshot,
    statistics: CallStatistics,
}

/// Circuit of a service: its best instance's while its own is closed.
struct CircuitView {
    /// None: there is no instance.
    state: Option<State>,
    since: Option<Instant>,
    reason: Option<String>,
    next_probe: Option<Instant>,
    share: f64,
}

impl<'a> ServiceView<'a> {
    fn new(callee: &'a ServiceClient, now: Instant) -> Self {
        let seen = callee.rules.balancer().snapshot(now);
        let statistics = |one: &EndpointSnapshot| {
            let notes = callee.attempts.at(&one.target.id, one.target.address);
            notes.map_or_else(CallStatistics::default, |notes| notes.attempts.statistics(now))
        };
        let endpoints =
            seen.endpoints.into_iter().map(|seen| EndpointView { statistics: statistics(&seen), seen }).collect();
        Self { callee, now, statistics: callee.calls.statistics(now), endpoints }
    }

    /// Endpoints that get new calls.
    fn candidates(&self) -> impl Iterator<Item = &EndpointSnapshot> {
        self.endpoints.iter().map(|one| &one.seen).filter(|seen| !seen.target.draining)
    }

    /// The service's own circuit comes first: while it refuses, no instance is asked.
    fn circuit(&self) -> CircuitView {
        let own = self.callee.rules.circuit();
        if let Some(since) = own.open_since() {
            return CircuitView {
                state: Some(State::Open),
                since: Some(since),
                reason: Some("no instance answers".into()),
                next_probe: own.next_call(),
                share: 0.0,
            };
        }
        let circuits = || self.candidates().map(|seen| &seen.breaker);
        let state = circuits().map(|circuit| circuit.state).min_by_key(|state| rank(*state));
        let since = match state {
            Some(state) if state.is_available() => {
                circuits().filter(|circuit| circuit.state == state).map(|circuit| circuit.since).min()
            }
            _ => circuits().map(|circuit| circuit.since).max(),
        };
        let tripped = circuits().filter(|_| state != Some(State::Closed));
        let tripped = tripped.filter(|circuit| circuit.reason.is_some()).max_by_key(|circuit| circuit.since);
        CircuitView {
            state,
            since,
            reason: tripped.and_then(|circuit| circuit.reason).map(|reason| reason.to_string()),
            next_probe: match state {
                Some(State::Open) => circuits().filter_map(|circuit| circuit.next_probe).min(),
                _ => None,
            },
            share: circuits().map(|circuit| circuit.ramp_share).fold(0.0, f64::max),
        }
    }

    fn to_json(&self, minimum_calls: u64, wall: SystemTime) -> Value {
        let Self { callee, now, .. } = self;
        let CircuitView { state, since, reason, next_probe, share } = self.circuit();
        let sum = |count: fn(&EndpointSnapshot) -> u64| self.candidates().map(count).sum::<u64>();
        let calls = sum(|seen| seen.breaker.calls);
        let rate = |count: u64| (calls >= minimum_calls).then(|| count as f64 / calls as f64);
        json!({
            "service": callee.service,
            "state": state.map_or("empty", State::as_str),
            "since": since.map(|since| moment(since, *now, wall)),
            "for_ms": since.map(|since| milliseconds(now.saturating_duration_since(since))),
            "reason": reason,
            "next_probe_ms": next_probe.map(|at| milliseconds(at.saturating_duration_since(*now))),
            "admitted_share": share,
            "recent_calls": calls,
            "failure_rate": rate(sum(|seen| seen.breaker.failures)),
            "slow_rate": rate(sum(|seen| seen.breaker.slow)),
            "in_flight": callee.bulkhead.in_flight(),
            "max_concurrent": callee.bulkhead.max(),
            "recent_retries": self.statistics.recent[Event::Retry],
            "retries_left": callee.rules.retries_left(*now),
            "late_after_ms": fractional(callee.rules.p95()),
            "latency_ms": latency(&self.statistics.calls),
            "attempt_latency_ms": latency(&self.statistics.attempts),
            "recent": events(&self.statistics.recent, &Event::ALL),
            "total": events(&self.statistics.total, &Event::ALL),
            "endpoints": self.endpoints.iter().map(|one| one.to_json(*now, wall)).collect::<Vec<_>>(),
        })
    }

    fn command(&self, settings: CommandSettings) -> Command {
        Command {
            name: self.callee.service.to_string(),
            group: self.callee.service.to_string(),
            state: self.circuit().state,
            in_flight: self.callee.bulkhead.in_flight(),
            statistics: self.statistics,
            settings,
        }
    }
}

impl EndpointView {
    fn to_json(&self, now: Instant, wall: SystemTime) -> Value {
        let (target, circuit) = (&self.seen.target, &self.seen.breaker);
        let mut told = circuit::to_json(circuit, now);
        let more = json!({
            "id": target.id,
            "addr": target.address,
            "zone": target.zone,
            "weight": target.weight,
            "draining": target.draining,
            "since": moment(circuit.since, now, wall),
            "in_flight": self.seen.in_flight,
            "expected_ms": self.seen.latency.map(fractional),
            "slow_start_share": self.seen.share,
            "full": self.seen.full,
            "latency_ms": latency(&self.statistics.attempts),
            "recent": events(&self.statistics.recent, Event::OF_ATTEMPTS),
            "total": events(&self.statistics.total, Event::OF_ATTEMPTS),
        });
        if let Value::Object(mut more) = more {
            told.append(&mut more);
        }
        told.into()
    }

    fn command(&self, of: &ServiceView<'_>, settings: CommandSettings) -> Command {
        Command {
            name: format!("{}@{}", of.callee.service, self.seen.target.id),
            group: of.callee.service.to_string(),
            state: Some(self.seen.breaker.state),
            in_flight: self.seen.in_flight,
            statistics: self.statistics,
            settings,
        }
    }
}

fn of_calls(services: &[ServiceView<'_>], to: &mut OpenMetrics) {
    to.family("bramble_calls", MetricType::Counter, "Calls to other services by what became of them.");
    for ServiceView { callee, statistics, .. } in services {
        for event in Event::OF_CALLS {
            to.sample(&[("service", &callee.service), ("outcome", event.as_str())], statistics.total[*event]);
        }
    }
    to.family(
        "bramble_call_duration_seconds",
        MetricType::Histogram,
        "How long calls took that were sent, retries included.",
    );
    for ServiceView { callee, .. } in services {
        to.histogram(&[("service", &callee.service)], callee.calls.durations());
    }
    to.family("bramble_call_retries", MetricType::Counter, "Attempts beyond the first of a call.");
    for ServiceView { callee, statistics, .. } in services {
        to.sample(&[("service", &callee.service)], statistics.total[Event::Retry]);
    }
    to.family(
        "bramble_call_fallbacks",
        MetricType::Counter,
        "What was given in the place of an answer, by how that went.",
    );
    for ServiceView { callee, statistics, .. } in services {
        for event in Event::OF_FALLBACKS {
            let result = event.as_str().trim_start_matches("fallback_");
            to.sample(&[("service", &callee.service), ("result", result)], statistics.total[*event]);
        }
    }
    to.family("bramble_calls_in_flight", MetricType::Gauge, "Calls that wait for their answer.");
    for ServiceView { callee, .. } in services {
        to.sample(&[("service", &callee.service)], callee.bulkhead.in_flight());
    }
    to.family(
        "bramble_calls_in_flight_limit",
        MetricType::Gauge,
        "Calls that may wait for their answer: call.max_concurrent.",
    );
    for ServiceView { callee, .. } in services {
        to.sample(&[("service", &callee.service)], callee.bulkhead.max());
    }
}

fn of_attempts(services: &[ServiceView<'_>], to: &mut OpenMetrics) {
    to.family("bramble_attempts", MetricType::Counter, "Attempts at an instance by what became of them.");
    each(services, |one, [service, instance]| {
        for event in Event::OF_ATTEMPTS {
            to.sample(&[service, instance, ("outcome", event.as_str())], one.statistics.total[*event]);
        }
    });
    let about = "How long attempts at an instance took in the last ten seconds.";
    to.family("bramble_attempt_duration_seconds", MetricType::Summary, about);
    each(services, |one, labels| to.summary(&labels, &one.statistics.attempts));
    to.family("bramble_attempts_in_flight", MetricType::Gauge, "Attempts at an instance that wait for their answer.");
    each(services, |one, labels| to.sample(&labels, one.seen.in_flight));
}

fn of_circuits(services: &[ServiceView<'_>], to: &mut OpenMetrics) {
    to.family("bramble_circuit_state", MetricType::StateSet, "What an instance's circuit does with calls.");
    let all = STATES.map(State::as_str);
    each(services, |one, labels| to.state(&labels, &all, one.seen.breaker.state.as_str()));
    to.family("bramble_circuit_changes", MetricType::Counter, "Changes of state of an instance's circuit.");
    each(services, |one, labels| to.sample(&labels, one.seen.breaker.generation));
    to.family(
        "bramble_circuit_admits_ratio",
        MetricType::Gauge,
        "Share of calls an instance's circuit admits, 0 to 1.",
    );
    each(services, |one, labels| to.sample(&labels, one.seen.breaker.ramp_share));
    to.family(
        "bramble_circuit_failure_ratio",
        MetricType::Gauge,
        "Share of calls that failed lately, where enough were made.",
    );
    each(services, |one, labels| {
        if let Some(rate) = one.seen.breaker.failure_rate {
            to.sample(&labels, rate);
        }
    });
    to.family(
        "bramble_circuit_slow_ratio",
        MetricType::Gauge,
        "Share of calls that were slow lately, where enough were made.",
    );
    each(services, |one, labels| {
        if let Some(rate) = one.seen.breaker.slow_rate {
            to.sample(&labels, rate);
        }
    });
}

/// Every endpoint with the labels that name it.
fn each(services: &[ServiceView<'_>], mut tell: impl FnMut(&EndpointView, [(&str, &str); 2])) {
    for service in services {
        for one in &service.endpoints {
            tell(one, [("service", &service.callee.service), ("instance", &one.seen.target.id)]);
        }
    }
}

fn latency(of: &Summary) -> Value {
    let percentile = |percent| of.percentile(percent).map(fractional);
    let mean = (of.count > 0).then(|| fractional(of.mean));
    json!({"mean": mean, "p50": percentile(50.0), "p90": percentile(90.0), "p95": percentile(95.0),
        "p99": percentile(99.0)})
}

fn events(tally: &Tally, of: &[Event]) -> Map<String, Value> {
    of.iter().map(|event| (event.as_str().to_owned(), tally[*event].into())).collect()
}

/// A moment by the wall clock, which was at `wall` when the other was at `now`.
fn moment(then: Instant, now: Instant, wall: SystemTime) -> String {
    let ago = now.saturating_duration_since(then);
    let then = wall.checked_sub(ago).filter(|then| *then >= SystemTime::UNIX_EPOCH).unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_millis(then).to_string()
}

/// Milliseconds, to the microsecond.
fn fractional(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// States from best to worst, for a call.
const STATES: [State; 7] = [
    State::Closed,
    State::MetricsOnly,
    State::Disabled,
    State::Ramping,
    State::HalfOpen,
    State::Open,
    State::ForcedOpen,
];

fn rank(state: State) -> usize {
    STATES.iter().position(|known| *known == state).unwrap_or(STATES.len())
}

#[cfg(test)]
mod tests;
