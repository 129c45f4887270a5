//! Every rule of the circuit, with explicit time.

mod ramp;
mod recovery;
mod trip;

use super::settings::count;
use super::*;
use crate::ratio::Ratio;
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
struct Fixture {
    breaker: Arc<CircuitBreaker>,
    now: Instant,
}

impl Fixture {
    fn new(change: impl FnOnce(&mut BreakerSettings)) -> Self {
        let mut config = settings();
        change(&mut config);
        let now = Instant::now();
        Self { breaker: Arc::new(CircuitBreaker::new(&config, now, 7)), now }
    }

    /// A minimum of 8 calls and no limit for failures in a row, so that only rates decide.
    fn by_rate(minimum_calls: u32) -> Self {
        Self::new(|config| {
            config.minimum_calls = count(minimum_calls);
            config.consecutive_failures = count(1000);
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

    fn refusal(&self) -> BreakerRefusal {
        self.breaker.try_acquire(self.now).map(|_| ()).expect_err("refused")
    }

    fn state(&self) -> State {
        self.breaker.state()
    }

    fn snapshot(&self) -> BreakerSnapshot {
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
fn a_circuit_forced_open_admits_no_call_until_it_is_closed_by_hand() {
    let mut fixture = Fixture::new(|_| {});
    assert_eq!(fixture.breaker.set(State::ForcedOpen, fixture.now), Ok(true));
    fixture.wait(seconds(100_000));
    assert_eq!(fixture.refusal(), BreakerRefusal { state: State::ForcedOpen, retry_at: None });
    assert_eq!(fixture.breaker.set(State::Closed, fixture.now), Ok(true));
    fixture.call(OK);
}

#[test]
fn a_disabled_circuit_admits_all_and_records_nothing() {
    let fixture = Fixture::new(|_| {});
    fixture.breaker.set(State::Disabled, fixture.now).expect("legal");
    fixture.calls(Outcome::Refused, 100);
    let seen = fixture.snapshot();
    assert_eq!((seen.state, seen.calls, seen.consecutive_failures), (State::Disabled, 0, 0));
}

#[test]
fn a_metrics_only_circuit_records_all_and_never_opens() {
    let fixture = Fixture::new(|_| {});
    fixture.breaker.set(State::MetricsOnly, fixture.now).expect("legal");
    fixture.calls(Outcome::Refused, 50);
    fixture.calls(Outcome::Rejected { retry_after: Some(seconds(5)) }, 50);
    let seen = fixture.snapshot();
    assert_eq!((seen.state, seen.calls, seen.failure_rate), (State::MetricsOnly, 100, Some(1.0)));
}

#[test]
fn a_state_that_only_the_circuit_itself_can_enter_is_refused_by_hand() {
    let fixture = Fixture::new(|_| {});
    for to in [State::Open, State::HalfOpen, State::Ramping] {
        assert_eq!(fixture.breaker.set(to, fixture.now), Err(IllegalMove { to }));
    }
    assert_eq!(fixture.state(), State::Closed);
}

#[test]
fn a_repeated_move_to_the_same_state_is_one_event() {
    let fixture = Fixture::new(|_| {});
    assert_eq!(fixture.breaker.set(State::ForcedOpen, fixture.now), Ok(true));
    assert_eq!(fixture.breaker.set(State::ForcedOpen, fixture.now), Ok(false));
    assert_eq!(fixture.breaker.transitions_since(0).len(), 1);
}

#[test]
fn each_change_is_told_once_with_its_reason() {
    let mut fixture = Fixture::new(|_| {});
    fixture.call(Outcome::Refused);
    let opened = fixture.breaker.transitions_since(0);
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].from, opened[0].to), (State::Closed, State::Open));
    assert_eq!((opened[0].reason, opened[0].next_probe), (Some(TripReason::Refused), fixture.snapshot().next_probe));
    let seen = fixture.breaker.generation();
    fixture.recover();
    let ways: Vec<_> = fixture.breaker.transitions_since(seen).iter().map(|event| (event.from, event.to)).collect();
    use State::*;
    assert_eq!(ways, [(Open, HalfOpen), (HalfOpen, Ramping), (Ramping, Closed)]);
}

#[test]
fn of_many_changes_the_last_32_are_kept() {
    let fixture = Fixture::new(|_| {});
    for to in [State::ForcedOpen, State::Closed].repeat(50) {
        fixture.breaker.set(to, fixture.now).expect("legal");
    }
    let kept: Vec<_> = fixture.breaker.transitions_since(0).iter().map(|event| event.generation).collect();
    assert_eq!(kept, (69..=100).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_jumps_back_loses_nothing_and_breaks_nothing() {
    let mut fixture = Fixture::new(|_| {});
    fixture.wait(seconds(1000));
    fixture.calls(OK, 3);
    let back = fixture.now - seconds(1000);
    fixture.breaker.try_acquire(back - seconds(5)).expect("closed").record(OK, back - seconds(5));
    assert_eq!(fixture.snapshot().calls, 3);
    fixture.call(Outcome::Refused);
    assert!(!fixture.breaker.would_admit(back));
    assert!(fixture.breaker.try_acquire(back).is_err());
    fixture.wait_open();
    fixture.call(OK);
}

#[test]
fn would_admit_says_what_try_acquire_does_and_takes_nothing() {
    let mut fixture = Fixture::new(|_| {});
    assert!(fixture.breaker.would_admit(fixture.now));
    fixture.call(Outcome::Refused);
    assert!(!fixture.breaker.would_admit(fixture.now) && !fixture.breaker.trial_due(fixture.now));
    fixture.wait_open();
    assert!(fixture.breaker.would_admit(fixture.now) && fixture.breaker.trial_due(fixture.now));
    let probe = fixture.permit();
    assert!(!fixture.breaker.would_admit(fixture.now));
    drop(probe);
    assert!(fixture.breaker.would_admit(fixture.now));
}

#[test]
fn an_owned_permit_outlives_the_borrow() {
    let fixture = Fixture::new(|_| {});
    let breaker = fixture.breaker;
    let permit = breaker.try_acquire_owned(fixture.now).expect("closed");
    let now = fixture.now;
    std::thread::spawn(move || permit.record(Outcome::Refused, now)).join().expect("no panic");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_circuit_opens_and_closes_with_the_shortest_and_the_longest_times() {
    for time in [Duration::ZERO, Duration::MAX] {
        let mut fixture = Fixture::new(|config| {
            (config.window, config.slow_call, config.ramp) = (time, Duration::MAX, time);
            (config.open_for, config.open_for_max) = (time, time);
        });
        for _ in 0..2 {
            fixture.call(Outcome::Refused);
            assert_eq!(fixture.state(), State::Open);
            fixture.wait(BreakerSettings::MAX_TIME);
            fixture.call(Outcome::Failure);
            assert_eq!(fixture.state(), State::Open);
            fixture.wait(BreakerSettings::MAX_TIME);
            fixture.call(Outcome::Success { latency: Duration::ZERO });
            assert!(matches!(fixture.state(), State::Closed | State::Ramping));
        }
        fixture.breaker.set(State::Closed, fixture.now).expect("a move by hand");
        (0..20).for_each(|_| fixture.call(Outcome::Rejected { retry_after: None }));
        assert_eq!(fixture.breaker.open_reason(), Some(TripReason::FailureRate(1.0)));
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
    let fixture = Fixture::new(|config| config.window = seconds(1000));
    let (breaker, now) = (&fixture.breaker, fixture.now);
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
    let seen = fixture.snapshot();
    assert_eq!((seen.calls, seen.failures, seen.failure_rate), (20_000, 4_000, Some(0.2)));
}
