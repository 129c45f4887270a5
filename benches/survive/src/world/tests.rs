use super::*;
use crate::contestant::{Call, CallEvent, Ending, Question, Step, TimeLimits, baseline};
use crate::scenario::{Cold, Link, Phase, Questions, ServerSpec, UpstreamSpec, millis, secs};
use std::ops::Range;

const DISCOVERY: Duration = millis(200);

/// A client of so many calls per second in equal intervals, and one server of one worker and 20 ms.
fn one_server(rate: f64) -> Scenario {
    let server = ServerSpec {
        workers: 1,
        service_time: millis(20),
        long_tail: false,
        zone: "",
        drops_abandoned: true,
        condition: Condition::Up,
    };
    let questions = Questions::Plain;
    let group = ClientGroup { count: 1, rate, zone: "", steady: true, short_lived: false, questions };
    let (from, to) = (Duration::ZERO, secs(60));
    Scenario {
        name: "test".to_owned(),
        servers: vec![server],
        clients: vec![group],
        upstream: None,
        zone_latency: Duration::ZERO,
        discovery: DISCOVERY,
        mdns: false,
        may_hedge: true,
        limits: TimeLimits::default(),
        changes: Vec::new(),
        phases: vec![Phase { name: "all", from, to, known_only: false, recovery: None, demands: Vec::new() }],
        watched: None,
    }
}

fn changed(mut scenario: Scenario, at: Duration, change: Change) -> Scenario {
    scenario.changes.push((at, change));
    scenario
}

fn condition(scenario: Scenario, time: Range<Duration>, condition: Condition) -> Scenario {
    let scenario = changed(scenario, time.start, Change::Servers(0..1, condition));
    changed(scenario, time.end, Change::Servers(0..1, Condition::Up))
}

fn run_round_robin(scenario: &Scenario) -> Record {
    run(scenario, baseline::all()[0], 1)
}

/// The calls begun in a time.
fn begun(record: &Record, time: Range<Duration>) -> Vec<CallRecord> {
    record.calls.iter().filter(|call| time.contains(&call.begun)).copied().collect()
}

fn answered(calls: &[CallRecord]) -> usize {
    calls.iter().filter(|call| call.answered).count()
}

fn mean_latency(calls: &[CallRecord]) -> Duration {
    calls.iter().map(|call| call.took).sum::<Duration>() / calls.len() as u32
}

#[test]
fn a_server_that_is_well_answers_everything_in_its_service_time() {
    let calls = run_round_robin(&one_server(10.0)).calls;
    assert!(calls.len() >= 600 && answered(&calls) == calls.len());
    let mean = mean_latency(&calls);
    assert!((millis(20)..millis(23)).contains(&mean), "{mean:?}");
}

#[test]
fn a_server_answers_what_its_workers_can_and_not_more() {
    let calls = run_round_robin(&one_server(100.0)).calls;
    let within = answered(&calls) as f64 / 64.0;
    assert!((40.0..51.0).contains(&within), "{within} answers per second, of one worker of 20 ms");
}

#[test]
fn a_stopped_server_answers_what_arrived_meanwhile() {
    let scenario = condition(one_server(10.0), secs(10)..secs(11), Condition::Stopped);
    let calls = begun(&run_round_robin(&scenario), secs(10)..secs(11));
    assert_eq!(answered(&calls), calls.len());
    assert!(calls.iter().all(|call| call.begun + call.took >= secs(11)), "{calls:?}");
}

#[test]
fn a_dead_server_refuses_at_once_and_breaks_the_connections_it_had() {
    let scenario = condition(one_server(10.0), secs(10)..secs(20), Condition::Dead);
    let calls = begun(&run_round_robin(&scenario), secs(10)..secs(20));
    assert!(answered(&calls) == 0 && calls.iter().all(|call| call.took < millis(2)), "{calls:?}");
    let slow = condition(one_server(10.0), secs(9)..secs(60), Condition::Slow(100.0));
    let calls =
        begun(&run_round_robin(&changed(slow, secs(10), Change::Servers(0..1, Condition::Dead))), secs(9)..secs(10));
    assert!(answered(&calls) == 0 && calls.iter().all(|call| call.begun + call.took < millis(10_010)), "{calls:?}");
}

#[test]
fn an_unreachable_or_hung_server_lets_its_callers_wait_for_their_timeout() {
    for silent in [Condition::Unreachable, Condition::Hung { healthz: true }] {
        let calls =
            begun(&run_round_robin(&condition(one_server(2.0), secs(10)..secs(30), silent)), secs(10)..secs(28));
        assert!(answered(&calls) == 0 && calls.iter().all(|call| call.took == millis(1300)), "{silent:?} {calls:?}");
    }
}

#[test]
fn a_message_lost_in_a_short_cut_is_sent_again() {
    let cut = changed(one_server(50.0), secs(10), Change::ClientsCut(0..1, true));
    let cut = changed(cut, secs(10) + millis(300), Change::ClientsCut(0..1, false));
    let calls = begun(&run_round_robin(&cut), secs(10)..secs(10) + millis(300));
    assert_eq!(answered(&calls), calls.len());
    let latest = calls.iter().map(|call| call.took).max().expect("there were calls");
    assert!(latest > millis(500), "the second repetition comes after 600 ms: {latest:?}");
}

#[test]
fn a_cold_server_is_slow_for_its_first_requests() {
    let cold = Cold::Requests { factor: 10.0, count: 5 };
    let start = Change::Start { servers: 0..1, cold, new_identity: false };
    let record = run_round_robin(&changed(one_server(2.0), secs(10), start));
    let (first, later) = (begun(&record, secs(10)..millis(12_400)), begun(&record, secs(13)..secs(60)));
    assert!(mean_latency(&first) > millis(100) && mean_latency(&later) < millis(30), "{first:?}");
}

/// The reply of a stranger or a broken body is no answer, whatever the client thinks of it.
#[test]
fn a_wrong_200_is_no_answer() {
    for wrong in [Condition::Stranger(200), Condition::Lying(1.0), Condition::Stranger(404)] {
        let calls =
            begun(&run_round_robin(&condition(one_server(10.0), secs(10)..secs(20), wrong)), secs(10)..secs(20));
        assert!(answered(&calls) == 0 && calls.iter().all(|call| call.took < millis(5)), "{wrong:?}");
    }
}

#[test]
fn equal_questions_cost_one_call_to_the_upstream_while_they_are_fresh() {
    let upstream = UpstreamSpec { latency: secs(2), fresh_for: secs(30), fetch_timeout: secs(5), filled: false };
    let mut scenario = Scenario { upstream: Some(upstream), ..one_server(2.0) };
    scenario.clients[0].questions = Questions::Keyed { known: 1, new_share: 0.0, new_from: Duration::ZERO };
    let record = run_round_robin(&scenario);
    assert_eq!(
        record.fetches.len(),
        3,
        "at the start, and by the first question after each 30 s: {:?}",
        record.fetches
    );
    let calls = begun(&record, secs(3)..secs(30));
    assert_eq!(answered(&calls), calls.len(), "the answer that was late for its caller is kept");
}

#[test]
fn a_message_to_another_zone_takes_longer() {
    let mut scenario = Scenario { zone_latency: millis(50), ..one_server(5.0) };
    scenario.servers[0].zone = "a";
    scenario.clients[0].zone = "b";
    let mean = mean_latency(&run_round_robin(&scenario).calls);
    assert!((millis(119)..millis(125)).contains(&mean), "{mean:?}");
}

#[test]
fn a_stalled_server_finishes_nothing_until_its_disk_answers() {
    let scenario = condition(one_server(2.0), secs(10)..secs(11), Condition::Stalled);
    let calls = begun(&run_round_robin(&scenario), secs(10)..secs(11));
    assert_eq!(answered(&calls), calls.len());
    assert!(calls.iter().all(|call| call.begun + call.took >= secs(11)), "{calls:?}");
}

#[test]
fn a_bad_link_delays_and_loses_messages_of_its_server() {
    let link = |loss, delay| changed(one_server(5.0), secs(0), Change::Links(0..1, Link { loss, delay }));
    let mean = mean_latency(&run_round_robin(&link(0.0, millis(50))).calls);
    assert!((millis(119)..millis(125)).contains(&mean), "{mean:?}");
    let calls = run_round_robin(&link(0.1, Duration::ZERO)).calls;
    let repeated = calls.iter().filter(|call| call.took > millis(200)).count() as f64 / calls.len() as f64;
    assert!((0.1..0.3).contains(&repeated), "a message of two is lost in 19 % of all calls: {repeated}");
}

#[test]
fn the_calls_of_a_burst_begin_at_one_instant() {
    let record = run_round_robin(&changed(one_server(0.1), secs(12), Change::Burst(0..1, 7)));
    assert_eq!(record.calls.iter().filter(|call| call.begun == secs(12)).count(), 7);
}

#[test]
fn an_upstream_of_which_every_second_call_fails_fails_half_of_them() {
    let upstream = UpstreamSpec { latency: millis(60), fresh_for: millis(1), fetch_timeout: secs(5), filled: false };
    let scenario = Scenario { upstream: Some(upstream), ..one_server(2.0) };
    let mut scenario = changed(scenario, secs(0), Change::Upstream(UpstreamCondition::EverySecondFails));
    scenario.clients[0].questions = Questions::Keyed { known: 1, new_share: 1.0, new_from: Duration::ZERO };
    let calls = run_round_robin(&scenario).calls;
    let good = answered(&calls) as f64 / calls.len() as f64;
    assert!((0.45..0.55).contains(&good), "the only server is asked once: {good}");
}

/// Asks the first instance it knows, and probes it every second.
struct Prober {
    only_if_cached: bool,
}

const PROBER: Prober = Prober { only_if_cached: false };

struct ProberClient {
    only_if_cached: bool,
    targets: std::cell::RefCell<Vec<EndpointId>>,
    alive: std::cell::Cell<bool>,
    next: std::cell::Cell<Instant>,
}

impl Contestant for Prober {
    fn name(&self) -> &'static str {
        "prober"
    }

    fn checks_contract(&self) -> bool {
        true
    }

    fn client(&self, _: ClientOptions<'_>, now: Instant) -> Box<dyn Client> {
        let (alive, next) = (std::cell::Cell::new(true), std::cell::Cell::new(now));
        Box::new(ProberClient { only_if_cached: self.only_if_cached, targets: Default::default(), alive, next })
    }
}

impl Client for ProberClient {
    fn update(&self, targets: &[Target], _now: Instant) {
        *self.targets.borrow_mut() = targets.iter().map(|target| target.endpoint).collect();
    }

    fn call(&self, question: Question, _now: Instant) -> Box<dyn Call + '_> {
        Box::new(ProberCall { client: self, question })
    }

    fn next_probe(&self, _now: Instant) -> Option<Instant> {
        Some(self.next.get())
    }

    fn probes_due(&self, now: Instant) -> Vec<Probe> {
        self.next.set(now + secs(1));
        self.targets.borrow().iter().map(|endpoint| Probe { number: 0, endpoint: *endpoint }).collect()
    }

    fn probed(&self, _: Probe, found: HealthCheck, _now: Instant) {
        self.alive.set(found == HealthCheck::Alive);
    }
}

struct ProberCall<'a> {
    client: &'a ProberClient,
    question: Question,
}

impl Call for ProberCall<'_> {
    fn step(&mut self, event: CallEvent, _now: Instant, _: &mut Rng) -> Step {
        match event {
            CallEvent::Begin if !self.client.alive.get() => Step::Done(None),
            CallEvent::Begin => {
                let (endpoint, deadline) = (self.client.targets.borrow()[0], self.question.deadline);
                Step::Ask { attempt: 0, endpoint, deadline, only_if_cached: self.client.only_if_cached }
            }
            CallEvent::Woken => Step::Wait(self.question.deadline),
            CallEvent::Ended { attempt, ending: Ending::Success { .. } } => Step::Done(Some(attempt)),
            CallEvent::Ended { .. } | CallEvent::Unsent { .. } => Step::Done(None),
        }
    }
}

#[test]
fn probes_show_what_is_dead_silent_or_another_process_and_nothing_else() {
    let is_seen = |bad: Condition| {
        let record = run(&condition(one_server(10.0), secs(10)..secs(20), bad), &PROBER, 1);
        begun(&record, secs(13)..secs(20)).iter().all(|call| call.attempts == 0)
    };
    for bad in [Condition::Dead, Condition::Unreachable, Condition::Stopped, Condition::Stranger(200)] {
        assert!(is_seen(bad), "{bad:?}");
    }
    assert!(is_seen(Condition::Hung { healthz: false }));
    for gray in [Condition::Hung { healthz: true }, Condition::Lying(1.0), Condition::Slow(10.0)] {
        assert!(!is_seen(gray), "{gray:?}");
    }
}

#[test]
fn a_restarted_process_is_another_instance_that_discovery_finds_after_its_delay() {
    let start = Change::Start { servers: 0..1, cold: Cold::No, new_identity: true };
    let record = run(&changed(one_server(100.0), secs(10), start), &PROBER, 1);
    let unknown = begun(&record, secs(10)..secs(10) + DISCOVERY);
    assert!(answered(&unknown) == 0 && unknown.len() >= 19, "{unknown:?}");
    assert!(answered(&begun(&record, secs(12)..secs(14))) > 90);
}

#[test]
fn an_instance_that_ends_as_planned_answers_what_it_has_and_leaves_the_list() {
    let mut scenario = changed(one_server(100.0), secs(10), Change::Servers(0..1, Condition::Absent));
    scenario.servers.push(scenario.servers[0]);
    scenario.clients[0].rate = 20.0;
    let record = run(&scenario, &PROBER, 1);
    assert_eq!(answered(&begun(&record, secs(9)..secs(10))), 20, "one of them is in progress");
    assert_eq!(answered(&begun(&record, secs(10)..secs(10) + DISCOVERY)), 0);
    assert_eq!(answered(&begun(&record, secs(12)..secs(13))), 20);
}

#[test]
fn what_is_wanted_from_a_cache_only_is_answered_by_a_server_that_asks_no_upstream() {
    let mut scenario = one_server(10.0);
    scenario.clients[0].questions = Questions::Keyed { known: 3, new_share: 0.0, new_from: Duration::ZERO };
    let cached_only = Prober { only_if_cached: true };
    let calls = run(&scenario, &cached_only, 1).calls;
    assert_eq!(answered(&calls), calls.len());
    let upstream = UpstreamSpec { latency: millis(60), fresh_for: secs(30), fetch_timeout: secs(5), filled: false };
    let behind = Scenario { upstream: Some(upstream), ..scenario };
    assert_eq!(answered(&run(&behind, &cached_only, 1).calls), 0, "nothing is ever fetched");
}
