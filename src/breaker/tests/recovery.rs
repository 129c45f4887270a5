//! Half-open circuits: trial calls, health checks, and how long a circuit stays open.

use super::*;

#[test]
fn an_instance_that_only_passes_on_a_failure_neither_fails_nor_succeeds_and_closes_a_half_open_circuit() {
    let mut story = Fixture::new(|_| {});
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
    let story = Fixture::new(|_| {});
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
    let mut story = Fixture::new(|_| {});
    story.calls(Outcome::Failure, 5);
    assert!(!story.breaker.probed(HealthCheck::Alive, story.now) && story.state() == State::Open);
    assert_eq!(story.wait_open(), seconds(5));
    story.call(OK);
    assert_eq!(story.state(), State::Ramping);
}

#[test]
fn while_health_checks_fail_no_trial_call_is_made() {
    let mut story = Fixture::new(|_| {});
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
    let story = Fixture::new(|_| {});
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
    let mut story = Fixture::new(|config| config.open_for = seconds(1));
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
    let mut story = Fixture::new(|config| config.open_for_max = seconds(7));
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
        let breaker = CircuitBreaker::new(&config, now, seed);
        breaker.try_acquire(now).expect("closed").record(Outcome::Refused, now);
        let later = now + seconds(5);
        breaker.try_acquire(later).expect("a trial call").record(Outcome::Refused, later);
        breaker.snapshot(later).next_probe.expect("open")
    };
    assert_ne!(second(1), second(2));
}

#[test]
fn a_half_open_circuit_admits_as_many_at_a_time_as_are_set_and_closes_after_as_many_successes() {
    let mut story = Fixture::new(|config| config.half_open_calls = count(2));
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
    let mut story = Fixture::new(|config| config.consecutive_failures = count(1));
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
    let mut story = Fixture::new(|config| config.consecutive_failures = count(1));
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
        let mut story = Fixture::new(|_| {});
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
                    barrier.wait(); // no permit is given back before all have asked
                });
            }
        });
        assert_eq!(admitted.load(Ordering::Relaxed), 1);
        assert_eq!(story.snapshot().probes, 0);
    }
}

#[test]
fn a_probe_that_is_dropped_is_given_back_and_a_call_ten_windows_later_closes_the_circuit() {
    let mut story = Fixture::new(|config| config.ramp = Duration::ZERO);
    story.call(Outcome::Refused);
    story.wait_open();
    drop(story.permit());
    story.wait(seconds(100));
    story.call(OK);
    assert_eq!(story.state(), State::Closed);
}

#[test]
fn a_probe_that_panics_or_is_ignored_is_given_back() {
    let mut story = Fixture::new(|_| {});
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
    let mut story = Fixture::new(|_| {});
    story.call(Outcome::Refused);
    story.wait_open();
    story.call(SLOW_OK);
    assert_eq!((story.state(), story.snapshot().reason), (State::Open, Some(TripReason::TrialCall)));
}

#[test]
fn a_call_begun_while_closed_and_finished_in_half_open_moves_nothing() {
    for outcome in [OK, Outcome::Failure, Outcome::Refused, Outcome::Rejected { retry_after: Some(seconds(9)) }] {
        let mut story = Fixture::new(|_| {});
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
    let mut story = Fixture::new(|config| config.half_open_calls = count(2));
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
fn the_circuit_of_a_sole_callee_is_open_for_the_same_time_after_each_trial_call_that_fails() {
    let mut now = Instant::now();
    let breaker = CircuitBreaker::new(&BreakerSettings::default().for_sole_callee(), now, 1);
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
