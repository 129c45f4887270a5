//! Every rule of the balancer, with explicit time and seeded randomness.

use super::*;
use crate::config::{Config, Role};
use proptest::prelude::*;
use std::collections::BTreeMap;

const POLICIES: [Policy; 5] =
    [Policy::RoundRobin, Policy::Random, Policy::LeastRequest, Policy::WeightedResponseTime, Policy::PeakEwma];

fn target(number: usize) -> Target {
    let address = SocketAddr::from(([127, 0, (number / 256) as u8, (number % 256) as u8], 9000));
    Target { id: format!("producer-{number}"), address, weight: 1, zone: String::new(), draining: false }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A balancer, its list and a clock.
struct Story {
    balancer: Balancer,
    targets: Vec<Target>,
    now: Instant,
    rng: fastrand::Rng,
}

impl Story {
    fn new(policy: Policy, count: usize) -> Self {
        Self::with(policy, (0..count).map(target).collect(), |_| {})
    }

    fn with(policy: Policy, targets: Vec<Target>, change: impl FnOnce(&mut BalanceSettings)) -> Self {
        let config = Config::for_role(Role::Consumer);
        let mut balance = BalanceSettings { policy, ..config.balance };
        change(&mut balance);
        let now = Instant::now();
        let balancer = Balancer::new(&balance, &config.breaker, "shelf-1", now, 3).expect("valid settings");
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
        self.balancer.pick(self.now, &mut self.rng, &[]).expect("somebody")
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

    /// Opens the circuit of an endpoint.
    fn trip(&self, number: usize) {
        self.endpoint(number).breaker().try_acquire(self.now).expect("closed").record(Outcome::Refused, self.now);
    }

    /// How often each was picked in `count` calls of 10 ms, one after the other; 1 ms apart.
    fn spread(&mut self, count: usize) -> Vec<usize> {
        let mut picks = vec![0; self.targets.len()];
        for _ in 0..count {
            let pick = self.pick();
            picks[self.number(pick.endpoint())] += 1;
            self.wait(millis(1));
            pick.finish(Outcome::Success { latency: millis(10) }, self.now);
        }
        picks
    }
}

#[test]
fn equal_endpoints_get_equal_shares_by_every_policy() {
    for policy in POLICIES {
        let picks = Story::new(policy, 4).spread(4000);
        assert!(picks.iter().all(|count| (850..1150).contains(count)), "{policy:?}: {picks:?}");
    }
}

#[test]
fn round_robin_takes_one_after_the_other() {
    let mut story = Story::new(Policy::RoundRobin, 3);
    let order: Vec<usize> = (0..6)
        .map(|_| {
            let pick = story.pick();
            story.number(pick.endpoint())
        })
        .collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_weight_counts_in_every_policy() {
    for policy in POLICIES {
        let mut targets: Vec<_> = (0..4).map(target).collect();
        targets[2].weight = 3;
        let picks = Story::with(policy, targets, |_| {}).spread(6000);
        let share = picks[2] as f64 / 6000.0; // by weight 3 of 6; two choices overstate what is likely
        assert!((0.4..=0.78).contains(&share), "{policy:?}: {picks:?}");
    }
}

#[test]
fn of_two_endpoints_one_with_three_times_the_weight_gets_three_times_the_calls_by_every_policy() {
    for policy in POLICIES {
        let mut targets: Vec<_> = (0..2).map(target).collect();
        targets[0].weight = 3;
        let picks = Story::with(policy, targets, |_| {}).spread(4000);
        assert!((2850..=3150).contains(&picks[0]), "{policy:?}: {picks:?}");
    }
}

#[test]
fn a_weight_beyond_reason_is_bounded() {
    for policy in POLICIES {
        let mut targets: Vec<_> = (0..2).map(target).collect();
        (targets[0].weight, targets[1].weight) = (u32::MAX, 0);
        let picks = Story::with(policy, targets, |_| {}).spread(4000);
        assert!((10..=90).contains(&picks[1]), "{policy:?}: {picks:?}"); // 1 of 101
    }
}

#[test]
fn under_load_calls_in_flight_settle_by_weight() {
    for policy in [Policy::LeastRequest, Policy::PeakEwma] {
        let mut targets: Vec<_> = (0..3).map(target).collect();
        targets[0].weight = 4;
        let mut story = Story::with(policy, targets, |_| {});
        story.spread(100);
        let held: Vec<_> = (0..120).map(|_| story.pick()).collect();
        let in_flight: Vec<_> = (0..3).map(|number| story.endpoint(number).in_flight()).collect();
        assert!((70..=90).contains(&in_flight[0]), "{policy:?}: {in_flight:?}");
        drop(held);
        assert!((0..3).all(|number| story.endpoint(number).in_flight() == 0));
    }
}

#[test]
fn least_request_avoids_who_is_busy() {
    let mut story = Story::new(Policy::LeastRequest, 2);
    let held = story.pick();
    let busy = story.number(held.endpoint());
    assert_eq!(story.spread(100)[busy], 0);
}

#[test]
fn weighted_response_time_gives_the_one_twice_as_fast_twice_the_calls() {
    let mut story = Story::new(Policy::WeightedResponseTime, 2);
    let mut picks = [0; 2];
    for _ in 0..6000 {
        let pick = story.pick();
        let number = story.number(pick.endpoint());
        picks[number] += 1;
        story.wait(millis(1));
        pick.finish(Outcome::Success { latency: millis(10 * (1 + number as u64)) }, story.now);
    }
    assert!((3800..=4200).contains(&picks[0]), "{picks:?}");
}

/// Calls over 1 s, of `calls` at 100 a second to 11 endpoints of which one answers in 2 s.
fn slow_calls(policy: Policy, calls: u64) -> usize {
    let mut story = Story::new(policy, 11);
    let start = story.now;
    let mut in_flight: BTreeMap<(Instant, u64), (Pick, Duration)> = BTreeMap::new();
    let mut slow = 0;
    for call in 0..calls {
        story.now = start + millis(10 * call);
        while in_flight.first_key_value().is_some_and(|((end, _), _)| *end <= story.now) {
            let ((end, _), (pick, latency)) = in_flight.pop_first().expect("not empty");
            pick.finish(Outcome::Success { latency }, end);
        }
        let pick = story.pick();
        let is_slow = story.number(pick.endpoint()) == 5;
        let latency = if is_slow { millis(2000) } else { millis(8 + story.rng.u64(..5)) };
        slow += usize::from(is_slow);
        in_flight.insert((story.now + latency, call), (pick, latency));
    }
    slow
}

#[test]
fn of_eleven_endpoints_with_one_slow_peak_ewma_keeps_all_but_one_in_a_thousand_calls_fast() {
    let slow = slow_calls(Policy::PeakEwma, 10_000);
    assert!(slow <= 10, "{slow} of 10000");
    assert!(slow > 0, "it was asked again at times");
}

#[test]
fn of_eleven_endpoints_with_one_slow_round_robin_hits_it_until_its_circuit_opens() {
    let slow = slow_calls(Policy::RoundRobin, 150); // before 20 slow calls are known, so before the circuit opens
    assert!((13..=14).contains(&slow), "{slow} of 150");
}

#[test]
fn an_endpoint_that_hangs_is_left_alone_before_its_first_timeout() {
    let mut story = Story::new(Policy::PeakEwma, 3);
    story.spread(300);
    let hung: Vec<_> = std::iter::repeat_with(|| story.pick()).take(3).collect();
    let number = story.number(hung[0].endpoint());
    let (hung, answered): (Vec<_>, Vec<_>) =
        hung.into_iter().partition(|pick| pick.endpoint().id() == story.targets[number].id);
    answered.into_iter().for_each(|pick| pick.finish(Outcome::Success { latency: millis(10) }, story.now));
    story.wait(millis(100));
    assert_eq!(story.spread(500)[number], 0);
    drop(hung);
}

#[test]
fn a_call_that_is_out_for_a_second_has_taken_a_second() {
    let mut story = Story::new(Policy::PeakEwma, 1);
    story.spread(50);
    let held = story.pick();
    story.wait(Duration::from_secs(1));
    let cost = |story: &Story| story.balancer.snapshot(story.now).endpoints[0].cost;
    assert!((1.9..2.1).contains(&cost(&story)), "1 s, and one call in flight already");
    drop(held);
    assert!(cost(&story) < 0.02);
}

#[test]
fn an_endpoint_that_never_answered_gets_one_call_and_no_second_while_others_are_free() {
    for seed in 0..20 {
        let mut story = Story::new(Policy::PeakEwma, 2);
        story.rng.seed(seed);
        let (first, second) = (story.pick(), story.pick());
        assert_ne!(first.endpoint().id(), second.endpoint().id());
    }
}

#[test]
fn an_endpoint_that_fails_fast_does_not_look_fast() {
    let mut story = Story::new(Policy::PeakEwma, 2);
    story.spread(100);
    let failing = {
        let pick = story.pick();
        let number = story.number(pick.endpoint());
        pick.finish(Outcome::Failure, story.now);
        number
    };
    assert_eq!(story.spread(500)[failing], 0);
}

#[test]
fn an_endpoint_that_asked_to_be_left_alone_costs_more_for_that_long() {
    let story = Story::new(Policy::PeakEwma, 2);
    let mut rng = fastrand::Rng::with_seed(1);
    let pick = story.balancer.pick(story.now, &mut rng, &[]).expect("somebody");
    let asked = Arc::clone(pick.endpoint());
    pick.finish(Outcome::Rejected { retry_after: Some(Duration::from_secs(20)) }, story.now);
    let cost = |after| {
        let seen = story.balancer.snapshot(story.now + Duration::from_secs(after));
        let of = seen.endpoints.iter().find(|endpoint| endpoint.target.id == asked.id());
        of.expect("known").cost
    };
    assert!(cost(19) > 10.0 && cost(20) < 1.0);
}

#[test]
fn only_endpoints_whose_circuit_admits_are_candidates() {
    for policy in POLICIES {
        let mut story = Story::new(policy, 4);
        story.trip(1);
        story.trip(3);
        let picks = story.spread(400);
        assert_eq!((picks[1], picks[3]), (0, 0), "{policy:?}");
    }
}

#[test]
fn half_available_is_no_panic_but_49_percent_balance_over_all() {
    for policy in POLICIES {
        let mut story = Story::new(policy, 100);
        (0..50).for_each(|number| story.trip(number));
        assert!(!story.pick().is_panic() && !story.balancer.snapshot(story.now).panic);
        story.trip(50);
        story.wait(millis(10));
        assert!(story.balancer.snapshot(story.now).panic);
        let mut picks = vec![0; 100];
        let mut panics = 0;
        for _ in 0..10_000 {
            let pick = story.pick();
            panics += usize::from(pick.is_panic());
            picks[story.number(pick.endpoint())] += 1;
        }
        assert!(picks.iter().all(|count| (40..=190).contains(count)), "{policy:?}: {picks:?}");
        assert!((4700..5500).contains(&panics), "{policy:?}: {panics} to the 51 that are out");
    }
}

#[test]
fn a_panic_pick_teaches_the_circuit_nothing() {
    let mut story = Story::new(Policy::Random, 1);
    story.trip(0);
    story.wait(millis(10));
    let before = story.endpoint(0).breaker().snapshot(story.now);
    let pick = story.pick();
    assert!(pick.is_panic());
    pick.finish(Outcome::Failure, story.now);
    assert_eq!(story.endpoint(0).breaker().snapshot(story.now), before);
}

#[test]
fn one_forced_open_by_hand_gets_no_call_in_panic_either() {
    let mut story = Story::new(Policy::Random, 3);
    story.endpoint(0).breaker().set(State::ForcedOpen, story.now).expect("legal");
    story.trip(1);
    story.trip(2);
    story.wait(millis(10));
    let picks = story.spread(100);
    assert!(picks[0] == 0 && picks[1] > 20 && picks[2] > 20, "{picks:?}");
}

#[test]
fn without_a_panic_threshold_a_refusal_names_the_next_probe() {
    let mut story = Story::with(Policy::PeakEwma, vec![target(0), target(1)], |config| config.panic_threshold = 0.0);
    story.trip(0);
    story.wait(millis(100));
    story.trip(1);
    let retry_at = story.endpoint(0).breaker().snapshot(story.now).next_probe;
    let refused = story.balancer.pick(story.now, &mut story.rng, &[]).map(|_| ());
    assert_eq!(refused, Err(NoPick::AllRefuse { retry_at }));
}

#[test]
fn a_due_probe_is_sent_although_others_are_cheaper_and_only_one() {
    let mut story = Story::new(Policy::PeakEwma, 3);
    story.spread(100);
    story.trip(0);
    story.wait(Duration::from_secs(1));
    story.endpoint(0).latency.observe(Duration::from_secs(2), nanos_since(story.balancer.epoch, story.now));
    let cost = |number: usize| story.balancer.snapshot(story.now).endpoints[number].cost;
    assert!(cost(0) > 10.0 * cost(1), "{} and {}", cost(0), cost(1));
    let picks: Vec<_> = (0..30).map(|_| story.pick()).collect();
    let probes: Vec<_> = picks.iter().filter(|pick| pick.is_probe()).collect();
    assert_eq!(probes.len(), 1);
    assert_eq!(story.number(probes[0].endpoint()), 0);
    assert_eq!(picks.iter().filter(|pick| story.number(pick.endpoint()) == 0).count(), 1);
}

#[test]
fn a_retry_goes_to_an_endpoint_not_tried_yet() {
    for policy in POLICIES {
        let mut story = Story::new(policy, 3);
        for _ in 0..50 {
            let mut tried = Vec::new();
            for _ in 0..3 {
                let pick = story.balancer.pick(story.now, &mut story.rng, &tried).expect("one left");
                assert!(!tried.iter().any(|other| Arc::ptr_eq(other, pick.endpoint())));
                tried.push(Arc::clone(pick.endpoint()));
            }
            let none = story.balancer.pick(story.now, &mut story.rng, &tried).map(|_| ());
            assert_eq!(none, Err(NoPick::AllTried));
        }
    }
}

#[test]
fn an_empty_list_and_one_of_which_all_drain_have_nobody() {
    let mut story = Story::new(Policy::PeakEwma, 0);
    assert_eq!(story.balancer.pick(story.now, &mut story.rng, &[]).map(|_| ()), Err(NoPick::Empty));
    story.update(|targets| targets.push(Target { draining: true, ..target(0) }));
    assert_eq!(story.balancer.pick(story.now, &mut story.rng, &[]).map(|_| ()), Err(NoPick::Empty));
}

#[test]
fn one_that_drains_gets_no_new_call_and_its_last_ones_still_count() {
    let mut story = Story::new(Policy::RoundRobin, 2);
    let held = story.pick();
    let leaving = story.number(held.endpoint());
    story.update(|targets| targets[leaving].draining = true);
    assert_eq!(story.spread(50)[leaving], 0);
    assert_eq!(story.endpoint(leaving).in_flight(), 1);
    held.finish(Outcome::Success { latency: millis(77) }, story.now);
    assert!(story.endpoint(leaving).latency(story.now).is_some_and(|seen| seen.abs_diff(millis(77)) < millis(1)));
}

#[test]
fn a_list_that_changes_loses_no_statistics_of_those_that_stay() {
    let mut story = Story::new(Policy::PeakEwma, 3);
    story.spread(50);
    story.trip(2);
    let before = (story.endpoint(1), story.endpoint(2).breaker().snapshot(story.now));
    story.update(|targets| {
        targets.remove(0);
        targets.push(target(7));
        targets[0].weight = 9;
    });
    assert!(Arc::ptr_eq(&before.0, &story.endpoint(0)));
    assert_eq!(before.1, story.endpoint(1).breaker().snapshot(story.now));
}

#[test]
fn another_address_under_the_same_name_is_another_endpoint() {
    let mut story = Story::new(Policy::PeakEwma, 1);
    let before = story.endpoint(0);
    story.update(|targets| targets[0].address.set_port(1));
    assert!(!Arc::ptr_eq(&before, &story.endpoint(0)));
}

#[test]
fn what_is_named_twice_or_beyond_the_bound_is_left_out_and_said() {
    let mut story = Story::new(Policy::Random, 2);
    let targets = [target(0), target(1), target(0)];
    assert_eq!(story.balancer.update(&targets, story.now), 1);
    assert_eq!(story.balancer.endpoints().len(), 2);
    let many: Vec<_> = (0..ENDPOINTS_MAX + 5).map(target).collect();
    assert_eq!(story.balancer.update(&many, story.now), 5);
    story.now += millis(20);
    drop(story.balancer.pick(story.now, &mut story.rng, &[]).expect("somebody"));
}

#[test]
fn a_new_endpoint_starts_slowly_and_the_first_ones_do_not() {
    for policy in [Policy::RoundRobin, Policy::Random, Policy::WeightedResponseTime] {
        let mut story = Story::new(policy, 3);
        assert!(story.spread(300).iter().all(|count| *count > 60));
        story.update(|targets| targets.push(target(3)));
        let first = story.spread(1000)[3];
        story.wait(Duration::from_secs(4));
        let middle = story.spread(1000)[3];
        story.wait(Duration::from_secs(10));
        let last = story.spread(1000)[3];
        assert!((10..=80).contains(&first) && first < middle && middle < 210, "{policy:?}: {first} {middle}");
        assert!((200..=300).contains(&last), "{policy:?}: {last}");
    }
}

#[test]
fn a_recovered_endpoint_starts_slowly_even_without_a_ramp_of_its_circuit() {
    let config = Config::for_role(Role::Consumer);
    let mut story = Story::new(Policy::Random, 0);
    let breaker = BreakerSettings { ramp: Duration::ZERO, ..config.breaker };
    let balance = BalanceSettings { policy: Policy::Random, ..config.balance };
    story.balancer = Balancer::new(&balance, &breaker, "", story.now, 3).expect("valid settings");
    story.update(|targets| targets.extend((0..2).map(target)));
    story.trip(0);
    story.wait(Duration::from_secs(1));
    let probe = story.endpoint(0);
    let permit = probe.breaker().try_acquire(story.now).expect("due");
    permit.record(Outcome::Success { latency: millis(1) }, story.now);
    assert_eq!(probe.breaker().state(), State::Closed);
    let early = story.spread(1000)[0];
    story.wait(Duration::from_secs(10));
    let late = story.spread(1000)[0];
    assert!(early < 200 && (450..550).contains(&late), "{early} {late}");
}

/// Lets the circuits of `numbers` open and half-open, so that they ramp now.
fn ramp(story: &mut Story, numbers: std::ops::Range<usize>) {
    numbers.clone().for_each(|number| story.trip(number));
    story.wait(Duration::from_secs(1));
    for number in numbers {
        let endpoint = story.endpoint(number);
        let permit = endpoint.breaker().try_acquire(story.now).expect("due");
        permit.record(Outcome::Success { latency: millis(1) }, story.now);
        assert_eq!(endpoint.breaker().state(), State::Ramping);
    }
}

#[test]
fn a_cluster_that_comes_back_as_a_whole_is_let_in_as_slowly_as_each_of_it() {
    for policy in POLICIES {
        for count in [1, 3, 100] {
            let mut story = Story::new(policy, count);
            ramp(&mut story, 0..count);
            let picks = (0..1000).filter(|_| story.balancer.pick(story.now, &mut story.rng, &[]).is_ok()).count();
            assert!((50..=170).contains(&picks), "{policy:?}, {count}: {picks}"); // a tenth
        }
    }
}

#[test]
fn what_a_ramp_refuses_goes_to_those_that_are_well() {
    for policy in POLICIES {
        let mut story = Story::new(policy, 4);
        ramp(&mut story, 0..1);
        let mut picks = [0; 4];
        for _ in 0..1000 {
            let pick = story.pick();
            picks[story.number(pick.endpoint())] += 1;
        }
        assert!((5..=60).contains(&picks[0]), "{policy:?}: {picks:?}"); // a tenth of a quarter
    }
}

/// Five endpoints in the own zone, five in another.
fn two_zones(policy: Policy) -> Story {
    let zone = |number: usize| if number < 5 { "shelf-1" } else { "shelf-2" }.to_owned();
    let targets = (0..10).map(|number| Target { zone: zone(number), ..target(number) }).collect();
    Story::with(policy, targets, |_| {})
}

fn own(picks: &[usize]) -> usize {
    picks[..5].iter().sum()
}

#[test]
fn the_own_zone_gets_all_calls_while_it_is_well() {
    for policy in POLICIES {
        assert_eq!(own(&two_zones(policy).spread(500)), 500, "{policy:?}");
    }
}

#[test]
fn without_preference_all_zones_are_one() {
    let targets = two_zones(Policy::Random).targets;
    let mut story = Story::with(Policy::Random, targets, |config| config.prefer_zone = false);
    assert!((430..570).contains(&own(&story.spread(1000))));
}

#[test]
fn of_an_own_zone_that_is_partly_out_the_part_it_cannot_bear_goes_elsewhere() {
    for policy in POLICIES {
        let mut story = two_zones(policy);
        story.trip(0);
        story.wait(millis(10));
        assert_eq!(own(&story.spread(300)), 300, "{policy:?}: 4 of 5 times 1.4 is more than all");
        let mut story = two_zones(policy);
        (0..3).for_each(|number| story.trip(number));
        story.wait(millis(10));
        let share = own(&story.spread(500)); // 2 of 5 times 1.4 is 56 %
        assert!((230..=330).contains(&share), "{policy:?}: {share}");
    }
}

#[test]
fn an_own_zone_that_is_all_out_leaves_all_calls_to_the_others() {
    let mut story = two_zones(Policy::PeakEwma);
    (0..5).for_each(|number| story.trip(number));
    story.wait(millis(10));
    assert_eq!(own(&story.spread(300)), 0);
}

#[test]
fn in_panic_all_zones_are_one() {
    let mut story = two_zones(Policy::Random);
    [0, 1, 2, 3, 5, 6].into_iter().for_each(|number| story.trip(number));
    story.wait(millis(10));
    let mut picks = vec![0; 10];
    for _ in 0..1000 {
        let pick = story.pick();
        picks[story.number(pick.endpoint())] += 1;
    }
    assert!((430..570).contains(&own(&picks)), "{picks:?}");
}

#[test]
fn an_own_zone_full_of_calls_spills_over() {
    let mut story = two_zones(Policy::LeastRequest);
    let held: Vec<_> = (0..200).map(|_| story.pick()).collect();
    let own: usize = (0..5).map(|number| story.endpoint(number).in_flight()).sum();
    assert!((100..=150).contains(&own), "{own} of {}", held.len());
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let config = Config::for_role(Role::Consumer);
    let error = |change: fn(&mut Config)| {
        let mut config = config.clone();
        change(&mut config);
        let made = Balancer::new(&config.balance, &config.breaker, "", Instant::now(), 0);
        made.map(|_| ()).expect_err("makes no sense").key
    };
    assert_eq!(error(|config| config.balance.panic_threshold = f64::NAN), "balance.panic_threshold");
    assert_eq!(error(|config| config.balance.panic_threshold = 1.1), "balance.panic_threshold");
    assert_eq!(error(|config| config.balance.slow_start = Duration::MAX), "balance.slow_start");
    assert_eq!(error(|config| config.breaker.failure_rate = 2.0), "breaker.failure_rate");
}

#[test]
fn picks_and_changes_of_the_list_from_many_threads_lose_no_call() {
    let story = Story::new(Policy::PeakEwma, 8);
    let (balancer, now) = (&story.balancer, story.now);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..3000 {
                    let pick = balancer.pick(now, &mut rng, &[]).expect("somebody");
                    pick.finish(Outcome::Success { latency: millis(1) }, now);
                }
            });
        }
        for round in 0..200 {
            let list: Vec<_> = (0..8).filter(|number| number % 4 != round % 4).map(target).chain([target(0)]).collect();
            balancer.update(&list, now);
        }
    });
    balancer.update(&story.targets, now);
    assert!(balancer.endpoints().iter().all(|endpoint| endpoint.in_flight() == 0));
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Pick { tried: u8 },
    Finish { which: usize, outcome: u8 },
    Drop { which: usize },
    Update { present: u16, draining: u16 },
    Force { which: usize, open: bool },
    Wait { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<u8>().prop_map(|tried| Step::Pick { tried }),
        6 => (any::<usize>(), any::<u8>()).prop_map(|(which, outcome)| Step::Finish { which, outcome }),
        1 => any::<usize>().prop_map(|which| Step::Drop { which }),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(present, draining)| Step::Update { present, draining }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, open)| Step::Force { which, open }),
        2 => (10u64..3000).prop_map(|millis| Step::Wait { millis }),
    ]
}

fn outcome(number: u8) -> Outcome {
    match number % 8 {
        0..=2 => Outcome::Success { latency: millis(number.into()) },
        3 => Outcome::Failure,
        4 => Outcome::Timeout,
        5 => Outcome::Rejected { retry_after: Some(millis(u64::from(number) * 10)) },
        6 => Outcome::Refused,
        _ => Outcome::Ignored,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The model: a list of who is there, a list of calls in flight, and one look at every circuit at each pick.
    #[test]
    fn whatever_happens_a_pick_is_one_that_a_look_at_all_would_allow(
        policy in 0usize..5, steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut story = Story::with(POLICIES[policy], (0..12).map(target).collect(), |_| {});
        let mut held: Vec<Pick> = Vec::new();
        for step in steps {
            story.wait(millis(10)); // what was counted before is never believed after
            match step {
                Step::Pick { tried } => {
                    let all = story.balancer.endpoints();
                    let is_tried = |e: &Arc<Endpoint>| tried >> (story.number(e) % 8) & 1 == 1;
                    let tried: Vec<_> = all.iter().filter(|e| is_tried(e)).cloned().collect();
                    let listed: Vec<_> = all.iter().filter(|e| !story.targets[story.number(e)].draining).collect();
                    let able = listed.iter().filter(|e| e.breaker().state() != State::ForcedOpen).count();
                    let available = listed.iter().filter(|e| e.breaker().state().is_available()).count();
                    let panic = able > 0 && (available as f64 / able as f64) < 0.5;
                    let may = |e: &Endpoint| {
                        e.breaker().would_admit(story.now) || panic && e.breaker().state() != State::ForcedOpen
                    };
                    let left: Vec<_> = listed.iter().filter(|e| !tried.iter().any(|t| Arc::ptr_eq(t, e))).collect();
                    let allowed: Vec<_> = left.iter().filter(|e| may(e)).map(|e| e.id().to_owned()).collect();
                    let certain = left.iter().any(|e| may(e) && e.breaker().state() != State::Ramping);
                    match story.balancer.pick(story.now, &mut story.rng, &tried) {
                        Ok(pick) => {
                            prop_assert!(allowed.iter().any(|id| id == pick.endpoint().id()));
                            prop_assert!(!pick.is_panic() || panic);
                            held.push(pick);
                        }
                        Err(NoPick::Empty) => prop_assert!(listed.is_empty()),
                        Err(NoPick::AllTried) => prop_assert!(left.is_empty() && !listed.is_empty()),
                        Err(NoPick::AllRefuse { .. }) => prop_assert!(!certain && !left.is_empty()),
                    }
                }
                Step::Finish { which, outcome: number } if !held.is_empty() => {
                    let pick = held.swap_remove(which % held.len());
                    pick.finish(outcome(number), story.now);
                }
                Step::Drop { which } if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                Step::Update { present, draining } => {
                    let before = story.balancer.endpoints();
                    let bit = |mask: u16, number: usize| mask >> number & 1 == 1;
                    let list: Vec<_> = (0..12).filter(|number| bit(present, *number))
                        .map(|number| Target { draining: bit(draining, number), ..target(number) }).collect();
                    story.update(|targets| *targets = list);
                    for endpoint in story.balancer.endpoints() {
                        let same = before.iter().find(|old| old.id() == endpoint.id());
                        prop_assert!(same.is_none_or(|old| Arc::ptr_eq(old, &endpoint)));
                    }
                }
                Step::Force { which, open } => {
                    let all = story.balancer.endpoints();
                    if let Some(endpoint) = all.get(which % all.len().max(1)) {
                        let to = if open { State::ForcedOpen } else { State::Closed };
                        endpoint.breaker().set(to, story.now).expect("legal");
                    }
                }
                Step::Wait { millis: time } => story.wait(millis(time)),
                Step::Finish { .. } | Step::Drop { .. } => {}
            }
            for endpoint in story.balancer.endpoints() {
                let mine = held.iter().filter(|pick| Arc::ptr_eq(pick.endpoint(), &endpoint)).count();
                prop_assert_eq!(endpoint.in_flight(), mine);
            }
        }
    }
}
