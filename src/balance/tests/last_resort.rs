//! Last resorts: the endpoint that is asked when none is well, and the trial calls of open circuits.

use super::*;
use crate::breaker::HealthCheck;

/// Endpoints 0 to 4: well, without room, answering but failing, silent, forced open by hand.
fn one_of_each(policy: Policy) -> Fixture {
    let fixture = Fixture::new(policy, 5);
    fixture.call(1, Ending::NoRoom { retry_after: Some(Duration::from_secs(60)) });
    (0..5).for_each(|_| fixture.call(2, Ending::Failed));
    fixture.call(3, Ending::Refused);
    force_open(&fixture, 4);
    fixture
}

fn force_open(fixture: &Fixture, number: usize) {
    fixture.endpoint(number).breaker().set(State::ForcedOpen, fixture.now).expect("legal");
}

/// Picks for `wanted`, the best first, as each that was picked is forced open; at last the error.
fn order(mut fixture: Fixture, wanted: &PickRequest<'_>) -> (Vec<usize>, NoPick) {
    let mut picked = Vec::new();
    loop {
        match fixture.choice(wanted) {
            Ok(number) => {
                for _ in 0..20 {
                    assert_eq!(fixture.choice(wanted), Ok(number), "the same class each time");
                }
                picked.push(number);
                force_open(&fixture, number);
            }
            Err(error) => return (picked, error),
        }
    }
}

#[test]
fn the_first_attempt_goes_to_one_that_is_well_then_full_then_failing_then_silent_and_never_to_one_forced_open() {
    for policy in POLICIES {
        let (picked, error) = order(one_of_each(policy), &PickRequest::default());
        assert_eq!((picked, error), (vec![0, 1, 2, 3], NoPick::ForcedOpen), "{policy:?}");
    }
}

#[test]
fn a_key_changes_nothing_about_the_order_of_last_resorts() {
    let wanted = PickRequest { key: Some(7), ..PickRequest::default() };
    assert_eq!(order(one_of_each(Policy::PeakEwma), &wanted), (vec![0, 1, 2, 3], NoPick::ForcedOpen));
}

#[test]
fn a_second_attempt_asks_neither_an_endpoint_without_room_nor_a_silent_one() {
    for policy in POLICIES {
        let mut fixture = one_of_each(policy);
        let tried = [fixture.endpoint(0)];
        let wanted = PickRequest { tried: &tried, ..PickRequest::default() };
        assert_eq!(fixture.choice(&wanted), Err(NoPick::NoRoom));
        force_open(&fixture, 1);
        assert_eq!(fixture.choice(&wanted), Ok(2), "one that answers, but fails, may answer this time");
        force_open(&fixture, 2);
        assert_eq!(fixture.choice(&wanted), Err(NoPick::AllOut));
        force_open(&fixture, 3);
        assert_eq!(fixture.choice(&wanted), Err(NoPick::ForcedOpen));
    }
}

#[test]
fn a_copy_of_a_late_call_never_goes_to_an_endpoint_that_is_not_well() {
    for policy in POLICIES {
        let mut fixture = one_of_each(policy);
        fixture.wait(Duration::from_secs(2)); // and trial calls are due
        let wanted = PickRequest { only_well: true, ..PickRequest::default() };
        assert_eq!(fixture.choice(&wanted), Ok(0));
        force_open(&fixture, 0);
        assert_eq!(fixture.choice(&wanted), Err(NoPick::NoRoom));
        force_open(&fixture, 1);
        assert_eq!(fixture.choice(&wanted), Err(NoPick::AllOut));
        force_open(&fixture, 2);
        assert_eq!(fixture.choice(&wanted), Err(NoPick::AllOut));
    }
}

#[test]
fn with_99_of_100_out_all_calls_go_to_the_one_that_is_well() {
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 100);
        (0..100).filter(|number| *number != 42).for_each(|number| fixture.trip(number));
        fixture.wait(millis(10));
        assert!((0..500).all(|_| fixture.choice(&PickRequest::default()) == Ok(42)), "{policy:?}");
    }
}

#[test]
fn of_endpoints_that_are_all_silent_each_is_asked_at_times() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 4);
    (0..4).for_each(|number| fixture.trip(number));
    let mut picks = [0; 4];
    (0..400).for_each(|_| picks[fixture.choice(&PickRequest::default()).expect("never refused")] += 1);
    assert!(picks.iter().all(|count| (60..140).contains(count)), "{picks:?}");
}

#[test]
fn a_last_resort_that_fails_leaves_its_circuit_as_it_was_and_one_that_answers_closes_it() {
    for answer in [ok(3), Ending::UpstreamFailed, Ending::NoRoom { retry_after: None }] {
        let mut fixture = Fixture::new(Policy::Random, 1);
        fixture.trip(0);
        fixture.wait(millis(10));
        let before = fixture.seen(0).breaker;
        for bad in [Ending::Failed, Ending::TimedOut, Ending::Refused, Ending::WrongPeer, Ending::Cancelled] {
            let pick = fixture.pick();
            assert!(pick.is_forced() && !pick.is_trial());
            pick.finish(bad, fixture.now);
            assert_eq!(fixture.seen(0).breaker, before, "{bad:?}");
        }
        fixture.pick().finish(answer, fixture.now);
        assert_eq!(fixture.endpoint(0).breaker().state(), State::Ramping, "{answer:?}");
    }
}

#[test]
fn statistics_of_the_time_before_an_outage_do_not_outlive_it() {
    for answer in [ok(10), Ending::UpstreamFailed] {
        let mut fixture = Fixture::new(Policy::PeakEwma, 2);
        fixture.spread(100);
        (0..5).for_each(|_| {
            let held = fixture.pick_of(0);
            fixture.wait(Duration::from_secs(2));
            held.finish(Ending::TimedOut, fixture.now);
        });
        assert_eq!(fixture.endpoint(0).breaker().state(), State::Open);
        fixture.wait(Duration::from_secs(1));
        let trial = fixture.pick();
        assert!(trial.is_trial());
        trial.finish(answer, fixture.now);
        assert!(fixture.seen(0).cost < 0.011, "{answer:?}: {}", fixture.seen(0).cost);
        fixture.trip(1);
        assert!(
            fixture.endpoint(1).probed(HealthCheck::Alive, fixture.now),
            "a good health check closes what silence opened"
        );
        assert!(fixture.seen(1).cost < 0.011, "{answer:?}: {}", fixture.seen(1).cost);
    }
}

#[test]
fn a_due_trial_call_goes_first_although_others_are_cheaper_and_only_once() {
    for policy in POLICIES {
        let mut fixture = Fixture::new(policy, 3);
        fixture.spread(100);
        fixture.call(0, ok(2000));
        fixture.trip(0);
        fixture.wait(Duration::from_secs(1));
        assert!(fixture.seen(0).cost > 10.0 * fixture.seen(1).cost);
        let picks: Vec<_> = (0..30).map(|_| fixture.pick()).collect();
        let numbers: Vec<_> = picks.iter().map(|pick| fixture.number(pick.endpoint())).collect();
        assert!(numbers[0] == 0 && picks[0].is_trial(), "{policy:?}: {numbers:?}");
        assert!(numbers[1..].iter().all(|number| *number != 0), "{policy:?}: {numbers:?}");
    }
}

#[test]
fn a_trial_call_is_the_first_attempt_of_a_call_and_neither_a_retry_nor_a_copy() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 3);
    fixture.trip(0);
    fixture.wait(Duration::from_secs(1));
    let tried = [fixture.endpoint(1)];
    assert_eq!(fixture.choice(&PickRequest { tried: &tried, ..PickRequest::default() }), Ok(2));
    assert_ne!(fixture.choice(&PickRequest { only_well: true, ..PickRequest::default() }), Ok(0));
    assert_eq!(
        fixture.choice(&PickRequest { key: Some(3), ..PickRequest::default() }),
        Ok(0),
        "whatever home the question has"
    );
}

#[test]
fn a_circuit_whose_last_health_check_failed_gets_no_trial_call() {
    let mut fixture = Fixture::new(Policy::PeakEwma, 2);
    fixture.trip(0);
    fixture.endpoint(0).probed(HealthCheck::Silent, fixture.now);
    fixture.wait(Duration::from_secs(30));
    assert!((0..50).all(|_| fixture.choice(&PickRequest::default()) == Ok(1)));
}
