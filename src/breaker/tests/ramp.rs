//! The ramp after a recovery.

use super::*;

#[test]
fn a_ramp_admits_every_call_and_its_weight_grows_from_a_tenth_to_all() {
    let mut fixture = Fixture::new(|_| {});
    fixture.call(Outcome::Refused);
    assert_eq!(fixture.breaker.weight(fixture.now), 0.0);
    fixture.wait_open();
    fixture.call(OK);
    for expected in [0.1, 0.28, 0.46, 0.64, 0.82] {
        assert!((fixture.breaker.weight(fixture.now) - expected).abs() < 1e-9);
        assert_eq!(fixture.state(), State::Ramping);
        fixture.calls(OK, 100);
        fixture.wait(seconds(2));
    }
    fixture.call(OK);
    assert_eq!((fixture.state(), fixture.breaker.weight(fixture.now)), (State::Closed, 1.0));
}

#[test]
fn a_ramp_that_is_over_is_shown_as_closed_though_no_call_has_come() {
    let mut fixture = Fixture::new(|_| {});
    fixture.call(Outcome::Refused);
    fixture.wait_open();
    fixture.call(OK);
    fixture.wait(seconds(9));
    assert_eq!(fixture.breaker.snapshot(fixture.now).state, State::Ramping);
    fixture.wait(seconds(1));
    assert_eq!(fixture.breaker.snapshot(fixture.now).state, State::Closed);
    assert_eq!(fixture.breaker.transitions_since(0).last().map(|last| last.at), Some(fixture.now));
}

#[test]
fn consecutive_failures_in_a_ramp_open_again_for_longer_and_one_failure_does_not() {
    let mut fixture = Fixture::new(|_| {});
    fixture.calls(Outcome::Failure, 5);
    fixture.wait_open();
    fixture.call(OK);
    fixture.calls(Outcome::Failure, 4);
    assert_eq!(fixture.state(), State::Ramping);
    fixture.call(Outcome::Failure);
    assert_eq!((fixture.state(), fixture.snapshot().open_for), (State::Open, Some(seconds(10))));
}

#[test]
fn an_odd_failure_does_not_end_a_ramp_that_works() {
    let mut fixture = Fixture::new(|_| {});
    fixture.call(Outcome::Refused);
    fixture.wait_open();
    fixture.call(OK);
    fixture.calls(OK, 2);
    fixture.call(Outcome::Failure);
    assert_eq!(fixture.state(), State::Ramping);
}

#[test]
fn what_failed_before_an_outage_is_forgotten_after_it() {
    let mut fixture = Fixture::by_rate(10);
    fixture.calls(OK, 6);
    fixture.calls(Outcome::Failure, 4);
    fixture.call(Outcome::Refused);
    fixture.wait_open();
    fixture.call(OK);
    assert_eq!((fixture.snapshot().calls, fixture.snapshot().failures), (0, 0));
}
