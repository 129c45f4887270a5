//! Equal questions go to the same endpoint while it is well.

use super::*;
use crate::breaker::HealthCheck;

fn keyed(key: u64) -> PickRequest<'static> {
    PickRequest { key: Some(key), ..PickRequest::default() }
}

/// The home of each of the first `count` keys.
fn homes(fixture: &mut Fixture, count: u64) -> Vec<usize> {
    (0..count).map(|key| fixture.choice(&keyed(key)).expect("one is known")).collect()
}

fn counts(homes: &[usize], endpoints: usize) -> Vec<usize> {
    (0..endpoints).map(|number| homes.iter().filter(|home| **home == number).count()).collect()
}

#[test]
fn equal_questions_go_to_the_same_endpoint_by_every_policy_and_from_every_process() {
    let expected = homes(&mut Fixture::new(Policy::PeakEwma, 5), 200);
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 5);
        fixture.balancer = Balancer::new(
            &BalanceSettings { policy, ..BalanceSettings::default() },
            &BreakerSettings::default(),
            "",
            fixture.now,
            99,
        );
        fixture.rng.seed(1234);
        fixture.update(|targets| targets.reverse());
        fixture.wait(Duration::from_secs(60));
        let mut homes = homes(&mut fixture, 200);
        homes.iter_mut().for_each(|home| *home = 4 - *home); // the list is in the other order
        assert_eq!(homes, expected, "{policy:?}");
    }
}

#[test]
fn questions_spread_over_the_endpoints_by_weight() {
    let equal = counts(&homes(&mut Fixture::new(Policy::PeakEwma, 5), 10_000), 5);
    assert!(equal.iter().all(|count| (1850..2150).contains(count)), "{equal:?}");
    let mut targets: Vec<_> = (0..4).map(target).collect();
    targets[2].weight = 3;
    let weighted = counts(&homes(&mut Fixture::with(Policy::PeakEwma, targets, |_| {}), 10_000), 4);
    assert!((4850..5150).contains(&weighted[2]), "3 of 6: {weighted:?}");
    assert!([0, 1, 3].iter().all(|number| (1520..1810).contains(&weighted[*number])), "{weighted:?}");
}

#[test]
fn a_home_that_leaves_moves_only_its_own_questions_and_one_that_joins_takes_only_its_share() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 5);
    let before = homes(&mut fixture, 2000);
    fixture.update(|targets| targets[1].draining = true);
    let without = homes(&mut fixture, 2000);
    for (before, after) in before.iter().zip(&without) {
        assert!(*after != 1 && (before == after || *before == 1));
    }
    let moved = counts(&without, 5);
    assert!(moved.iter().enumerate().all(|(number, count)| number == 1 || (400..600).contains(count)), "{moved:?}");
    fixture.update(|targets| targets.push(target(9)));
    fixture.wait(Duration::from_secs(10));
    let joined = homes(&mut fixture, 2000);
    assert!(without.iter().zip(&joined).all(|(before, after)| before == after || *after == 5));
    assert!((330..470).contains(&counts(&joined, 6)[5]));
}

#[test]
fn a_home_whose_calls_wait_for_each_other_passes_on_those_that_are_answered_in_half_the_time_elsewhere() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 4);
    let home = homes(&mut fixture, 1)[0];
    (0..4).for_each(|number| fixture.call(number, ok(10)));
    let mut held: Vec<Pick> = Vec::new();
    for _ in 0..160 {
        held.push(fixture.wanted(&keyed(0)).expect("never refused"));
        let in_flight: Vec<_> = (0..4).map(|number| fixture.endpoint(number).in_flight()).collect();
        let (least, most) = (in_flight.iter().min().expect("some"), in_flight.iter().max().expect("some"));
        assert!(*most <= 2 * (least + 1), "{in_flight:?}");
    }
    assert!(held[..2].iter().all(|pick| fixture.number(pick.endpoint()) == home), "two calls are no queue");
    let next = fixture.number(held[2].endpoint());
    assert!(next != home && fixture.number(held[3].endpoint()) == next, "the next is the same for all, too");
    held.clear();
    assert_eq!(fixture.choice(&keyed(0)), Ok(home));
}

#[test]
fn an_idle_home_keeps_its_questions_however_long_its_last_answer_took() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 4);
    let home = homes(&mut fixture, 1)[0];
    (0..4).for_each(|number| fixture.call(number, ok(10)));
    fixture.call(home, ok(1000));
    assert_eq!(fixture.choice(&keyed(0)), Ok(home));
}

#[test]
fn a_home_whose_calls_wait_for_a_server_behind_it_keeps_its_questions() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 4);
    let home = homes(&mut fixture, 1)[0];
    (0..4).for_each(|number| fixture.call(number, ok(10)));
    fixture.call(home, Ending::UpstreamTimedOut);
    let held: Vec<Pick> = (0..20).map(|_| fixture.wanted(&keyed(0)).expect("never refused")).collect();
    assert!(held.iter().all(|pick| fixture.number(pick.endpoint()) == home), "no other has the answer");
    fixture.wait(Duration::from_secs(6));
    assert_ne!(fixture.choice(&keyed(0)), Ok(home), "that server answers again");
}

#[test]
fn a_home_that_fails_now_and_then_passes_its_questions_on_for_a_few_seconds() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 4);
    let home = homes(&mut fixture, 1)[0];
    (0..2).for_each(|_| fixture.call(home, Ending::Failed));
    assert_eq!(fixture.choice(&keyed(0)), Ok(home), "two failures are no reason to leave a warm cache");
    (0..2).for_each(|_| fixture.call(home, Ending::Failed));
    assert_eq!(fixture.endpoint(home).breaker().state(), State::Closed);
    assert_ne!(fixture.choice(&keyed(0)), Ok(home));
    fixture.wait(Duration::from_secs(3));
    assert_eq!(fixture.choice(&keyed(0)), Ok(home));
}

#[test]
fn a_home_without_room_or_out_or_tried_passes_its_questions_on_to_the_same_next_one() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 4);
    let home = homes(&mut fixture, 1)[0];
    let tried = [fixture.endpoint(home)];
    let next = fixture.choice(&PickRequest { tried: &tried, ..keyed(0) }).expect("another");
    assert_ne!(next, home);
    assert_eq!(fixture.choice(&PickRequest { tried: &tried, only_well: true, ..keyed(0) }), Ok(next), "a copy, too");
    fixture.call(home, Ending::NoRoom { retry_after: Some(Duration::from_secs(1)) });
    assert_eq!(fixture.choice(&keyed(0)), Ok(next));
    fixture.wait(Duration::from_secs(2));
    assert_eq!(fixture.choice(&keyed(0)), Ok(home));
    fixture.trip(home);
    assert_eq!(fixture.choice(&keyed(0)), Ok(next));
}

#[test]
fn a_home_that_comes_back_gets_more_of_its_questions_with_time_and_none_is_taken_away_again() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 4);
    let all = homes(&mut fixture, 4000);
    fixture.trip(2);
    fixture.endpoint(2).probed(HealthCheck::Alive, fixture.now);
    let mut last = vec![0; 4000];
    for tenths in 0..=10 {
        let now = homes(&mut fixture, 4000);
        let back = now.iter().zip(&all).filter(|(now, before)| **before == 2 && **now == 2).count();
        let share = back as f64 / counts(&all, 4)[2] as f64;
        assert!((share - (0.1 + 0.09 * f64::from(tenths))).abs() < 0.05, "after {tenths} tenths {share}");
        let is_kept = |(now, (last, before)): (&usize, (&usize, &usize))| *before != 2 || *last != 2 || *now == 2;
        assert!(now.iter().zip(last.iter().zip(&all)).all(is_kept));
        last = now;
        fixture.wait(millis(500));
    }
    assert_eq!(last, all);
}

#[test]
fn a_question_whose_possible_homes_all_ramp_is_answered_all_the_same() {
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 3);
        (0..3).for_each(|number| fixture.trip(number));
        (0..3).for_each(|number| assert!(fixture.endpoint(number).probed(HealthCheck::Alive, fixture.now)));
        assert_eq!(homes(&mut fixture, 500).len(), 500, "{policy:?}");
    }
}

#[test]
fn a_question_has_its_home_in_the_own_zone_while_one_is_well_there() {
    let zone = |number: usize| if number < 2 { "shelf-1" } else { "shelf-2" }.to_owned();
    let targets = (0..6).map(|number| Target { zone: zone(number), ..target(number) }).collect();
    let mut fixture = Fixture::with(Policy::PeakEwma, targets, |_| {});
    let own = counts(&homes(&mut fixture, 1000), 6);
    assert!(own[0] > 400 && own[1] > 400 && own[0] + own[1] == 1000, "{own:?}");
    (0..2).for_each(|number| fixture.trip(number));
    let others = counts(&homes(&mut fixture, 1000), 6);
    assert!(others[2..].iter().all(|count| (200..300).contains(count)), "{others:?}");
}
