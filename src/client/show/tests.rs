use super::*;
use crate::balance::Target;
use crate::breaker::Outcome;
use crate::config::Config;
use std::net::SocketAddr;

const SERVICE: &str = "admitted_share attempt_latency_ms endpoints failure_rate for_ms in_flight late_after_ms \
    latency_ms max_concurrent next_probe_ms reason recent recent_calls recent_retries retries_left service since slow_rate state total";
const ENDPOINT: &str = "addr admitted_share draining expected_ms failure_rate failures_in_a_row for_ms full id in_flight \
    latency_ms next_probe_ms reason recent recent_calls since slow_rate slow_start_share state total weight zone";
const EVENTS: &str = "bad_request failure fallback_failure fallback_missing fallback_rejection fallback_success full \
    rejected retry short_circuited success timeout upstream_failed";

fn keys(value: &Value) -> String {
    let mut keys: Vec<_> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys.join(" ")
}

/// A service of as many endpoints, at a moment from which time is counted.
struct World {
    callee: ServiceClient,
    start: Instant,
}

impl World {
    fn new(endpoints: u16) -> Self {
        let (config, start) = (Config::default(), Instant::now());
        let callee = ServiceClient::new("producer", &config, start);
        let target = |port| Target {
            id: format!("producer-{port}"),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            weight: 1,
            zone: String::new(),
            draining: false,
        };
        let targets: Vec<_> = (1..=endpoints).map(target).collect();
        callee.attempts.update(&targets, start);
        callee.rules.update(&targets, start);
        Self { callee, start }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    /// A call to one endpoint that ends so.
    fn call(&self, endpoint: usize, outcome: Outcome, millis: u64) {
        let now = self.at(millis);
        if let Ok(permit) = self.callee.rules.balancer().endpoints()[endpoint].breaker().try_acquire(now) {
            permit.record(outcome, now);
        }
    }

    fn seen(&self, millis: u64) -> Value {
        ServiceView::new(&self.callee, self.at(millis))
            .to_json(20, SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }
}

#[test]
fn a_service_and_its_instances_are_told_under_these_keys() {
    let world = World::new(1);
    let told = world.seen(0);
    assert_eq!(keys(&told), SERVICE);
    assert_eq!(keys(&told["endpoints"][0]), ENDPOINT);
    assert_eq!(keys(&told["latency_ms"]), "mean p50 p90 p95 p99");
    assert_eq!((keys(&told["recent"]), keys(&told["total"])), (EVENTS.into(), EVENTS.into()));
    assert_eq!(keys(&told["endpoints"][0]["total"]), "bad_request failure rejected success timeout upstream_failed");
}

#[test]
fn what_is_not_known_is_null_and_not_nought() {
    let world = World::new(1);
    world.call(0, Outcome::Failure, 0);
    let told = world.seen(0);
    for value in [&told, &told["endpoints"][0]] {
        assert_eq!((&value["failure_rate"], &value["slow_rate"]), (&Value::Null, &Value::Null));
        assert_eq!((&value["latency_ms"]["p50"], &value["latency_ms"]["mean"]), (&Value::Null, &Value::Null));
        assert_eq!((&value["reason"], &value["next_probe_ms"]), (&Value::Null, &Value::Null));
    }
    (0..19).for_each(|_| world.call(0, Outcome::Success { latency: Duration::ZERO }, 1));
    assert_eq!(world.seen(1)["failure_rate"], 0.05);
}

#[test]
fn a_service_is_as_its_best_instance_and_open_only_when_the_last_one_is() {
    let world = World::new(2);
    (0..5).for_each(|_| world.call(0, Outcome::Failure, 1_000));
    let told = world.seen(1_500);
    assert_eq!((&told["state"], &told["admitted_share"]), (&"closed".into(), &1.0.into()));
    assert_eq!((&told["for_ms"], &told["reason"]), (&1_500.into(), &Value::Null));
    assert_eq!((&told["endpoints"][0]["state"], &told["endpoints"][1]["reason"]), (&"open".into(), &Value::Null));
    assert_eq!(told["endpoints"][0]["reason"], "5 consecutive failures");
    assert_eq!(told["endpoints"][0]["since"], "1970-01-01T00:00:01.000Z");

    (0..5).for_each(|_| world.call(1, Outcome::Failure, 2_000));
    let told = world.seen(2_500);
    assert_eq!((&told["state"], &told["admitted_share"]), (&"open".into(), &0.0.into()));
    assert_eq!((&told["for_ms"], &told["since"]), (&500.into(), &"1970-01-01T00:00:02.000Z".into()));
    let next = told["next_probe_ms"].as_u64().expect("known");
    assert_eq!(Some(next), told["endpoints"][0]["next_probe_ms"].as_u64(), "the first of both");
    assert_eq!(told["reason"], "5 consecutive failures");
}

#[test]
fn a_circuit_that_is_closed_again_gives_no_reason_for_having_been_open() {
    let world = World::new(1);
    (0..5).for_each(|_| world.call(0, Outcome::Failure, 1_000));
    assert_eq!(world.seen(1_500)["endpoints"][0]["reason"], "5 consecutive failures");
    world.call(0, Outcome::Success { latency: Duration::ZERO }, 20_000);
    let told = world.seen(60_000);
    let circuit = &told["endpoints"][0];
    assert_eq!((&circuit["state"], &circuit["reason"]), (&"closed".into(), &Value::Null));
    assert_eq!((&told["state"], &told["reason"]), (&"closed".into(), &Value::Null));
}

#[test]
fn a_service_without_instances_is_empty_and_its_command_is_open() {
    let world = World::new(0);
    let told = world.seen(0);
    assert_eq!((&told["state"], &told["since"]), (&"empty".into(), &Value::Null));
    let config = Config::default();
    let settings = CommandSettings::new(&config.breaker, &config.call, config.call.timeout);
    assert!(ServiceView::new(&world.callee, world.start).command(settings).is_open());
    assert!(!ServiceView::new(&World::new(1).callee, Instant::now()).command(settings).is_open());
}
