//! When a circuit opens.

use super::*;

#[test]
fn four_failures_of_eight_calls_open_at_a_rate_of_half() {
    let fixture = Fixture::by_rate(8);
    fixture.calls(OK, 4);
    fixture.calls(Outcome::Failure, 4);
    assert_eq!(fixture.state(), State::Open);
    assert_eq!(fixture.snapshot().reason, Some(TripReason::FailureRate(0.5)));
}

#[test]
fn three_failures_of_eight_calls_do_not_open_at_a_rate_of_half() {
    let fixture = Fixture::by_rate(8);
    fixture.calls(OK, 5);
    fixture.calls(Outcome::Failure, 3);
    assert_eq!(fixture.state(), State::Closed);
}

#[test]
fn a_success_that_completes_the_minimum_opens_a_circuit_that_had_failed_enough() {
    let fixture = Fixture::by_rate(5);
    fixture.calls(Outcome::Failure, 3);
    fixture.call(OK);
    assert_eq!(fixture.state(), State::Closed);
    fixture.call(OK);
    assert_eq!(fixture.snapshot().reason, Some(TripReason::FailureRate(0.6)));
}

#[test]
fn successes_that_leave_the_window_let_the_failures_that_stay_open_the_circuit() {
    let mut fixture = Fixture::by_rate(4);
    fixture.calls(OK, 6);
    fixture.wait(seconds(5));
    fixture.calls(Outcome::Failure, 4);
    fixture.calls(OK, 3);
    assert_eq!(fixture.state(), State::Closed, "4 of 13");
    fixture.wait(seconds(5));
    fixture.call(OK);
    assert_eq!(fixture.snapshot().reason, Some(TripReason::FailureRate(0.5)), "4 of 8");
}

#[test]
fn below_the_minimum_the_rates_are_unknown_and_not_zero() {
    let fixture = Fixture::by_rate(3);
    fixture.calls(OK, 2);
    assert_eq!((fixture.snapshot().failure_rate, fixture.snapshot().slow_rate), (None, None));
    fixture.call(OK);
    assert_eq!((fixture.snapshot().failure_rate, fixture.snapshot().slow_rate), (Some(0.0), Some(0.0)));
}

#[test]
fn slow_calls_open_the_circuit_at_their_own_rate() {
    let fixture = Fixture::new(|config| {
        config.minimum_calls = count(4);
        config.slow_call_rate = Ratio::new(0.75).expect("a ratio");
    });
    fixture.call(OK);
    fixture.calls(SLOW_OK, 2);
    assert_eq!(fixture.state(), State::Closed);
    fixture.call(SLOW_OK);
    assert_eq!(fixture.snapshot().reason, Some(TripReason::SlowRate(0.75)));
}

#[test]
fn a_call_is_slow_from_slow_call_on_and_not_before() {
    let fixture = Fixture::by_rate(20);
    fixture.call(Outcome::Success { latency: Duration::from_nanos(499_999_999) });
    assert_eq!(fixture.snapshot().slow, 0);
    fixture.call(SLOW_OK);
    assert_eq!(fixture.snapshot().slow, 1);
}

#[test]
fn a_timeout_is_a_failure_and_slow() {
    let fixture = Fixture::by_rate(20);
    fixture.call(Outcome::Timeout);
    let seen = fixture.snapshot();
    assert_eq!((seen.calls, seen.failures, seen.slow, seen.consecutive_failures), (1, 1, 1, 1));
}

#[test]
fn failures_in_a_row_open_the_circuit_however_rare_they_are() {
    let mut fixture = Fixture::new(|_| {});
    for _ in 0..4 {
        fixture.call(Outcome::Failure);
        fixture.wait(seconds(20)); // three calls a minute: the window never holds two
    }
    assert_eq!(fixture.state(), State::Closed);
    fixture.call(Outcome::Timeout);
    assert_eq!(fixture.snapshot().reason, Some(TripReason::ConsecutiveFailures(5)));
}

#[test]
fn a_success_ends_the_row_of_failures() {
    let fixture = Fixture::new(|_| {});
    fixture.calls(Outcome::Failure, 4);
    fixture.call(OK);
    fixture.calls(Outcome::Failure, 4);
    assert_eq!((fixture.state(), fixture.snapshot().consecutive_failures), (State::Closed, 4));
}

#[test]
fn a_rejection_lowers_the_success_rate_but_neither_extends_nor_ends_the_row_of_failures() {
    let fixture = Fixture::new(|config| config.minimum_calls = count(12));
    fixture.calls(Outcome::Failure, 3);
    fixture.calls(REJECTED, 8);
    assert_eq!((fixture.state(), fixture.snapshot().consecutive_failures), (State::Closed, 3));
    fixture.call(REJECTED);
    assert_eq!(fixture.snapshot().reason, Some(TripReason::FailureRate(1.0)));
}

#[test]
fn a_retry_after_keeps_the_circuit_open_for_that_long() {
    let mut fixture = Fixture::new(|_| {});
    fixture.calls(OK, 20);
    fixture.call(Outcome::Rejected { retry_after: Some(seconds(90)) });
    assert_eq!(fixture.snapshot().reason, Some(TripReason::RetryAfter(seconds(90))));
    assert_eq!(fixture.wait_open(), seconds(90));
}

#[test]
fn a_retry_after_is_obeyed_in_a_probe_too_if_it_is_longer_than_the_doubled_time() {
    let mut fixture = Fixture::new(|_| {});
    fixture.calls(Outcome::Failure, 5);
    fixture.wait_open();
    fixture.call(Outcome::Rejected { retry_after: Some(seconds(33)) });
    assert_eq!(fixture.wait_open(), seconds(33));
    fixture.call(Outcome::Rejected { retry_after: Some(seconds(1)) });
    assert_about(fixture.wait_open(), seconds(60).mul_f64(1.0 / 1.1)); // doubled and bounded: not shortened to 1 s
}

#[test]
fn a_retry_after_beyond_reason_is_bounded_and_one_of_nothing_is_none() {
    let mut fixture = Fixture::new(|_| {});
    fixture.call(Outcome::Rejected { retry_after: Some(Duration::ZERO) });
    assert_eq!(fixture.state(), State::Closed);
    fixture.call(Outcome::Rejected { retry_after: Some(Duration::MAX) });
    assert_eq!(fixture.wait_open(), RETRY_AFTER_MAX);
}

#[test]
fn an_ignored_outcome_moves_nothing() {
    let fixture = Fixture::new(|_| {});
    fixture.calls(Outcome::Failure, 4);
    let before = fixture.snapshot();
    fixture.calls(Outcome::Ignored, 100);
    assert_eq!(fixture.snapshot(), before);
    fixture.call(Outcome::Failure);
    assert_eq!(fixture.state(), State::Open, "and does not end the row of failures");
}

#[test]
fn a_refused_connection_and_a_wrong_peer_open_at_once() {
    for (outcome, reason) in [(Outcome::Refused, TripReason::Refused), (Outcome::WrongPeer, TripReason::WrongPeer)] {
        let mut fixture = Fixture::new(|config| config.open_for = seconds(1));
        fixture.calls(OK, 100);
        fixture.call(outcome);
        assert_eq!(fixture.snapshot().reason, Some(reason));
        assert_eq!(fixture.wait_open(), seconds(1));
        for nominal in [2, 4, 8, 16] {
            fixture.call(outcome);
            assert_about(fixture.wait_open(), seconds(nominal));
        }
    }
}
