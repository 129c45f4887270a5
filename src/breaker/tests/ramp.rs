//! The ramp after a recovery.

use super::*;

#[test]
fn a_ramp_admits_every_call_and_its_weight_grows_from_a_tenth_to_all() {
    let mut story = Fixture::new(|_| {});
    story.call(Outcome::Refused);
    assert_eq!(story.breaker.weight(story.now), 0.0);
    story.wait_open();
    story.call(OK);
    for expected in [0.1, 0.28, 0.46, 0.64, 0.82] {
        assert!((story.breaker.weight(story.now) - expected).abs() < 1e-9);
        assert_eq!(story.state(), State::Ramping);
        story.calls(OK, 100);
        story.wait(seconds(2));
    }
    story.call(OK);
    assert_eq!((story.state(), story.breaker.weight(story.now)), (State::Closed, 1.0));
}

#[test]
fn a_ramp_that_is_over_is_shown_as_closed_though_no_call_has_come() {
    let mut story = Fixture::new(|_| {});
    story.call(Outcome::Refused);
    story.wait_open();
    story.call(OK);
    story.wait(seconds(9));
    assert_eq!(story.breaker.snapshot(story.now).state, State::Ramping);
    story.wait(seconds(1));
    assert_eq!(story.breaker.snapshot(story.now).state, State::Closed);
    assert_eq!(story.breaker.transitions_since(0).last().map(|last| last.at), Some(story.now));
}

#[test]
fn consecutive_failures_in_a_ramp_open_again_for_longer_and_one_failure_does_not() {
    let mut story = Fixture::new(|_| {});
    story.calls(Outcome::Failure, 5);
    story.wait_open();
    story.call(OK);
    story.calls(Outcome::Failure, 4);
    assert_eq!(story.state(), State::Ramping);
    story.call(Outcome::Failure);
    assert_eq!((story.state(), story.snapshot().open_for), (State::Open, Some(seconds(10))));
}

#[test]
fn an_odd_failure_does_not_end_a_ramp_that_works() {
    let mut story = Fixture::new(|_| {});
    story.call(Outcome::Refused);
    story.wait_open();
    story.call(OK);
    story.calls(OK, 2);
    story.call(Outcome::Failure);
    assert_eq!(story.state(), State::Ramping);
}

#[test]
fn what_failed_before_an_outage_is_forgotten_after_it() {
    let mut story = Fixture::by_rate(10);
    story.calls(OK, 6);
    story.calls(Outcome::Failure, 4);
    story.call(Outcome::Refused);
    story.wait_open();
    story.call(OK);
    assert_eq!((story.snapshot().calls, story.snapshot().failures), (0, 0));
}
