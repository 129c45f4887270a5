//! The own zone is preferred, unless another one is clearly cheaper.

use super::*;

/// `own` endpoints in the own zone, `others` in another.
fn two_zones(policy: Policy, own: usize, others: usize) -> Fixture {
    let zone = |number: usize| if number < own { "shelf-1" } else { "shelf-2" }.to_owned();
    let targets = (0..own + others).map(|number| Target { zone: zone(number), ..target(number) }).collect();
    Fixture::with(policy, targets, |_| {})
}

/// As [`two_zones`], all of them known to answer in 10 ms.
fn two_known_zones(policy: Policy, own: usize, others: usize) -> Fixture {
    let fixture = two_zones(policy, own, others);
    (0..own + others).for_each(|number| fixture.call(number, ok(10)));
    fixture
}

#[test]
fn the_own_zone_gets_all_calls_while_it_is_as_fast_as_the_other() {
    for policy in POLICIES {
        let picks = two_known_zones(policy, 5, 5).spread(500);
        assert_eq!(picks[..5].iter().sum::<usize>(), 500, "{policy:?}");
    }
}

#[test]
fn without_preference_all_zones_are_one() {
    let targets = two_zones(Policy::Random, 5, 5).targets;
    let mut fixture = Fixture::with(Policy::Random, targets, |settings| settings.prefer_zone = false);
    assert!((430..570).contains(&fixture.spread(1000)[..5].iter().sum::<usize>()));
}

#[test]
fn a_call_crosses_zones_when_the_other_one_is_cheaper_by_a_tenth_and_two_milliseconds() {
    // Latencies of both, calls in flight at the own one, and whether the next call crosses.
    let cases = [
        (10, 10, 0, false),
        (10, 10, 1, true), // 20 ms, and 11 + 2 ms
        (14, 10, 0, true), // 14 ms, and 11 + 2 ms
        (12, 10, 0, false),
        (1, 1, 1, false), // 2 ms, and 1.1 + 2 ms
        (1, 1, 2, false),
        (1, 1, 3, true),
        (300, 57, 0, true),
    ];
    for policy in POLICIES {
        for (own, other, in_flight, crosses) in cases {
            let mut fixture = two_zones(policy, 1, 1);
            fixture.call(0, ok(own));
            fixture.call(1, ok(other));
            let held: Vec<_> = (0..in_flight).map(|_| fixture.pick_of(0)).collect();
            let case = format!("{policy:?}: {own} ms with {in_flight} in flight, and {other} ms");
            assert_eq!(fixture.choice(&PickRequest::default()), Ok(usize::from(crosses)), "{case}");
            drop(held);
        }
    }
}

#[test]
fn a_zone_of_one_beside_a_zone_of_four_shares_the_load_with_it() {
    for policy in POLICIES {
        let mut fixture = two_zones(policy, 1, 4);
        (0..5).for_each(|number| fixture.call(number, ok(20)));
        let held: Vec<_> = (0..100).map(|_| fixture.pick()).collect();
        let in_flight = fixture.endpoint(0).in_flight();
        assert!((10..=40).contains(&in_flight), "{policy:?}: {in_flight} of 100");
        drop(held);
    }
}

#[test]
fn of_an_own_zone_that_is_partly_out_the_rest_takes_all_calls_while_it_can() {
    for policy in POLICIES {
        let mut fixture = two_known_zones(policy, 5, 5);
        (0..3).for_each(|number| fixture.trip(number));
        fixture.wait(millis(10));
        assert_eq!(fixture.spread(300)[3..5].iter().sum::<usize>(), 300, "{policy:?}");
    }
}

#[test]
fn an_own_zone_that_is_all_out_leaves_all_calls_to_the_others() {
    for policy in POLICIES {
        let mut fixture = two_known_zones(policy, 5, 5);
        (0..5).for_each(|number| fixture.trip(number));
        fixture.wait(millis(10));
        assert_eq!(fixture.spread(300)[5..].iter().sum::<usize>(), 300, "{policy:?}");
    }
}

#[test]
fn a_last_resort_is_chosen_by_what_is_wrong_with_it_and_not_by_its_zone() {
    let mut fixture = two_zones(Policy::PeakEwma, 2, 2);
    [0, 1, 3].into_iter().for_each(|number| fixture.trip(number));
    (0..5).for_each(|_| fixture.call(2, Ending::Failed));
    assert_eq!(fixture.choice(&PickRequest::default()), Ok(2), "it answers, if badly");
}
