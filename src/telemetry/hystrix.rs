//! A circuit as Netflix's dashboard reads it. Its page asks for every field by name and drops an event that lacks one,
//! so all fields are here that `HystrixMetricsPoller` (hystrix-metrics-event-stream 1.5.18) writes for a
//! `HystrixCommand`, in its order and with its types.
//!
//! What Hystrix has and Bramble has not is 0 or false, so the dashboard shows nothing that did not happen: no threads
//! (isolation is `SEMAPHORE`), no collapsed requests, no emitted parts, no cache of responses within a request.
//! A 429 counts as a semaphore's rejection, which the dashboard shows as "rejected". A ramping circuit is closed, a
//! half-open one is open, as they are in Hystrix.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::latency::{PERCENTS, Summary};
use super::record::{CallStatistics, Event};
use super::rolling::WINDOW;
use crate::breaker::BreakerSettings;
use crate::breaker::State;
use crate::call::CallSettings;

/// A circuit, ready to be written.
#[derive(Debug, Clone)]
pub struct Command {
    /// Name of the command, unique in the process.
    pub name: String,
    /// Group of the command: the service that is called.
    pub group: String,
    /// State of the circuit. None: no instance is known, so calls are refused as by an open one.
    pub state: Option<State>,
    /// Calls in flight.
    pub in_flight: usize,
    /// Record of its calls.
    pub statistics: CallStatistics,
    /// Settings of the circuit.
    pub settings: CommandSettings,
}

/// Settings, as far as Hystrix has a name for them.
#[derive(Debug, Clone, Copy)]
pub struct CommandSettings {
    /// Calls below which rates are unknown.
    pub minimum_calls: u32,
    /// How long it opens for the first time.
    pub open_for: Duration,
    /// Share of failures at which it opens.
    pub failure_rate: f64,
    /// How long one execution may take.
    pub timeout: Duration,
    /// Calls that may be in flight; as many fallbacks.
    pub max_concurrent: usize,
}

impl CommandSettings {
    /// As configured, for executions of at most `timeout`.
    pub fn new(breaker: &BreakerSettings, call: &CallSettings, timeout: Duration) -> Self {
        Self {
            minimum_calls: breaker.minimum_calls.get(),
            open_for: breaker.open_for,
            failure_rate: breaker.failure_rate.get(),
            timeout,
            max_concurrent: call.max_concurrent,
        }
    }
}

impl Command {
    /// Whether calls are refused at present.
    pub fn is_open(&self) -> bool {
        !self.state.is_some_and(State::is_available)
    }

    /// The event of `/hystrix.stream`: `data: {...}` and an empty line.
    pub fn event(&self, now: SystemTime) -> Vec<u8> {
        let mut event = b"data: ".to_vec();
        // Names and numbers only: nothing that JSON cannot say. If it were so, a comment keeps the stream whole.
        if serde_json::to_writer(&mut event, &HystrixEvent::of(self, now)).is_err() {
            event = b": a circuit could not be told".to_vec();
        }
        event.extend_from_slice(b"\n\n");
        event
    }
}

/// The fields in Netflix's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HystrixEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    group: &'a str,
    current_time: u64,
    is_circuit_breaker_open: bool,
    #[serde(flatten)]
    counts: Counts,
    #[serde(rename = "latencyExecute_mean")]
    execute_mean: u64,
    #[serde(rename = "latencyExecute")]
    execute: Percentiles,
    #[serde(rename = "latencyTotal_mean")]
    total_mean: u64,
    #[serde(rename = "latencyTotal")]
    total: Percentiles,
    #[serde(flatten)]
    properties: Properties,
    reporting_hosts: u8,
    thread_pool: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    error_percentage: u64,
    error_count: u64,
    request_count: u64,
    rolling_count_bad_requests: u64,
    rolling_count_collapsed_requests: u64,
    rolling_count_emit: u64,
    rolling_count_exceptions_thrown: u64,
    rolling_count_failure: u64,
    rolling_count_fallback_emit: u64,
    rolling_count_fallback_failure: u64,
    rolling_count_fallback_missing: u64,
    rolling_count_fallback_rejection: u64,
    rolling_count_fallback_success: u64,
    rolling_count_responses_from_cache: u64,
    rolling_count_semaphore_rejected: u64,
    rolling_count_short_circuited: u64,
    rolling_count_success: u64,
    rolling_count_thread_pool_rejected: u64,
    rolling_count_timeout: u64,
    current_concurrent_execution_count: u64,
    rolling_max_concurrent_execution_count: u64,
}

#[derive(Debug, Serialize)]
struct Properties {
    #[serde(rename = "propertyValue_circuitBreakerRequestVolumeThreshold")]
    request_volume_threshold: u64,
    #[serde(rename = "propertyValue_circuitBreakerSleepWindowInMilliseconds")]
    sleep_window: u64,
    #[serde(rename = "propertyValue_circuitBreakerErrorThresholdPercentage")]
    error_threshold: u64,
    #[serde(rename = "propertyValue_circuitBreakerForceOpen")]
    force_open: bool,
    #[serde(rename = "propertyValue_circuitBreakerForceClosed")]
    force_closed: bool,
    #[serde(rename = "propertyValue_circuitBreakerEnabled")]
    enabled: bool,
    #[serde(rename = "propertyValue_executionIsolationStrategy")]
    isolation: &'static str,
    #[serde(rename = "propertyValue_executionIsolationThreadTimeoutInMilliseconds")]
    thread_timeout: u64,
    #[serde(rename = "propertyValue_executionTimeoutInMilliseconds")]
    timeout: u64,
    #[serde(rename = "propertyValue_executionIsolationThreadInterruptOnTimeout")]
    interrupt_on_timeout: bool,
    #[serde(rename = "propertyValue_executionIsolationThreadPoolKeyOverride")]
    pool_key_override: Option<&'static str>,
    #[serde(rename = "propertyValue_executionIsolationSemaphoreMaxConcurrentRequests")]
    max_concurrent: u64,
    #[serde(rename = "propertyValue_fallbackIsolationSemaphoreMaxConcurrentRequests")]
    max_fallbacks: u64,
    #[serde(rename = "propertyValue_metricsRollingStatisticalWindowInMilliseconds")]
    window: u64,
    #[serde(rename = "propertyValue_requestCacheEnabled")]
    request_cache: bool,
    #[serde(rename = "propertyValue_requestLogEnabled")]
    request_log: bool,
}

/// Milliseconds by percentile: `{"0":1,"25":2, ... "99.5":80,"100":81}`.
#[derive(Debug)]
struct Percentiles([Duration; PERCENTS.len()]);

impl Serialize for Percentiles {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(PERCENTS.len()))?;
        for (percent, time) in PERCENTS.iter().zip(self.0) {
            map.serialize_entry(&percent.to_string(), &milliseconds(time))?;
        }
        map.end()
    }
}

impl<'a> HystrixEvent<'a> {
    fn of(command: &'a Command, now: SystemTime) -> Self {
        let CallStatistics { attempts, calls, .. } = command.statistics;
        Self {
            kind: "HystrixCommand",
            name: &command.name,
            group: &command.group,
            current_time: now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, milliseconds),
            is_circuit_breaker_open: command.is_open(),
            counts: Counts::of(command),
            execute_mean: milliseconds(attempts.mean),
            execute: Percentiles::of(&attempts),
            total_mean: milliseconds(calls.mean),
            total: Percentiles::of(&calls),
            properties: Properties::of(command),
            reporting_hosts: 1,
            thread_pool: &command.group,
        }
    }
}

impl Counts {
    fn of(command: &Command) -> Self {
        let recent = &command.statistics.recent;
        let rejected = recent[Event::Rejected] + recent[Event::Full];
        // As Hystrix reckons: what was short-circuited is neither a request nor an error, and so is a bad request.
        // The dashboard has no word for a failure of what is behind the callee.
        let failures = recent[Event::Failure] + recent[Event::UpstreamFailed];
        let errors = failures + recent[Event::Timeout] + rejected;
        let requests = recent[Event::Success] + errors;
        let unanswered = [Event::FallbackMissing, Event::FallbackFailure, Event::FallbackRejection];
        Self {
            error_percentage: (errors * 100).checked_div(requests).unwrap_or(0),
            error_count: errors,
            request_count: requests,
            rolling_count_bad_requests: recent[Event::BadRequest],
            rolling_count_collapsed_requests: 0,
            rolling_count_emit: 0,
            rolling_count_exceptions_thrown: unanswered.iter().map(|event| recent[*event]).sum(),
            rolling_count_failure: failures,
            rolling_count_fallback_emit: 0,
            rolling_count_fallback_failure: recent[Event::FallbackFailure],
            rolling_count_fallback_missing: recent[Event::FallbackMissing],
            rolling_count_fallback_rejection: recent[Event::FallbackRejection],
            rolling_count_fallback_success: recent[Event::FallbackSuccess],
            rolling_count_responses_from_cache: 0,
            rolling_count_semaphore_rejected: rejected,
            rolling_count_short_circuited: recent[Event::ShortCircuited],
            rolling_count_success: recent[Event::Success],
            rolling_count_thread_pool_rejected: 0,
            rolling_count_timeout: recent[Event::Timeout],
            current_concurrent_execution_count: int(command.in_flight),
            rolling_max_concurrent_execution_count: command.statistics.max_in_flight,
        }
    }
}

impl Properties {
    fn of(command: &Command) -> Self {
        let CommandSettings { minimum_calls, open_for, failure_rate, timeout, max_concurrent } = command.settings;
        Self {
            request_volume_threshold: minimum_calls.into(),
            sleep_window: milliseconds(open_for),
            error_threshold: (failure_rate * 100.0).round() as u64,
            force_open: command.state == Some(State::ForcedOpen),
            force_closed: command.state == Some(State::MetricsOnly),
            enabled: command.state != Some(State::Disabled),
            isolation: "SEMAPHORE",
            thread_timeout: milliseconds(timeout),
            timeout: milliseconds(timeout),
            interrupt_on_timeout: true,
            pool_key_override: None,
            max_concurrent: int(max_concurrent),
            max_fallbacks: int(max_concurrent),
            window: milliseconds(WINDOW),
            request_cache: false,
            request_log: false,
        }
    }
}

impl Percentiles {
    fn of(summary: &Summary) -> Self {
        Self(summary.percentiles)
    }
}

/// Within a Java int, which most of these are there.
fn int(number: usize) -> u64 {
    number.min(i32::MAX as usize) as u64
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::Config;
    use crate::telemetry::record::Calls;
    use serde_json::Value;
    use std::time::Instant;

    /// Names and types of all fields in their order, one a line, after Netflix's source.
    const FIELDS: &str = include_str!("hystrix/fields.txt");

    pub(crate) fn command(name: &str, statistics: CallStatistics) -> Command {
        let config = Config::default();
        Command {
            name: name.to_owned(),
            group: "producer".to_owned(),
            state: Some(State::Closed),
            in_flight: 2,
            statistics,
            settings: CommandSettings::new(&config.breaker, &config.call, Duration::from_secs(3)),
        }
    }

    /// Fails unless this is an event with all fields, in order and of their types.
    pub(crate) fn check_event(event: &str) -> Value {
        let json = event.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\n")).expect("one event");
        let told: Value = serde_json::from_str(json).expect("JSON");
        let mut after = 0;
        for line in FIELDS.lines() {
            let (name, kind) = line.split_once(' ').expect("name and type");
            let (outer, inner) = name.split_once('/').unwrap_or((name, ""));
            let value = if inner.is_empty() { &told[outer] } else { &told[outer][inner] };
            let fits = match kind {
                "number" => value.is_u64(),
                "boolean" => value.is_boolean(),
                "string" => value.is_string(),
                "object" => value.is_object(),
                _ => value.is_null() && kind == "null",
            };
            assert!(fits, "{name} is {value}, not {kind}");
            let key = if inner.is_empty() { outer } else { inner };
            after += json[after..].find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{name} is out of order"));
        }
        let inner = |value: &Value| value.as_object().map_or(0, serde_json::Map::len);
        let fields = inner(&told) + inner(&told["latencyExecute"]) + inner(&told["latencyTotal"]);
        assert_eq!(fields, FIELDS.lines().count(), "nothing beside them");
        told
    }

    fn told(command: &Command) -> Value {
        let event = command.event(SystemTime::UNIX_EPOCH + Duration::from_millis(1_234));
        check_event(std::str::from_utf8(&event).expect("text"))
    }

    #[test]
    fn an_event_has_every_field_of_netflix_in_order_with_its_type() {
        let told = told(&command("producer@a \"b\"\n\nc", CallStatistics::default()));
        assert_eq!((told["type"].as_str(), told["currentTime"].as_u64()), (Some("HystrixCommand"), Some(1_234)));
        assert_eq!(told["name"], "producer@a \"b\"\n\nc");
        assert_eq!(told["propertyValue_metricsRollingStatisticalWindowInMilliseconds"], 10_000);
    }

    #[test]
    fn errors_are_reckoned_as_hystrix_does() {
        let (calls, now) = (Calls::new(Instant::now()), Instant::now());
        let happened = [
            (Event::Success, 5),
            (Event::Failure, 1),
            (Event::Timeout, 2),
            (Event::Rejected, 1),
            (Event::Full, 1),
            (Event::BadRequest, 7),
            (Event::UpstreamFailed, 2),
            (Event::ShortCircuited, 9),
            (Event::FallbackSuccess, 4),
            (Event::FallbackFailure, 3),
            (Event::FallbackRejection, 2),
            (Event::FallbackMissing, 1),
        ];
        for (event, times) in happened {
            (0..times).for_each(|_| calls.ended(event, Duration::from_millis(40), now));
        }
        let told = told(&command("producer", calls.statistics(now)));
        for (field, value) in [
            ("requestCount", 12),
            ("errorCount", 7),
            ("errorPercentage", 58),
            ("rollingCountSuccess", 5),
            ("rollingCountFailure", 3),
            ("rollingCountTimeout", 2),
            ("rollingCountSemaphoreRejected", 2),
            ("rollingCountBadRequests", 7),
            ("rollingCountShortCircuited", 9),
            ("rollingCountFallbackSuccess", 4),
            ("rollingCountFallbackFailure", 3),
            ("rollingCountFallbackRejection", 2),
            ("rollingCountFallbackMissing", 1),
            ("rollingCountExceptionsThrown", 6),
            ("latencyTotal_mean", 40),
            ("latencyExecute_mean", 0),
            ("currentConcurrentExecutionCount", 2),
        ] {
            assert_eq!(told[field], value, "{field}");
        }
        assert_eq!(told["latencyTotal"]["99.5"], 40);
    }

    #[test]
    fn what_was_set_by_hand_is_told_as_hystrix_names_it() {
        let names = ["ForceOpen", "ForceClosed", "Enabled"].map(|name| format!("propertyValue_circuitBreaker{name}"));
        for (state, expected) in [
            (None, [false, false, true]),
            (Some(State::ForcedOpen), [true, false, true]),
            (Some(State::MetricsOnly), [false, true, true]),
            (Some(State::Disabled), [false, false, false]),
        ] {
            let told = told(&Command { state, ..command("producer", CallStatistics::default()) });
            assert_eq!(names.each_ref().map(|name| told[name] == true), expected, "{state:?}");
        }
    }
}
