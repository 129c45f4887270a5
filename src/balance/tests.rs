//! The rules of the balancer, with explicit time and seeded randomness: the policies, the list, what an ending costs.

use super::*;
use std::collections::BTreeMap;

mod home;
mod last_resort;
mod model;
mod ramp;
mod zone;

const POLICIES: [Policy; 5] =
    [Policy::RoundRobin, Policy::Random, Policy::LeastRequest, Policy::WeightedResponseTime, Policy::PeakEwma];

fn target(number: usize) -> Target {
    let address = SocketAddr::from(([127, 0, (number / 256) as u8, (number % 256) as u8], 9000));
    Target { id: format!("producer-{number}"), address, weight: 1, zone: String::new(), draining: false }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn ok(latency: u64) -> Ending {
    Ending::Success { latency: millis(latency) }
}

/// A balancer, its list and a clock.
struct Fixture {
    balancer: Balancer,
    targets: Vec<Target>,
    now: Instant,
    rng: fastrand::Rng,
}

impl Fixture {
    fn new(policy: Policy, count: usize) -> Self {
        Self::with(policy, (0..count).map(target).collect(), |_| {})
    }

    fn with(policy: Policy, targets: Vec<Target>, change: impl FnOnce(&mut BalanceSettings)) -> Self {
        let mut balance = BalanceSettings { policy, ..BalanceSettings::default() };
        change(&mut balance);
        let now = Instant::now();
        let breaker = BreakerSettings::default();
        let balancer = Balancer::new(&balance, &breaker, "shelf-1", now, 3);
        balancer.update(&targets, now);
        Self { balancer, targets, now, rng: fastrand::Rng::with_seed(11) }
    }

    fn update(&mut self, change: impl FnOnce(&mut Vec<Target>)) {
        change(&mut self.targets);
        self.balancer.update(&self.targets, self.now);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn pick(&mut self) -> Pick {
        self.wanted(&PickRequest::default()).expect("one is known")
    }

    fn wanted(&mut self, wanted: &PickRequest<'_>) -> Result<Pick, NoPick> {
        self.balancer.pick(self.now, &mut self.rng, wanted)
    }

    /// Number of the endpoint picked, or why there is none.
    fn choice(&mut self, wanted: &PickRequest<'_>) -> Result<usize, NoPick> {
        self.wanted(wanted).map(|pick| self.number(pick.endpoint()))
    }

    /// A pick of this one endpoint.
    fn pick_of(&self, number: usize) -> Pick {
        let busy = endpoint::Busy::new(&self.endpoint(number), nanos_since(self.balancer.epoch, self.now));
        Pick { permit: Permit::acquire(busy, self.now).expect("admitted"), started: self.now, weight: 1 }
    }

    /// Makes a call to this one endpoint.
    fn call(&self, number: usize, ending: Ending) {
        self.pick_of(number).finish(ending, self.now);
    }

    /// Index in `targets` of an endpoint.
    fn number(&self, endpoint: &Endpoint) -> usize {
        let found = self.targets.iter().position(|target| target.id == endpoint.id());
        found.expect("one of the list")
    }

    fn endpoint(&self, number: usize) -> Arc<Endpoint> {
        let all = self.balancer.endpoints();
        all.into_iter().find(|endpoint| endpoint.id() == self.targets[number].id).expect("known")
    }

    /// Opens the circuit of an endpoint that refuses connections.
    fn trip(&self, number: usize) {
        self.call(number, Ending::Refused);
    }

    fn seen(&self, number: usize) -> EndpointSnapshot {
        let snapshot = self.balancer.snapshot(self.now);
        snapshot.endpoints.into_iter().find(|seen| seen.target.id == self.targets[number].id).expect("known")
    }

    /// How often each was picked in `count` calls of 10 ms, one after the other; 1 ms apart.
    fn spread(&mut self, count: usize) -> Vec<usize> {
        let mut picks = vec![0; self.targets.len()];
        for _ in 0..count {
            let pick = self.pick();
            picks[self.number(pick.endpoint())] += 1;
            self.wait(millis(1));
            pick.finish(ok(10), self.now);
        }
        picks
    }
}

#[test]
fn equal_endpoints_get_equal_shares_by_every_policy() {
    for policy in POLICIES {
        let picks = Fixture::new(policy, 4).spread(4000);
        assert!(picks.iter().all(|count| (850..1150).contains(count)), "{policy:?}: {picks:?}");
    }
}

#[test]
fn round_robin_takes_one_after_the_other() {
    let mut fixture = Fixture::new(Policy::RoundRobin, 3);
    let order: Vec<usize> = (0..6)
        .map(|_| {
            let pick = fixture.pick();
            fixture.number(pick.endpoint())
        })
        .collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_weight_counts_in_every_policy() {
    for policy in POLICIES {
        let mut targets: Vec<_> = (0..4).map(target).collect();
        targets[2].weight = 3;
        let picks = Fixture::with(policy, targets, |_| {}).spread(6000);
        let share = picks[2] as f64 / 6000.0; // by weight 3 of 6; two choices overstate what is likely
        assert!((0.4..=0.78).contains(&share), "{policy:?}: {picks:?}");
    }
}

#[test]
fn of_two_endpoints_one_with_three_times_the_weight_gets_three_times_the_calls_by_every_policy() {
    for policy in POLICIES {
        let mut targets: Vec<_> = (0..2).map(target).collect();
        targets[0].weight = 3;
        let picks = Fixture::with(policy, targets, |_| {}).spread(4000);
        assert!((2850..=3150).contains(&picks[0]), "{policy:?}: {picks:?}");
    }
}

#[test]
fn a_weight_beyond_reason_is_bounded() {
    for policy in POLICIES {
        let mut targets: Vec<_> = (0..2).map(target).collect();
        (targets[0].weight, targets[1].weight) = (u32::MAX, 0);
        let picks = Fixture::with(policy, targets, |_| {}).spread(4000);
        assert!((10..=90).contains(&picks[1]), "{policy:?}: {picks:?}"); // 1 of 101
    }
}

#[test]
fn under_load_calls_in_flight_settle_by_weight() {
    for policy in [Policy::LeastRequest, Policy::PeakEwma] {
        let mut targets: Vec<_> = (0..3).map(target).collect();
        targets[0].weight = 4;
        let mut fixture = Fixture::with(policy, targets, |_| {});
        fixture.spread(100);
        let held: Vec<_> = (0..120).map(|_| fixture.pick()).collect();
        let in_flight: Vec<_> = (0..3).map(|number| fixture.endpoint(number).in_flight()).collect();
        assert!((70..=90).contains(&in_flight[0]), "{policy:?}: {in_flight:?}");
        drop(held);
        assert!((0..3).all(|number| fixture.endpoint(number).in_flight() == 0));
    }
}

#[test]
fn least_request_avoids_an_endpoint_that_is_busy() {
    let mut fixture = Fixture::new(Policy::LeastRequest, 2);
    let held = fixture.pick();
    let busy = fixture.number(held.endpoint());
    assert_eq!(fixture.spread(100)[busy], 0);
}

#[test]
fn weighted_response_time_gives_the_one_twice_as_fast_twice_the_calls() {
    let mut fixture = Fixture::new(Policy::WeightedResponseTime, 2);
    let mut picks = [0; 2];
    for _ in 0..6000 {
        let pick = fixture.pick();
        let number = fixture.number(pick.endpoint());
        picks[number] += 1;
        fixture.wait(millis(1));
        pick.finish(Ending::Success { latency: millis(10 * (1 + number as u64)) }, fixture.now);
    }
    assert!((3800..=4200).contains(&picks[0]), "{picks:?}");
}

/// Calls to the slow one, of `calls` at 100 a second to `count` endpoints of which one takes `slow`, the others 10 ms.
fn slow_calls(policy: Policy, calls: u64, count: usize, slow: Duration) -> usize {
    let mut fixture = Fixture::new(policy, count);
    let start = fixture.now;
    let mut in_flight: BTreeMap<(Instant, u64), (Pick, Duration)> = BTreeMap::new();
    let mut slow_calls = 0;
    for call in 0..calls {
        fixture.now = start + millis(10 * call);
        while in_flight.first_key_value().is_some_and(|((end, _), _)| *end <= fixture.now) {
            let ((end, _), (pick, latency)) = in_flight.pop_first().expect("not empty");
            pick.finish(Ending::Success { latency }, end);
        }
        let pick = fixture.pick();
        let is_slow = fixture.number(pick.endpoint()) == count - 1;
        let latency = if is_slow { slow } else { millis(8 + fixture.rng.u64(..5)) };
        slow_calls += usize::from(is_slow);
        in_flight.insert((fixture.now + latency, call), (pick, latency));
    }
    slow_calls
}

#[test]
fn of_eleven_endpoints_with_one_slow_peak_ewma_keeps_all_but_one_in_a_thousand_calls_fast() {
    let slow = slow_calls(Policy::PeakEwma, 10_000, 11, millis(2000));
    assert!(slow <= 10, "{slow} of 10000");
    assert!(slow > 0, "it is asked again at times");
}

#[test]
fn of_two_endpoints_with_one_slow_peak_ewma_keeps_99_of_100_calls_fast() {
    for slow in [100, 1000] {
        let slow = slow_calls(Policy::PeakEwma, 10_000, 2, millis(slow));
        assert!(slow < 100, "{slow} of 10000");
    }
}

#[test]
fn of_eleven_endpoints_with_one_slow_round_robin_hits_it_in_its_turn() {
    let slow = slow_calls(Policy::RoundRobin, 150, 11, millis(2000));
    assert!((13..=14).contains(&slow), "{slow} of 150");
}

#[test]
fn an_endpoint_that_hangs_is_left_alone_before_its_first_timeout() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 3);
    fixture.spread(300);
    let hung: Vec<_> = std::iter::repeat_with(|| fixture.pick()).take(3).collect();
    let number = fixture.number(hung[0].endpoint());
    let (hung, answered): (Vec<_>, Vec<_>) =
        hung.into_iter().partition(|pick| pick.endpoint().id() == fixture.targets[number].id);
    answered.into_iter().for_each(|pick| pick.finish(ok(10), fixture.now));
    fixture.wait(millis(100));
    assert_eq!(fixture.spread(500)[number], 0);
    drop(hung);
}

#[test]
fn a_call_that_is_out_for_a_second_has_taken_a_second() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 1);
    fixture.spread(50);
    let held = fixture.pick();
    fixture.wait(Duration::from_secs(1));
    let cost = |fixture: &Fixture| fixture.balancer.snapshot(fixture.now).endpoints[0].cost;
    assert!((1.9..2.1).contains(&cost(&fixture)), "1 s, and one call in flight already");
    drop(held);
    assert!(cost(&fixture) < 0.02);
}

#[test]
fn an_endpoint_that_never_answered_gets_one_call_and_no_second_while_others_are_free() {
    for seed in 0..20 {
        let mut fixture = Fixture::new(Policy::PeakEwma, 2);
        fixture.rng.seed(seed);
        let (first, second) = (fixture.pick(), fixture.pick());
        assert_ne!(first.endpoint().id(), second.endpoint().id());
    }
}

#[test]
fn only_endpoints_whose_circuit_admits_are_candidates() {
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 4);
        fixture.trip(1);
        fixture.trip(3);
        let picks = fixture.spread(400);
        assert_eq!((picks[1], picks[3]), (0, 0), "{policy:?}");
    }
}

#[test]
fn a_retry_goes_to_an_endpoint_not_tried_yet() {
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 3);
        for _ in 0..50 {
            let mut tried = Vec::new();
            for _ in 0..3 {
                let wanted = PickRequest { tried: &tried, ..PickRequest::default() };
                let pick = fixture.wanted(&wanted).expect("one left");
                assert!(!tried.iter().any(|other| Arc::ptr_eq(other, pick.endpoint())));
                tried.push(Arc::clone(pick.endpoint()));
            }
            let wanted = PickRequest { tried: &tried, ..PickRequest::default() };
            assert_eq!(fixture.choice(&wanted), Err(NoPick::AllTried));
        }
    }
}

#[test]
fn an_empty_list_and_one_of_which_all_drain_have_no_endpoint() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 0);
    assert_eq!(fixture.choice(&PickRequest::default()), Err(NoPick::Empty));
    fixture.update(|targets| targets.push(Target { draining: true, ..target(0) }));
    assert_eq!(fixture.choice(&PickRequest::default()), Err(NoPick::Empty));
}

#[test]
fn one_that_drains_gets_no_new_call_and_its_last_ones_still_count() {
    let mut fixture = Fixture::new(Policy::RoundRobin, 2);
    let held = fixture.pick();
    let leaving = fixture.number(held.endpoint());
    fixture.update(|targets| targets[leaving].draining = true);
    assert_eq!(fixture.spread(50)[leaving], 0);
    assert_eq!(fixture.endpoint(leaving).in_flight(), 1);
    held.finish(ok(77), fixture.now);
    assert!(fixture.endpoint(leaving).latency(fixture.now).is_some_and(|seen| seen.abs_diff(millis(77)) < millis(1)));
}

#[test]
fn a_list_that_changes_loses_no_statistics_of_those_that_stay() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 3);
    fixture.spread(50);
    fixture.trip(2);
    let before = (fixture.endpoint(1), fixture.endpoint(2).breaker().snapshot(fixture.now));
    fixture.update(|targets| {
        targets.remove(0);
        targets.push(target(7));
        targets[0].weight = 9;
    });
    assert!(Arc::ptr_eq(&before.0, &fixture.endpoint(0)));
    assert_eq!(before.1, fixture.endpoint(1).breaker().snapshot(fixture.now));
}

#[test]
fn another_address_under_the_same_name_is_another_endpoint() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 1);
    let before = fixture.endpoint(0);
    fixture.update(|targets| targets[0].address.set_port(1));
    assert!(!Arc::ptr_eq(&before, &fixture.endpoint(0)));
}

#[test]
fn what_is_named_twice_or_beyond_the_bound_is_left_out_and_said() {
    let mut fixture = Fixture::new(Policy::Random, 2);
    let targets = [target(0), target(1), target(0)];
    assert_eq!(fixture.balancer.update(&targets, fixture.now), 1);
    assert_eq!(fixture.balancer.endpoints().len(), 2);
    let many: Vec<_> = (0..ENDPOINTS_MAX + 5).map(target).collect();
    assert_eq!(fixture.balancer.update(&many, fixture.now), 5);
    fixture.now += millis(20);
    drop(fixture.pick());
}

#[test]
fn picks_and_changes_of_the_list_from_many_threads_lose_no_call() {
    let fixture = Fixture::new(Policy::PeakEwma, 8);
    let (balancer, now) = (&fixture.balancer, fixture.now);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..3000 {
                    let pick = balancer.pick(now, &mut rng, &PickRequest::default()).expect("one is known");
                    pick.finish(ok(1), now);
                }
            });
        }
        for round in 0..200 {
            let list: Vec<_> = (0..8).filter(|number| number % 4 != round % 4).map(target).chain([target(0)]).collect();
            balancer.update(&list, now);
        }
    });
    balancer.update(&fixture.targets, now);
    assert!(balancer.endpoints().iter().all(|endpoint| endpoint.in_flight() == 0));
}

#[test]
fn one_failure_costs_a_fast_server_its_share_for_a_second_and_not_for_six() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 4);
    fixture.spread(400);
    fixture.call(2, Ending::Failed);
    assert_eq!(fixture.spread(500)[2], 0, "a server that fails fast does not look fast");
    fixture.wait(Duration::from_secs(5));
    let picks = fixture.spread(1000);
    assert!((200..300).contains(&picks[2]), "{picks:?}");
}

#[test]
fn an_endpoint_of_which_three_calls_in_ten_fail_at_once_gets_less_than_half_of_its_share() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 4);
    let mut picks = [0; 4];
    for call in 0..4000 {
        let pick = fixture.pick();
        let number = fixture.number(pick.endpoint());
        picks[number] += 1;
        fixture.wait(millis(10));
        pick.finish(if number == 1 && call % 10 < 3 { Ending::Failed } else { ok(10) }, fixture.now);
    }
    assert!((1..500).contains(&picks[1]), "{picks:?}");
}

#[test]
fn an_endpoint_that_was_slow_once_has_its_share_again_within_half_a_minute_by_drift() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 4);
    fixture.spread(400);
    fixture.call(1, ok(1000));
    assert_eq!(fixture.spread(1000)[1], 0);
    for _ in 0..2900 {
        let pick = fixture.pick();
        fixture.wait(millis(10));
        pick.finish(ok(10), fixture.now);
    }
    let picks = fixture.spread(1000);
    assert!((200..300).contains(&picks[1]), "{picks:?}");
}

#[test]
fn an_overtaken_call_counts_as_at_least_the_time_it_was_out_and_never_as_fast() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 2);
    fixture.spread(100);
    let latency = |fixture: &Fixture| fixture.seen(0).latency.expect("known");
    let held = fixture.pick_of(0);
    fixture.wait(millis(300));
    held.finish(Ending::Overtaken, fixture.now);
    assert!(latency(&fixture).abs_diff(millis(300)) < millis(1));
    let held = fixture.pick_of(0);
    fixture.wait(millis(1));
    held.finish(Ending::Overtaken, fixture.now);
    assert!(latency(&fixture) > millis(295), "one millisecond is a lower bound, not a latency");
}

#[test]
fn what_a_caller_cancels_changes_neither_cost_nor_circuit() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 2);
    fixture.spread(100);
    let before = (fixture.seen(0).latency, fixture.seen(0).breaker);
    let held = fixture.pick_of(0);
    fixture.wait(millis(1));
    held.finish(Ending::Cancelled, fixture.now);
    drop(fixture.pick_of(0));
    assert_eq!(fixture.seen(0).in_flight, 0);
    assert_eq!(fixture.seen(0).breaker, before.1);
    assert!(fixture.seen(0).latency.zip(before.0).is_some_and(|(after, before)| after.abs_diff(before) < millis(1)));
}

#[test]
fn an_endpoint_without_room_gets_no_call_of_any_policy_until_its_hint_is_over() {
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 3);
        fixture.spread(30);
        fixture.call(1, Ending::NoRoom { retry_after: Some(millis(1000)) });
        assert_eq!(fixture.spread(1000)[1], 0, "{policy:?}");
        fixture.wait(millis(500));
        assert!(!fixture.seen(1).full && fixture.spread(300)[1] > 50, "{policy:?}: and it has not failed");
        assert_eq!(fixture.endpoint(1).breaker().generation(), 0);
    }
}

#[test]
fn an_endpoint_without_room_that_names_no_time_is_avoided_for_150_to_450_ms_at_random() {
    let mut times = Vec::new();
    for start in 0..200 {
        let mut fixture = Fixture::new(Policy::PeakEwma, 1);
        fixture.wait(Duration::from_micros(start));
        fixture.call(0, Ending::NoRoom { retry_after: None });
        let avoided = (0..500).take_while(|_| {
            fixture.wait(millis(1));
            fixture.seen(0).full
        });
        times.push(avoided.count());
    }
    let (shortest, longest) = (times.iter().min().expect("some"), times.iter().max().expect("some"));
    assert!((149..180).contains(shortest) && (420..=450).contains(longest), "{shortest} to {longest} ms");
}

#[test]
fn a_hint_beyond_reason_is_bounded_and_an_answer_ends_it() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 1);
    let held = fixture.pick_of(0);
    fixture.call(0, Ending::NoRoom { retry_after: Some(Duration::MAX) });
    fixture.wait(Duration::from_secs(3500));
    assert!(fixture.seen(0).full);
    fixture.wait(Duration::from_secs(1900));
    assert!(!fixture.seen(0).full, "an hour and a half");
    fixture.call(0, Ending::NoRoom { retry_after: Some(Duration::from_secs(60)) });
    held.finish(ok(1), fixture.now);
    assert!(!fixture.seen(0).full, "it has had room for a call");
}

#[test]
fn a_server_whose_upstream_fails_is_neither_failing_nor_fast() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 2);
    fixture.spread(100);
    (0..20).for_each(|_| fixture.call(0, Ending::UpstreamFailed));
    assert_eq!(fixture.endpoint(0).breaker().generation(), 0);
    let picks = fixture.spread(1000);
    assert!((400..600).contains(&picks[0]), "{picks:?}");
}

#[test]
fn another_server_at_the_address_is_out_at_once() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 3);
    fixture.call(1, Ending::WrongPeer);
    assert_eq!(fixture.spread(500)[1], 0);
}

#[test]
fn a_call_is_expected_to_take_its_place_in_the_queue_and_most_of_the_estimate_at_an_idle_endpoint() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 2);
    (0..2).for_each(|number| fixture.call(number, ok(10)));
    let first = fixture.pick_of(0);
    assert!(first.expected(fixture.now).abs_diff(millis(10).mul_f64(0.75)) < Duration::from_micros(1));
    let third = (fixture.pick_of(0), fixture.pick_of(0)).1;
    assert!(third.expected(fixture.now).abs_diff(millis(20)) <= millis(10), "{:?}", third.expected(fixture.now));
    fixture.wait(millis(500));
    assert!(third.expected(fixture.now) >= millis(500), "none of them has ended since");
}
