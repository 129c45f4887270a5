//! Every rule of the circuit, with explicit time.

use super::*;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

const OK: Outcome = Outcome::Success { latency: Duration::from_millis(1) };
const SLOW_OK: Outcome = Outcome::Success { latency: Duration::from_millis(500) };
const REJECTED: Outcome = Outcome::Rejected { retry_after: None };

/// Times that are easy to tell apart, and slow calls.
fn settings() -> BreakerSettings {
    BreakerSettings {
        slow_call: Duration::from_millis(500),
        open_for: seconds(5),
        ramp: seconds(10),
        ..BreakerSettings::default()
    }
}

/// A breaker and a clock.
struct Story {
    breaker: Arc<CircuitBreaker>,
    now: Instant,
}

impl Story {
    fn new(change: impl FnOnce(&mut BreakerSettings)) -> Self {
        let mut config = settings();
        change(&mut config);
        let now = Instant::now();
        Self { breaker: Arc::new(CircuitBreaker::new(&config, now, 7).expect("valid settings")), now }
    }

    /// A minimum of 8 calls and no limit for failures in a row, so that only rates decide.
    fn by_rate(minimum_calls: u32) -> Self {
        Self::new(|config| {
            config.minimum_calls = minimum_calls;
            config.consecutive_failures = 1000;
        })
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn permit(&self) -> Permit {
        self.breaker.try_acquire_owned(self.now).expect("admitted")
    }

    fn call(&self, outcome: Outcome) {
        self.permit().record(outcome, self.now);
    }

    fn calls(&self, outcome: Outcome, count: usize) {
        (0..count).for_each(|_| self.call(outcome));
    }

    fn refusal(&self) -> Refusal {
        self.breaker.try_acquire(self.now).map(|_| ()).expect_err("refused")
    }

    fn state(&self) -> State {
        self.breaker.state()
    }

    fn snapshot(&self) -> Snapshot {
        self.breaker.snapshot(self.now)
    }

    /// Waits until the circuit may be probed, and returns how long that took.
    fn wait_open(&mut self) -> Duration {
        let until = self.snapshot().next_probe.expect("open");
        let time = until - self.now;
        self.now = until - Duration::from_nanos(1);
        assert_eq!(self.refusal().retry_at, Some(until));
        self.now = until;
        time
    }

    /// Recovers an open circuit by a good probe and the whole ramp.
    fn recover(&mut self) {
        self.wait_open();
        self.call(OK);
        self.wait(Duration::from_secs(10));
        self.call(OK);
        assert_eq!(self.state(), State::Closed);
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Doubled times carry up to a tenth of jitter.
fn assert_about(time: Duration, nominal: Duration) {
    assert!(time >= nominal && time <= nominal.mul_f64(1.1), "{time:?} is not about {nominal:?}");
}

#[test]
fn four_failures_of_eight_calls_open_at_a_rate_of_half() {
    let story = Story::by_rate(8);
    story.calls(OK, 4);
    story.calls(Outcome::Failure, 4);
    assert_eq!(story.state(), State::Open);
    assert_eq!(story.snapshot().reason, Some(TripReason::FailureRate(0.5)));
}

#[test]
fn three_failures_of_eight_calls_do_not_open_at_a_rate_of_half() {
    let story = Story::by_rate(8);
    story.calls(OK, 5);
    story.calls(Outcome::Failure, 3);
    assert_eq!(story.state(), State::Closed);
}

#[test]
fn a_success_that_completes_the_minimum_opens_a_circuit_that_had_failed_enough() {
    let story = Story::by_rate(5);
    story.calls(Outcome::Failure, 3);
    story.call(OK);
    assert_eq!(story.state(), State::Closed);
    story.call(OK);
    assert_eq!(story.snapshot().reason, Some(TripReason::FailureRate(0.6)));
}

#[test]
fn successes_that_leave_the_window_let_the_failures_that_stay_open_the_circuit() {
    let mut story = Story::by_rate(4);
    story.calls(OK, 6);
    story.wait(seconds(5));
    story.calls(Outcome::Failure, 4);
    story.calls(OK, 3);
    assert_eq!(story.state(), State::Closed, "4 of 13");
    story.wait(seconds(5));
    story.call(OK);
    assert_eq!(story.snapshot().reason, Some(TripReason::FailureRate(0.5)), "4 of 8");
}

#[test]
fn below_the_minimum_the_rates_are_unknown_and_not_zero() {
    let story = Story::by_rate(3);
    story.calls(OK, 2);
    assert_eq!((story.snapshot().failure_rate, story.snapshot().slow_rate), (None, None));
    story.call(OK);
    assert_eq!((story.snapshot().failure_rate, story.snapshot().slow_rate), (Some(0.0), Some(0.0)));
}

#[test]
fn slow_calls_open_the_circuit_at_their_own_rate() {
    let story = Story::new(|config| {
        config.minimum_calls = 4;
        config.slow_call_rate = 0.75;
    });
    story.call(OK);
    story.calls(SLOW_OK, 2);
    assert_eq!(story.state(), State::Closed);
    story.call(SLOW_OK);
    assert_eq!(story.snapshot().reason, Some(TripReason::SlowRate(0.75)));
}

#[test]
fn a_call_is_slow_from_slow_call_on_and_not_before() {
    let story = Story::by_rate(20);
    story.call(Outcome::Success { latency: Duration::from_nanos(499_999_999) });
    assert_eq!(story.snapshot().slow, 0);
    story.call(SLOW_OK);
    assert_eq!(story.snapshot().slow, 1);
}

#[test]
fn a_timeout_is_a_failure_and_slow() {
    let story = Story::by_rate(20);
    story.call(Outcome::Timeout);
    let seen = story.snapshot();
    assert_eq!((seen.calls, seen.failures, seen.slow, seen.consecutive_failures), (1, 1, 1, 1));
}

#[test]
fn failures_in_a_row_open_the_circuit_however_rare_they_are() {
    let mut story = Story::new(|_| {});
    for _ in 0..4 {
        story.call(Outcome::Failure);
        story.wait(seconds(20)); // three calls a minute: the window never holds two
    }
    assert_eq!(story.state(), State::Closed);
    story.call(Outcome::Timeout);
    assert_eq!(story.snapshot().reason, Some(TripReason::ConsecutiveFailures(5)));
}

#[test]
fn a_success_ends_the_row_of_failures() {
    let story = Story::new(|_| {});
    story.calls(Outcome::Failure, 4);
    story.call(OK);
    story.calls(Outcome::Failure, 4);
    assert_eq!((story.state(), story.snapshot().consecutive_failures), (State::Closed, 4));
}

#[test]
fn a_rejection_lowers_the_success_rate_but_neither_extends_nor_ends_the_row_of_failures() {
    let story = Story::new(|config| config.minimum_calls = 12);
    story.calls(Outcome::Failure, 3);
    story.calls(REJECTED, 8);
    assert_eq!((story.state(), story.snapshot().consecutive_failures), (State::Closed, 3));
    story.call(REJECTED);
    assert_eq!(story.snapshot().reason, Some(TripReason::FailureRate(1.0)));
}

#[test]
fn a_retry_after_keeps_the_circuit_open_for_that_long() {
    let mut story = Story::new(|_| {});
    story.calls(OK, 20);
    story.call(Outcome::Rejected { retry_after: Some(seconds(90)) });
    assert_eq!(story.snapshot().reason, Some(TripReason::RetryAfter(seconds(90))));
    assert_eq!(story.wait_open(), seconds(90));
}

#[test]
fn a_retry_after_is_obeyed_in_a_probe_too_if_it_is_longer_than_the_doubled_time() {
    let mut story = Story::new(|_| {});
    story.calls(Outcome::Failure, 5);
    story.wait_open();
    story.call(Outcome::Rejected { retry_after: Some(seconds(33)) });
    assert_eq!(story.wait_open(), seconds(33));
    story.call(Outcome::Rejected { retry_after: Some(seconds(1)) });
    assert_about(story.wait_open(), seconds(60).mul_f64(1.0 / 1.1)); // doubled and bounded: not shortened to 1 s
}

#[test]
fn a_retry_after_beyond_reason_is_bounded_and_one_of_nothing_is_none() {
    let mut story = Story::new(|_| {});
    story.call(Outcome::Rejected { retry_after: Some(Duration::ZERO) });
    assert_eq!(story.state(), State::Closed);
    story.call(Outcome::Rejected { retry_after: Some(Duration::MAX) });
    assert_eq!(story.wait_open(), RETRY_AFTER_MAX);
}

#[test]
fn an_ignored_outcome_moves_nothing() {
    let story = Story::new(|_| {});
    story.calls(Outcome::Failure, 4);
    let before = story.snapshot();
    story.calls(Outcome::Ignored, 100);
    assert_eq!(story.snapshot(), before);
    story.call(Outcome::Failure);
    assert_eq!(story.state(), State::Open, "and does not end the row of failures");
}

#[test]
fn a_refused_connection_and_a_wrong_peer_open_at_once() {
    for (outcome, reason) in [(Outcome::Refused, TripReason::Refused), (Outcome::WrongPeer, TripReason::WrongPeer)] {
        let mut story = Story::new(|config| config.open_for = seconds(1));
        story.calls(OK, 100);
        story.call(outcome);
        assert_eq!(story.snapshot().reason, Some(reason));
        assert_eq!(story.wait_open(), seconds(1));
        for nominal in [2, 4, 8, 16] {
            story.call(outcome);
            assert_about(story.wait_open(), seconds(nominal));
        }
    }
}

#[test]
fn an_instance_that_only_passes_on_a_failure_neither_fails_nor_succeeds_and_closes_a_half_open_circuit() {
    let mut story = Story::new(|_| {});
    story.calls(Outcome::Failure, 4);
    let before = story.snapshot();
    story.calls(Outcome::Alive, 100);
    assert_eq!(story.snapshot(), before);
    story.call(Outcome::Failure);
    story.wait_open();
    story.call(Outcome::Alive);
    assert_eq!(story.state(), State::Ramping);
}

#[test]
fn a_good_health_check_closes_what_silence_opened_at_once() {
    let story = Story::new(|_| {});
    story.call(Outcome::Refused);
    assert!(story.breaker.probed(HealthCheck::Alive, story.now));
    assert_eq!((story.state(), story.snapshot().open_for), (State::Ramping, None));
    assert!(story.breaker.probed(HealthCheck::Silent, story.now), "a failed one opens it");
    assert_eq!(story.breaker.snapshot(story.now).next_probe, None, "a health check tries it, no call");
    assert_eq!(story.snapshot().reason, Some(TripReason::Unreachable));
    assert!(!story.breaker.probed(HealthCheck::Silent, story.now), "and a second one changes nothing");
    assert!(story.breaker.probed(HealthCheck::Alive, story.now));
}

#[test]
fn a_good_health_check_does_not_close_what_failing_calls_opened_but_a_trial_call_does() {
    let mut story = Story::new(|_| {});
    story.calls(Outcome::Failure, 5);
    assert!(!story.breaker.probed(HealthCheck::Alive, story.now) && story.state() == State::Open);
    assert_eq!(story.wait_open(), seconds(5));
    story.call(OK);
    assert_eq!(story.state(), State::Ramping);
}

#[test]
fn while_health_checks_fail_no_trial_call_is_made() {
    let mut story = Story::new(|_| {});
    story.calls(Outcome::Failure, 5);
    story.breaker.probed(HealthCheck::Silent, story.now);
    story.wait(seconds(100));
    assert!(!story.breaker.would_admit(story.now) && story.refusal().state == State::Open);
    assert!(
        story.breaker.probed(HealthCheck::Alive, story.now),
        "the failed check has refuted that calls are answered at all"
    );
    assert_eq!(story.state(), State::Ramping);
}

#[test]
fn a_forced_call_that_is_answered_closes_the_circuit_and_one_that_fails_changes_nothing() {
    let story = Story::new(|_| {});
    story.calls(Outcome::Failure, 5);
    let before = story.snapshot();
    for outcome in [Outcome::Failure, Outcome::Timeout, Outcome::Refused, Outcome::Ignored] {
        Permit::forced(&*story.breaker).record(outcome, story.now);
        assert_eq!(story.snapshot(), before);
    }
    let early = Permit::forced(&*story.breaker);
    Permit::forced(&*story.breaker).record(OK, story.now);
    assert_eq!(story.state(), State::Ramping);
    let generation = story.breaker.generation();
    early.record(OK, story.now);
    assert_eq!(story.breaker.generation(), generation, "an answer to a call of before");
}

#[test]
fn the_time_open_doubles_at_each_failed_probe_and_starts_anew_after_a_recovery() {
    let mut story = Story::new(|config| config.open_for = seconds(1));
    story.calls(Outcome::Failure, 5);
    assert_eq!(story.wait_open(), seconds(1));
    story.call(Outcome::Failure);
    assert_about(story.wait_open(), seconds(2));
    story.call(Outcome::Failure);
    assert_eq!(story.snapshot().open_for, Some(seconds(4)));
    story.recover();
    assert_eq!(story.snapshot().open_for, None);
    story.calls(Outcome::Failure, 5);
    assert_eq!(story.wait_open(), seconds(1));
}

#[test]
fn the_time_open_never_exceeds_its_maximum_with_all_its_jitter() {
    let mut story = Story::new(|config| config.open_for_max = seconds(7));
    story.calls(Outcome::Failure, 5);
    assert_eq!(story.wait_open(), seconds(5));
    for _ in 0..70 {
        story.call(Outcome::Failure);
        assert_eq!(story.wait_open(), seconds(7));
    }
}

#[test]
fn two_breakers_that_open_together_do_not_probe_together_the_second_time() {
    let now = Instant::now();
    let config = settings();
    let second = |seed| {
        let breaker = CircuitBreaker::new(&config, now, seed).expect("valid settings");
        breaker.try_acquire(now).expect("closed").record(Outcome::Refused, now);
        let later = now + seconds(5);
        breaker.try_acquire(later).expect("a trial call").record(Outcome::Refused, later);
        breaker.snapshot(later).next_probe.expect("open")
    };
    assert_ne!(second(1), second(2));
}

#[test]
fn a_half_open_circuit_admits_as_many_at_a_time_as_are_set_and_closes_after_as_many_successes() {
    let mut story = Story::new(|config| config.half_open_calls = 2);
    story.call(Outcome::Refused);
    story.wait_open();
    let (first, second) = (story.permit(), story.permit());
    assert_eq!(story.refusal().state, State::HalfOpen);
    first.record(OK, story.now);
    let third = story.permit();
    assert_eq!(story.refusal().state, State::HalfOpen);
    second.record(OK, story.now);
    assert_eq!(story.state(), State::Ramping);
    third.record(Outcome::Failure, story.now);
    assert_eq!(story.state(), State::Ramping, "the third was of the half-open generation");
}

#[test]
fn a_trial_call_that_hangs_keeps_the_next_one_back_for_one_and_a_half_seconds() {
    let mut story = Story::new(|config| config.consecutive_failures = 1);
    story.call(Outcome::Failure);
    story.wait(seconds(5));
    let hung = story.permit();
    story.wait(Duration::from_millis(1499));
    assert!(!story.breaker.would_admit(story.now));
    assert_eq!(story.refusal().state, State::HalfOpen);
    story.wait(Duration::from_millis(1));
    assert!(story.breaker.would_admit(story.now));
    let next = story.permit();
    assert_eq!(story.refusal().state, State::HalfOpen, "one every 1.5 s");
    next.record(OK, story.now);
    assert_eq!(story.breaker.state(), State::Ramping);
    hung.record(Outcome::Timeout, story.now);
    assert_eq!(story.breaker.state(), State::Ramping, "it tells of the time before");
}

#[test]
fn trial_calls_that_hang_are_bounded() {
    let mut story = Story::new(|config| config.consecutive_failures = 1);
    story.call(Outcome::Failure);
    story.wait(seconds(5));
    let mut hung = Vec::new();
    for _ in 0..20 {
        hung.extend(story.breaker.try_acquire_owned(story.now).ok());
        story.wait(seconds(2));
    }
    assert_eq!(hung.len(), 5);
    drop(hung.pop());
    assert!(story.breaker.would_admit(story.now));
}

#[test]
fn of_fifty_callers_on_real_threads_a_half_open_circuit_admits_exactly_one() {
    for _ in 0..20 {
        let mut story = Story::new(|_| {});
        story.call(Outcome::Refused);
        story.wait_open();
        let (breaker, now, barrier) = (&story.breaker, story.now, &Barrier::new(50));
        let admitted = &AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(move || {
                    barrier.wait();
                    let permit = breaker.try_acquire(now);
                    admitted.fetch_add(usize::from(permit.is_ok()), Ordering::Relaxed);
                    barrier.wait(); // nobody gives back before all have asked
                });
            }
        });
        assert_eq!(admitted.load(Ordering::Relaxed), 1);
        assert_eq!(story.snapshot().probes, 0);
    }
}

#[test]
fn a_probe_that_is_dropped_is_given_back_and_a_call_ten_windows_later_closes_the_circuit() {
    let mut story = Story::new(|config| config.ramp = Duration::ZERO);
    story.call(Outcome::Refused);
    story.wait_open();
    drop(story.permit());
    story.wait(seconds(100));
    story.call(OK);
    assert_eq!(story.state(), State::Closed);
}

#[test]
fn a_probe_that_panics_or_is_ignored_is_given_back() {
    let mut story = Story::new(|_| {});
    story.call(Outcome::Refused);
    story.wait_open();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _permit = story.permit();
        panic!("as a handler might");
    }));
    assert!(result.is_err());
    story.call(Outcome::Ignored);
    assert_eq!((story.state(), story.snapshot().probes), (State::HalfOpen, 0));
    story.call(OK);
    assert_eq!(story.state(), State::Ramping);
}

#[test]
fn a_slow_probe_is_a_failed_probe() {
    let mut story = Story::new(|_| {});
    story.call(Outcome::Refused);
    story.wait_open();
    story.call(SLOW_OK);
    assert_eq!((story.state(), story.snapshot().reason), (State::Open, Some(TripReason::TrialCall)));
}

#[test]
fn a_call_begun_while_closed_and_finished_in_half_open_moves_nothing() {
    for outcome in [OK, Outcome::Failure, Outcome::Refused, Outcome::Rejected { retry_after: Some(seconds(9)) }] {
        let mut story = Story::new(|_| {});
        let late = story.permit();
        let dropped = story.permit();
        story.call(Outcome::Refused);
        story.wait_open();
        let probe = story.permit();
        let before = story.snapshot();
        late.record(outcome, story.now);
        drop(dropped);
        assert_eq!(story.snapshot(), before);
        drop(probe);
    }
}

#[test]
fn a_probe_of_an_earlier_half_open_time_neither_fails_nor_frees_a_later_one() {
    let mut story = Story::new(|config| config.half_open_calls = 2);
    story.call(Outcome::Refused);
    story.wait_open();
    let (late, dropped) = (story.permit(), story.permit());
    drop(dropped);
    story.permit().record(Outcome::Failure, story.now);
    story.wait_open();
    let probes = (story.permit(), story.permit());
    drop(late);
    assert_eq!(story.refusal().state, State::HalfOpen);
    drop(probes);
}

#[test]
fn a_ramp_admits_every_call_and_its_weight_grows_from_a_tenth_to_all() {
    let mut story = Story::new(|_| {});
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
    let mut story = Story::new(|_| {});
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
    let mut story = Story::new(|_| {});
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
    let mut story = Story::new(|_| {});
    story.call(Outcome::Refused);
    story.wait_open();
    story.call(OK);
    story.calls(OK, 2);
    story.call(Outcome::Failure);
    assert_eq!(story.state(), State::Ramping);
}

#[test]
fn what_failed_before_an_outage_is_forgotten_after_it() {
    let mut story = Story::by_rate(10);
    story.calls(OK, 6);
    story.calls(Outcome::Failure, 4);
    story.call(Outcome::Refused);
    story.wait_open();
    story.call(OK);
    assert_eq!((story.snapshot().calls, story.snapshot().failures), (0, 0));
}

#[test]
fn a_circuit_forced_open_admits_nobody_until_it_is_closed_by_hand() {
    let mut story = Story::new(|_| {});
    assert_eq!(story.breaker.set(State::ForcedOpen, story.now), Ok(true));
    story.wait(seconds(100_000));
    assert_eq!(story.refusal(), Refusal { state: State::ForcedOpen, retry_at: None });
    assert_eq!(story.breaker.set(State::Closed, story.now), Ok(true));
    story.call(OK);
}

#[test]
fn a_disabled_circuit_admits_all_and_records_nothing() {
    let story = Story::new(|_| {});
    story.breaker.set(State::Disabled, story.now).expect("legal");
    story.calls(Outcome::Refused, 100);
    let seen = story.snapshot();
    assert_eq!((seen.state, seen.calls, seen.consecutive_failures), (State::Disabled, 0, 0));
}

#[test]
fn a_metrics_only_circuit_records_all_and_never_opens() {
    let story = Story::new(|_| {});
    story.breaker.set(State::MetricsOnly, story.now).expect("legal");
    story.calls(Outcome::Refused, 50);
    story.calls(Outcome::Rejected { retry_after: Some(seconds(5)) }, 50);
    let seen = story.snapshot();
    assert_eq!((seen.state, seen.calls, seen.failure_rate), (State::MetricsOnly, 100, Some(1.0)));
}

#[test]
fn a_state_that_only_the_circuit_itself_can_enter_is_refused_by_hand() {
    let story = Story::new(|_| {});
    for to in [State::Open, State::HalfOpen, State::Ramping] {
        assert_eq!(story.breaker.set(to, story.now), Err(IllegalMove { to }));
    }
    assert_eq!(story.state(), State::Closed);
}

#[test]
fn a_repeated_move_to_the_same_state_is_one_event() {
    let story = Story::new(|_| {});
    assert_eq!(story.breaker.set(State::ForcedOpen, story.now), Ok(true));
    assert_eq!(story.breaker.set(State::ForcedOpen, story.now), Ok(false));
    assert_eq!(story.breaker.transitions_since(0).len(), 1);
}

#[test]
fn each_change_is_told_once_with_its_reason() {
    let mut story = Story::new(|_| {});
    story.call(Outcome::Refused);
    let opened = story.breaker.transitions_since(0);
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].from, opened[0].to), (State::Closed, State::Open));
    assert_eq!((opened[0].reason, opened[0].next_probe), (Some(TripReason::Refused), story.snapshot().next_probe));
    let seen = story.breaker.generation();
    story.recover();
    let ways: Vec<_> = story.breaker.transitions_since(seen).iter().map(|event| (event.from, event.to)).collect();
    use State::*;
    assert_eq!(ways, [(Open, HalfOpen), (HalfOpen, Ramping), (Ramping, Closed)]);
}

#[test]
fn of_many_changes_the_last_32_are_kept() {
    let story = Story::new(|_| {});
    for to in [State::ForcedOpen, State::Closed].repeat(50) {
        story.breaker.set(to, story.now).expect("legal");
    }
    let kept: Vec<_> = story.breaker.transitions_since(0).iter().map(|event| event.generation).collect();
    assert_eq!(kept, (69..=100).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_jumps_back_loses_nothing_and_breaks_nothing() {
    let mut story = Story::new(|_| {});
    story.wait(seconds(1000));
    story.calls(OK, 3);
    let back = story.now - seconds(1000);
    story.breaker.try_acquire(back - seconds(5)).expect("closed").record(OK, back - seconds(5));
    assert_eq!(story.snapshot().calls, 3);
    story.call(Outcome::Refused);
    assert!(!story.breaker.would_admit(back));
    assert!(story.breaker.try_acquire(back).is_err());
    story.wait_open();
    story.call(OK);
}

#[test]
fn would_admit_says_what_try_acquire_does_and_takes_nothing() {
    let mut story = Story::new(|_| {});
    assert!(story.breaker.would_admit(story.now));
    story.call(Outcome::Refused);
    assert!(!story.breaker.would_admit(story.now) && !story.breaker.trial_due(story.now));
    story.wait_open();
    assert!(story.breaker.would_admit(story.now) && story.breaker.trial_due(story.now));
    let probe = story.permit();
    assert!(!story.breaker.would_admit(story.now));
    drop(probe);
    assert!(story.breaker.would_admit(story.now));
}

#[test]
fn an_owned_permit_outlives_the_borrow() {
    let story = Story::new(|_| {});
    let breaker = story.breaker;
    let permit = breaker.try_acquire_owned(story.now).expect("closed");
    let now = story.now;
    std::thread::spawn(move || permit.record(Outcome::Refused, now)).join().expect("no panic");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    type Change = fn(&mut BreakerSettings);
    let wrong: [(&str, Change); 20] = [
        ("breaker.window", |c| c.window = Duration::ZERO),
        ("breaker.window", |c| c.window = Duration::MAX),
        ("breaker.minimum_calls", |c| c.minimum_calls = 0),
        ("breaker.minimum_calls", |c| c.minimum_calls = u32::MAX),
        ("breaker.consecutive_failures", |c| c.consecutive_failures = 0),
        ("breaker.failure_rate", |c| c.failure_rate = 0.0),
        ("breaker.failure_rate", |c| c.failure_rate = 1.01),
        ("breaker.failure_rate", |c| c.failure_rate = f64::NAN),
        ("breaker.slow_call", |c| c.slow_call = Duration::ZERO),
        ("breaker.slow_call_rate", |c| c.slow_call_rate = -0.5),
        ("breaker.slow_call_rate", |c| c.slow_call_rate = f64::INFINITY),
        ("breaker.open_for", |c| c.open_for = Duration::ZERO),
        ("breaker.open_for_max", |c| c.open_for_max = c.open_for - Duration::from_nanos(1)),
        ("breaker.open_for_max", |c| c.open_for_max = Duration::MAX),
        ("breaker.half_open_calls", |c| c.half_open_calls = 0),
        ("breaker.ramp", |c| c.ramp = Duration::MAX),
        ("breaker.ramp_floor", |c| c.ramp_floor = 0.0),
        ("breaker.ramp_floor", |c| c.ramp_floor = 1.5),
        ("breaker.ramp_floor", |c| c.ramp_floor = f64::NAN),
        ("breaker.half_open_calls", |c| c.half_open_calls = u32::MAX),
    ];
    for (key, change) in wrong {
        let mut config = settings();
        change(&mut config);
        let error = CircuitBreaker::new(&config, Instant::now(), 0).map(|_| ()).expect_err(key);
        assert_eq!(error.key, key);
        assert!(error.to_string().starts_with(key));
    }
}

#[test]
fn of_all_pairs_of_states_the_legal_moves_are_these() {
    use State::*;
    let by_itself = [
        (Closed, Open),
        (Open, HalfOpen),
        (Open, Ramping),
        (HalfOpen, Open),
        (HalfOpen, Ramping),
        (HalfOpen, Closed),
        (Ramping, Open),
        (Ramping, Closed),
    ];
    for from in State::ALL {
        for to in State::ALL {
            let by_hand = matches!(to, Closed | ForcedOpen | Disabled | MetricsOnly);
            let legal = from != to && (by_hand || by_itself.contains(&(from, to)));
            assert_eq!(from.may_become(to), legal, "{from} to {to}");
        }
    }
}

#[test]
fn all_that_many_threads_record_is_counted() {
    let story = Story::new(|config| config.window = seconds(1000));
    let (breaker, now) = (&story.breaker, story.now);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for turn in 0..5000 {
                    let outcome = if turn % 5 == 0 { REJECTED } else { OK };
                    breaker.try_acquire(now).expect("closed").record(outcome, now);
                }
            });
        }
    });
    let seen = story.snapshot();
    assert_eq!((seen.calls, seen.failures, seen.failure_rate), (20_000, 4_000, Some(0.2)));
}

#[test]
fn the_circuit_of_a_sole_callee_is_open_for_the_same_time_after_each_trial_call_that_fails() {
    let mut now = Instant::now();
    let breaker = CircuitBreaker::new(&BreakerSettings::default().for_sole_callee(), now, 1).expect("valid settings");
    breaker.try_acquire(now).expect("closed").record(Outcome::Refused, now);
    for _ in 0..5 {
        now += Duration::from_millis(999);
        assert!(breaker.try_acquire(now).is_err());
        now += Duration::from_millis(1);
        breaker.try_acquire(now).expect("a trial call").record(Outcome::Timeout, now);
    }
    let patient = BreakerSettings { open_for: Duration::from_secs(60), ..BreakerSettings::default() };
    assert_eq!(patient.for_sole_callee().open_for_max, Duration::from_secs(3));
}
