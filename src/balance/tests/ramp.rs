//! New and recovered endpoints: a share among alternatives that grows with time, and never a refusal.

use super::*;
use crate::breaker::HealthCheck;

/// Lets the circuits of `numbers` open and close, so that they ramp now.
fn ramp(fixture: &Fixture, numbers: std::ops::Range<usize>) {
    for number in numbers {
        fixture.trip(number);
        assert!(fixture.endpoint(number).probed(HealthCheck::Alive, fixture.now));
        assert_eq!(fixture.endpoint(number).breaker().state(), State::Ramping);
    }
}

/// How often each is picked in 1000 calls at one moment, while `busy` calls are in flight.
fn shares(fixture: &mut Fixture, busy: usize) -> Vec<usize> {
    let mut picks = vec![0; fixture.targets.len()];
    let mut held = std::collections::VecDeque::new();
    for _ in 0..1000 {
        let pick = fixture.pick();
        picks[fixture.number(pick.endpoint())] += 1;
        held.push_back(pick);
        if held.len() > busy {
            held.pop_front().expect("not empty").finish(ok(10), fixture.now);
        }
    }
    picks
}

#[test]
fn a_cluster_that_comes_back_as_a_whole_takes_every_call_in_equal_shares() {
    for policy in POLICIES {
        for count in [1, 3] {
            let mut fixture = Fixture::new(policy, count);
            ramp(&fixture, 0..count);
            let picks = shares(&mut fixture, 0);
            let fair = 1000 / count;
            assert!(picks.iter().all(|picks| (fair * 4 / 5..=fair * 6 / 5).contains(picks)), "{policy:?}: {picks:?}");
        }
        let mut fixture = Fixture::new(policy, 100);
        ramp(&fixture, 0..100);
        assert!(shares(&mut fixture, 0).iter().all(|picks| *picks < 40), "{policy:?}");
    }
}

#[test]
fn two_choices_still_even_out_the_load_of_a_cluster_that_comes_back_as_a_whole() {
    for policy in [Policy::LeastRequest, Policy::PeakEwma] {
        let mut fixture = Fixture::new(policy, 4);
        ramp(&fixture, 0..4);
        let held: Vec<_> = (0..80).map(|_| fixture.pick()).collect();
        let in_flight: Vec<_> = (0..4).map(|number| fixture.endpoint(number).in_flight()).collect();
        assert!(in_flight.iter().all(|count| (16..=24).contains(count)), "{policy:?}: {in_flight:?}");
        drop(held);
    }
}

#[test]
fn a_recovered_endpoint_at_a_tenth_gets_about_a_tenth_of_its_share_by_every_policy() {
    for policy in POLICIES {
        for busy in [0, 20] {
            let mut fixture = Fixture::new(policy, 4);
            fixture.spread(400);
            ramp(&fixture, 0..1);
            let picks = shares(&mut fixture, busy);
            assert!((5..=80).contains(&picks[0]), "{policy:?}, {busy} in flight: {picks:?}"); // a tenth of a quarter
        }
    }
}

#[test]
fn of_two_endpoints_one_at_a_tenth_is_protected_under_load() {
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 2);
        fixture.spread(400);
        ramp(&fixture, 0..1);
        let picks = shares(&mut fixture, 10);
        assert!((30..=220).contains(&picks[0]), "{policy:?}: {picks:?}"); // two choices double what is likely
    }
}

#[test]
fn a_recovered_endpoint_that_answers_much_faster_than_the_other_takes_its_calls_whatever_its_ramp() {
    let picks = |latency: u64, others: u64| {
        let mut fixture = Fixture::new(Policy::PeakEwma, 2);
        fixture.call(1, ok(others));
        ramp(&fixture, 0..1);
        fixture.call(0, ok(latency));
        shares(&mut fixture, 0)[0]
    };
    assert!(picks(10, 40) > 900);
    assert!(picks(10, 20) < 220, "twice as fast may be chance");
}

#[test]
fn a_recovered_endpoint_has_its_full_share_when_its_ramp_is_over() {
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 4);
        fixture.spread(400);
        ramp(&fixture, 0..1);
        fixture.wait(Duration::from_secs(5));
        let picks = fixture.spread(2000);
        assert!((400..600).contains(&picks[0]), "{policy:?}: {picks:?}");
    }
}

#[test]
fn a_new_endpoint_starts_slowly_and_has_a_fair_share_within_slow_start_by_every_policy() {
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 3);
        assert!(fixture.spread(300).iter().all(|count| *count > 60), "the first ones do not start slowly");
        fixture.update(|targets| targets.push(target(3)));
        let first = fixture.spread(1000)[3];
        fixture.wait(Duration::from_secs(4));
        let middle = fixture.spread(1000)[3];
        fixture.wait(Duration::from_secs(5));
        let last = fixture.spread(1000)[3];
        assert!((60..=170).contains(&first) && first < middle && middle < 240, "{policy:?}: {first} {middle}");
        assert!((200..=300).contains(&last), "{policy:?}: {last}");
    }
}

#[test]
fn a_restarted_instance_has_a_fair_share_within_slow_start_although_it_is_asked_seldom() {
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 5);
        let call = |fixture: &mut Fixture, count: usize| {
            let mut picks = [0; 5];
            for _ in 0..count {
                let pick = fixture.pick();
                picks[fixture.number(pick.endpoint())] += 1;
                fixture.wait(millis(400));
                pick.finish(ok(10), fixture.now);
            }
            picks
        };
        call(&mut fixture, 20);
        fixture.update(|targets| targets[2] = Target { id: "producer-2-again".into(), ..target(2) });
        call(&mut fixture, 25); // ten seconds
        let picks = call(&mut fixture, 200);
        assert!((20..=65).contains(&picks[2]), "{policy:?}: {picks:?}");
    }
}

#[test]
fn without_slow_start_a_new_endpoint_has_its_share_at_once() {
    let targets = (0..3).map(target).collect();
    let mut fixture = Fixture::with(Policy::Random, targets, |settings| settings.slow_start = Duration::ZERO);
    fixture.spread(30);
    fixture.update(|targets| targets.push(target(3)));
    assert!((200..300).contains(&fixture.spread(1000)[3]));
}
