//! The circuit under every interleaving that loom can find. `RUSTFLAGS="--cfg bramble_loom" cargo test -p bramble
//! --no-default-features --lib --target-dir target/loom -- loom_`.

use super::settings::count;
use super::*;
use ::loom::{model, thread};
use window::Window;

const OK: Outcome = Outcome::Success { latency: Duration::from_millis(1) };

fn settings() -> BreakerSettings {
    BreakerSettings::default()
}

fn breaker(change: impl FnOnce(&mut BreakerSettings), now: Instant) -> Arc<CircuitBreaker> {
    let mut config = settings();
    change(&mut config);
    Arc::new(CircuitBreaker::new(&config, now, 7))
}

/// A circuit that may be probed at the time returned.
fn due(now: Instant) -> (Arc<CircuitBreaker>, Instant) {
    let breaker = breaker(|_| {}, now);
    breaker.try_acquire(now).expect("closed").record(Outcome::Refused, now);
    (breaker, now + BreakerSettings::default().open_for)
}

#[test]
fn loom_of_two_callers_of_a_circuit_that_is_due_exactly_one_probes() {
    model(|| {
        let (breaker, now) = due(Instant::now());
        let other = Arc::clone(&breaker);
        let thread = thread::spawn(move || other.try_acquire_owned(now).ok());
        let mine = breaker.try_acquire_owned(now).ok();
        let theirs = thread.join().expect("no panic");
        assert!(mine.is_some() ^ theirs.is_some());
        drop((mine, theirs));
        assert!(breaker.try_acquire(now).is_ok(), "and given back, the next one may");
    });
}

#[test]
fn loom_a_probe_dropped_while_another_asks_is_never_lost_nor_doubled() {
    model(|| {
        let (breaker, now) = due(Instant::now());
        let probe = breaker.try_acquire_owned(now).expect("due");
        let thread = thread::spawn(move || drop(probe));
        let mine = breaker.try_acquire(now).ok();
        thread.join().expect("no panic");
        assert_eq!(breaker.snapshot(now).probes, u32::from(mine.is_some()));
        drop(mine);
        assert_eq!(breaker.snapshot(now).probes, 0);
    });
}

#[test]
fn loom_two_failures_at_once_that_are_two_in_a_row_open_the_circuit_once() {
    model(|| {
        let now = Instant::now();
        let breaker = breaker(|config| config.consecutive_failures = count(2), now);
        let (mine, theirs) = (breaker.try_acquire_owned(now), breaker.try_acquire_owned(now));
        let thread = thread::spawn(move || theirs.expect("closed").record(Outcome::Failure, now));
        mine.expect("closed").record(Outcome::Failure, now);
        thread.join().expect("no panic");
        assert_eq!((breaker.state(), breaker.generation()), (State::Open, 1));
    });
}

#[test]
fn loom_a_failure_and_a_success_at_once_that_complete_the_minimum_open_the_circuit() {
    model(|| {
        let now = Instant::now();
        let breaker = breaker(|config| config.minimum_calls = count(2), now);
        let (mine, theirs) = (breaker.try_acquire_owned(now), breaker.try_acquire_owned(now));
        let thread = thread::spawn(move || theirs.expect("closed").record(Outcome::Failure, now));
        mine.expect("closed").record(OK, now);
        thread.join().expect("no panic");
        assert_eq!(breaker.state(), State::Open, "one of two failed, in either order");
    });
}

#[test]
fn loom_a_result_that_comes_while_the_circuit_opens_and_half_opens_moves_nothing_after() {
    model(|| {
        let now = Instant::now();
        let breaker = breaker(|_| {}, now);
        let late = breaker.try_acquire_owned(now).expect("closed");
        let refused = breaker.try_acquire(now).expect("closed");
        let thread = thread::spawn(move || late.record(Outcome::Failure, now));
        refused.record(Outcome::Refused, now);
        let probe = breaker.try_acquire_owned(now + Duration::from_secs(1)).expect("due");
        thread.join().expect("no panic");
        let seen = breaker.snapshot(now + Duration::from_secs(1));
        assert_eq!((seen.state, seen.generation, seen.probes), (State::HalfOpen, 2, 1));
        assert_eq!((seen.calls, seen.failures, seen.consecutive_failures), (0, 0, 0));
        drop(probe);
    });
}

#[test]
fn loom_all_that_two_threads_add_to_one_bucket_is_counted_when_it_turns_over() {
    model(|| {
        let window = Arc::new(Window::<1>::new(Duration::from_secs(1)));
        window.add(0, 0, 0);
        let other = Arc::clone(&window);
        let later = window::BUCKETS as u64; // the same place in the ring, one round later
        let thread = thread::spawn(move || other.add(0, 0, later));
        window.add(0, 0, later);
        thread.join().expect("no panic");
        assert_eq!(window.sum(later), [2]);
    });
}

#[test]
fn loom_a_share_is_never_seen_larger_than_it_was() {
    model(|| {
        let window = Arc::new(Window::<2>::new(Duration::from_secs(1)));
        let other = Arc::clone(&window);
        let thread = thread::spawn(move || {
            (other.add(0, 0, 0), other.add(0, 1, 0));
        });
        let [whole, part] = window.sum(0);
        assert!(part <= whole);
        thread.join().expect("no panic");
    });
}
