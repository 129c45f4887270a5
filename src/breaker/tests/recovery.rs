//! Half-open circuits: trial calls, health checks, and how long a circuit stays open.

use super::*;

#[test]
fn an_instance_that_only_passes_on_a_failure_neither_fails_nor_succeeds_and_closes_a_half_open_circuit() {
    let mut fixture = Fixture::new(|_| {});
    fixture.calls(Outcome::Failure, 4);
    let before = fixture.snapshot();
    fixture.calls(Outcome::Alive, 100);
    assert_eq!(fixture.snapshot(), before);
    fixture.call(Outcome::Failure);
    fixture.wait_open();
    fixture.call(Outcome::Alive);
    assert_eq!(fixture.state(), State::Ramping);
}

#[test]
fn a_good_health_check_closes_what_silence_opened_at_once() {
    let fixture = Fixture::new(|_| {});
    fixture.call(Outcome::Refused);
    assert!(fixture.breaker.probed(HealthCheck::Alive, fixture.now));
    assert_eq!((fixture.state(), fixture.snapshot().open_for), (State::Ramping, None));
    assert!(fixture.breaker.probed(HealthCheck::Silent, fixture.now), "a failed one opens it");
    assert_eq!(fixture.breaker.snapshot(fixture.now).next_probe, None, "a health check tries it, no call");
    assert_eq!(fixture.snapshot().reason, Some(TripReason::Unreachable));
    assert!(!fixture.breaker.probed(HealthCheck::Silent, fixture.now), "and a second one changes nothing");
    assert!(fixture.breaker.probed(HealthCheck::Alive, fixture.now));
}

#[test]
fn a_good_health_check_does_not_close_what_failing_calls_opened_but_a_trial_call_does() {
    let mut fixture = Fixture::new(|_| {});
    fixture.calls(Outcome::Failure, 5);
    assert!(!fixture.breaker.probed(HealthCheck::Alive, fixture.now) && fixture.state() == State::Open);
    assert_eq!(fixture.wait_open(), seconds(5));
    fixture.call(OK);
    assert_eq!(fixture.state(), State::Ramping);
}

#[test]
fn while_health_checks_fail_no_trial_call_is_made() {
    let mut fixture = Fixture::new(|_| {});
    fixture.calls(Outcome::Failure, 5);
    fixture.breaker.probed(HealthCheck::Silent, fixture.now);
    fixture.wait(seconds(100));
    assert!(!fixture.breaker.would_admit(fixture.now) && fixture.refusal().state == State::Open);
    assert!(
        fixture.breaker.probed(HealthCheck::Alive, fixture.now),
        "the failed check has refuted that calls are answered at all"
    );
    assert_eq!(fixture.state(), State::Ramping);
}

#[test]
fn a_forced_call_that_is_answered_closes_the_circuit_and_one_that_fails_changes_nothing() {
    let fixture = Fixture::new(|_| {});
    fixture.calls(Outcome::Failure, 5);
    let before = fixture.snapshot();
    for outcome in [Outcome::Failure, Outcome::Timeout, Outcome::Refused, Outcome::Ignored] {
        Permit::forced(&*fixture.breaker).record(outcome, fixture.now);
        assert_eq!(fixture.snapshot(), before);
    }
    let early = Permit::forced(&*fixture.breaker);
    Permit::forced(&*fixture.breaker).record(OK, fixture.now);
    assert_eq!(fixture.state(), State::Ramping);
    let generation = fixture.breaker.generation();
    early.record(OK, fixture.now);
    assert_eq!(fixture.breaker.generation(), generation, "an answer to a call of before");
}

#[test]
fn the_time_open_doubles_at_each_failed_probe_and_starts_anew_after_a_recovery() {
    let mut fixture = Fixture::new(|config| config.open_for = seconds(1));
    fixture.calls(Outcome::Failure, 5);
    assert_eq!(fixture.wait_open(), seconds(1));
    fixture.call(Outcome::Failure);
    assert_about(fixture.wait_open(), seconds(2));
    fixture.call(Outcome::Failure);
    assert_eq!(fixture.snapshot().open_for, Some(seconds(4)));
    fixture.recover();
    assert_eq!(fixture.snapshot().open_for, None);
    fixture.calls(Outcome::Failure, 5);
    assert_eq!(fixture.wait_open(), seconds(1));
}

#[test]
fn the_time_open_never_exceeds_its_maximum_with_all_its_jitter() {
    let mut fixture = Fixture::new(|config| config.open_for_max = seconds(7));
    fixture.calls(Outcome::Failure, 5);
    assert_eq!(fixture.wait_open(), seconds(5));
    for _ in 0..70 {
        fixture.call(Outcome::Failure);
        assert_eq!(fixture.wait_open(), seconds(7));
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
    let mut fixture = Fixture::new(|config| config.half_open_calls = count(2));
    fixture.call(Outcome::Refused);
    fixture.wait_open();
    let (first, second) = (fixture.permit(), fixture.permit());
    assert_eq!(fixture.refusal().state, State::HalfOpen);
    first.record(OK, fixture.now);
    let third = fixture.permit();
    assert_eq!(fixture.refusal().state, State::HalfOpen);
    second.record(OK, fixture.now);
    assert_eq!(fixture.state(), State::Ramping);
    third.record(Outcome::Failure, fixture.now);
    assert_eq!(fixture.state(), State::Ramping, "the third was of the half-open generation");
}

#[test]
fn a_trial_call_that_hangs_keeps_the_next_one_back_for_one_and_a_half_seconds() {
    let mut fixture = Fixture::new(|config| config.consecutive_failures = count(1));
    fixture.call(Outcome::Failure);
    fixture.wait(seconds(5));
    let hung = fixture.permit();
    fixture.wait(Duration::from_millis(1499));
    assert!(!fixture.breaker.would_admit(fixture.now));
    assert_eq!(fixture.refusal().state, State::HalfOpen);
    fixture.wait(Duration::from_millis(1));
    assert!(fixture.breaker.would_admit(fixture.now));
    let next = fixture.permit();
    assert_eq!(fixture.refusal().state, State::HalfOpen, "one every 1.5 s");
    next.record(OK, fixture.now);
    assert_eq!(fixture.breaker.state(), State::Ramping);
    hung.record(Outcome::Timeout, fixture.now);
    assert_eq!(fixture.breaker.state(), State::Ramping, "it tells of the time before");
}

#[test]
fn trial_calls_that_hang_are_bounded() {
    let mut fixture = Fixture::new(|config| config.consecutive_failures = count(1));
    fixture.call(Outcome::Failure);
    fixture.wait(seconds(5));
    let mut hung = Vec::new();
    for _ in 0..20 {
        hung.extend(fixture.breaker.try_acquire_owned(fixture.now).ok());
        fixture.wait(seconds(2));
    }
    assert_eq!(hung.len(), 5);
    drop(hung.pop());
    assert!(fixture.breaker.would_admit(fixture.now));
}

#[test]
fn of_fifty_callers_on_real_threads_a_half_open_circuit_admits_exactly_one() {
    for _ in 0..20 {
        let mut fixture = Fixture::new(|_| {});
        fixture.call(Outcome::Refused);
        fixture.wait_open();
        let (breaker, now, barrier) = (&fixture.breaker, fixture.now, &Barrier::new(50));
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
        assert_eq!(fixture.snapshot().probes, 0);
    }
}

#[test]
fn a_probe_that_is_dropped_is_given_back_and_a_call_ten_windows_later_closes_the_circuit() {
    let mut fixture = Fixture::new(|config| config.ramp = Duration::ZERO);
    fixture.call(Outcome::Refused);
    fixture.wait_open();
    drop(fixture.permit());
    fixture.wait(seconds(100));
    fixture.call(OK);
    assert_eq!(fixture.state(), State::Closed);
}

#[test]
fn a_probe_that_panics_or_is_ignored_is_given_back() {
    let mut fixture = Fixture::new(|_| {});
    fixture.call(Outcome::Refused);
    fixture.wait_open();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _permit = fixture.permit();
        panic!("as a handler might");
    }));
    assert!(result.is_err());
    fixture.call(Outcome::Ignored);
    assert_eq!((fixture.state(), fixture.snapshot().probes), (State::HalfOpen, 0));
    fixture.call(OK);
    assert_eq!(fixture.state(), State::Ramping);
}

#[test]
fn a_slow_probe_is_a_failed_probe() {
    let mut fixture = Fixture::new(|_| {});
    fixture.call(Outcome::Refused);
    fixture.wait_open();
    fixture.call(SLOW_OK);
    assert_eq!((fixture.state(), fixture.snapshot().reason), (State::Open, Some(TripReason::TrialCall)));
}

#[test]
fn a_call_begun_while_closed_and_finished_in_half_open_moves_nothing() {
    for outcome in [OK, Outcome::Failure, Outcome::Refused, Outcome::Rejected { retry_after: Some(seconds(9)) }] {
        let mut fixture = Fixture::new(|_| {});
        let late = fixture.permit();
        let dropped = fixture.permit();
        fixture.call(Outcome::Refused);
        fixture.wait_open();
        let probe = fixture.permit();
        let before = fixture.snapshot();
        late.record(outcome, fixture.now);
        drop(dropped);
        assert_eq!(fixture.snapshot(), before);
        drop(probe);
    }
}

#[test]
fn a_probe_of_an_earlier_half_open_time_neither_fails_nor_frees_a_later_one() {
    let mut fixture = Fixture::new(|config| config.half_open_calls = count(2));
    fixture.call(Outcome::Refused);
    fixture.wait_open();
    let (late, dropped) = (fixture.permit(), fixture.permit());
    drop(dropped);
    fixture.permit().record(Outcome::Failure, fixture.now);
    fixture.wait_open();
    let probes = (fixture.permit(), fixture.permit());
    drop(late);
    assert_eq!(fixture.refusal().state, State::HalfOpen);
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
