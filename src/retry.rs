//! When a failed call may be tried again, and after how long.
//!
//! Retries heal one lost packet and kill a server that is merely slow: three tries a call are three times the load,
//! just when it is least wanted. So they are paid from a budget that the calls themselves fill (Finagle's and
//! linkerd's way), and wait a random time, so that those who failed together do not return together.

use crate::breaker::InvalidSetting;
use crate::breaker::window::Window;
use crate::config;
use crate::sync::{Mutex, lock, nanos_since, shard};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(10); // 1 s buckets; long enough to save for a burst, short enough to forget one
const FLOOR: u64 = 1; // retries a second that are always allowed: a share of three calls a minute is none

// What the window counts.
const CALLS: usize = 0;
const RETRIES: usize = 1;

/// Allows retries, and hedged copies, as a share of the calls of the last 10 s, and one each second in any case.
#[derive(Debug)]
pub struct Budget {
    share: f64,
    epoch: Instant,
    window: Window<2>,
    /// Held to look and take in one step; no first call takes it.
    taking: Mutex<()>,
}

impl Budget {
    /// A budget of `call.retry_budget`; a share of 0 allows no retry at all.
    ///
    /// # Errors
    ///
    /// A share below 0, above 1, or none.
    pub fn new(call: &config::Call, now: Instant) -> Result<Self, InvalidSetting> {
        let share = call.retry_budget;
        InvalidSetting::unless((0.0..=1.0).contains(&share), "call.retry_budget", &share, "0 to 1")?;
        Ok(Self { share, epoch: now, window: Window::new(WINDOW), taking: Mutex::new(()) })
    }

    /// Notes a call, not a retry of one.
    pub fn deposit(&self, now: Instant) {
        self.window.add(shard(), CALLS, self.tick(now));
    }

    /// Takes one retry out, if there is one. Ask last, when the endpoint is chosen and its breaker has admitted the
    /// call: what they refuse then costs nothing.
    #[must_use]
    pub fn try_withdraw(&self, now: Instant) -> bool {
        let tick = self.tick(now);
        let _taking = lock(&self.taking);
        let [calls, retries] = self.window.sum(tick);
        let allowed = self.share > 0.0
            && ((retries + 1) as f64 / calls as f64 <= self.share || self.window.at(RETRIES, tick) < FLOOR);
        if allowed {
            self.window.add(shard(), RETRIES, tick);
        }
        allowed
    }

    /// Calls and retries of the last 10 s.
    pub fn spent(&self, now: Instant) -> (u64, u64) {
        let [calls, retries] = self.window.sum(self.tick(now));
        (calls, retries)
    }

    fn tick(&self, now: Instant) -> u64 {
        self.window.tick(0, nanos_since(self.epoch, now))
    }
}

/// Waiting times between tries: random, growing, bounded. Decorrelated jitter (Brooker, "Exponential Backoff And
/// Jitter", 2015): each is between `base` and three times the one before.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    last: Duration,
}

impl Default for Backoff {
    /// 10 ms to 250 ms: on a LAN, within the three seconds that a call has.
    fn default() -> Self {
        Self::new(Duration::from_millis(10), Duration::from_millis(250))
    }
}

impl Backoff {
    /// Waits of at least `base` and at most `max`; if `max` is the shorter, it is both.
    pub fn new(base: Duration, max: Duration) -> Self {
        let base = base.min(max);
        Self { base, max, last: base }
    }

    /// How long to wait before the next try.
    pub fn next_wait(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let spread = self.last.saturating_mul(3).min(self.max).saturating_sub(self.base);
        self.last = self.base.saturating_add(spread.mul_f64(rng.f64())).min(self.max);
        self.last
    }
}

#[cfg(all(test, bramble_loom))]
mod loom_tests {
    use super::*;
    use loom::{sync::Arc, thread};

    #[test]
    fn loom_two_who_ask_for_the_last_retry_do_not_both_get_it() {
        loom::model(|| {
            let now = Instant::now();
            let call = config::Config::for_role(config::Role::Consumer).call;
            let budget = Arc::new(Budget::new(&call, now).expect("a valid share"));
            let other = Arc::clone(&budget);
            let ask = thread::spawn(move || other.try_withdraw(now));
            let mine = budget.try_withdraw(now);
            assert!(mine ^ ask.join().expect("no panic"));
        });
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;
    use crate::config::{Config, Role};
    use proptest::prelude::*;

    fn budget(share: f64, now: Instant) -> Budget {
        let call = config::Call { retry_budget: share, ..Config::for_role(Role::Consumer).call };
        Budget::new(&call, now).expect("a valid share")
    }

    #[test]
    fn a_hundred_calls_at_a_budget_of_20_percent_allow_20_retries() {
        let now = Instant::now();
        let budget = budget(0.2, now);
        (0..100).for_each(|_| budget.deposit(now));
        assert_eq!((0..100).filter(|_| budget.try_withdraw(now)).count(), 20);
    }

    #[test]
    fn a_hundred_callers_at_once_get_20_retries_and_not_one_more() {
        let now = Instant::now();
        let budget = budget(0.2, now);
        (0..100).for_each(|_| budget.deposit(now));
        let granted: usize = std::thread::scope(|scope| {
            let ask = || (0..25).filter(|_| budget.try_withdraw(now)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(granted, 20);
    }

    #[test]
    fn a_rare_caller_may_retry_once_a_second() {
        let now = Instant::now();
        let budget = budget(0.2, now);
        budget.deposit(now);
        assert!(budget.try_withdraw(now));
        assert!(!budget.try_withdraw(now + Duration::from_millis(999)));
        assert!(budget.try_withdraw(now + Duration::from_secs(1)));
    }

    #[test]
    fn what_was_not_spent_in_ten_seconds_is_forgotten() {
        let now = Instant::now();
        let budget = budget(0.5, now);
        (0..100).for_each(|_| budget.deposit(now));
        let later = now + Duration::from_secs(10);
        assert_eq!((0..100).filter(|_| budget.try_withdraw(later)).count(), 1);
        assert_eq!(budget.spent(later), (0, 1));
    }

    #[test]
    fn a_share_of_zero_turns_retries_off() {
        let now = Instant::now();
        let budget = budget(0.0, now);
        budget.deposit(now);
        assert!(!budget.try_withdraw(now));
    }

    #[test]
    fn a_share_that_is_none_is_refused_by_name() {
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let call = config::Call { retry_budget: share, ..Config::for_role(Role::Consumer).call };
            let error = Budget::new(&call, Instant::now()).expect_err("no share");
            assert_eq!(error.key, "call.retry_budget");
        }
    }

    #[test]
    fn waits_that_are_equal_at_first_soon_differ() {
        let (mut one, mut two) = (Backoff::default(), Backoff::default());
        let waits = |backoff: &mut Backoff, seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            (0..5).map(|_| backoff.next_wait(&mut rng)).collect::<Vec<_>>()
        };
        assert_ne!(waits(&mut one, 1), waits(&mut two, 2));
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_base_and_max_and_within_three_times_the_one_before(
            seed: u64, base in 0u64..1 << 50, max in 0u64..=u64::MAX,
        ) {
            let (base, max) = (Duration::from_nanos(base), Duration::from_nanos(max));
            let (mut backoff, mut rng) = (Backoff::new(base, max), fastrand::Rng::with_seed(seed));
            let mut last = base;
            for _ in 0..20 {
                let wait = backoff.next_wait(&mut rng);
                prop_assert!(wait >= base.min(max) && wait <= max && wait <= last.saturating_mul(3).max(base));
                last = wait;
            }
        }

        /// The model keeps every call and every retry granted.
        #[test]
        fn the_budget_grants_what_a_list_of_all_calls_grants(
            share in 0.01f64..=1.0, steps in prop::collection::vec((any::<bool>(), 0u64..400), 1..300),
        ) {
            let start = Instant::now();
            let budget = budget(share, start);
            let (mut millis, mut calls, mut retries) = (0, Vec::new(), Vec::new());
            for (calling, pause) in steps {
                millis += pause;
                let now = start + Duration::from_millis(millis);
                if calling {
                    budget.deposit(now);
                    calls.push(millis / 1000);
                    continue;
                }
                let second = millis / 1000;
                let recent = |list: &[u64]| list.iter().filter(|at| second - *at < 10).count() as f64;
                let allowed = (recent(&retries) + 1.0) / recent(&calls) <= share || !retries.contains(&second);
                prop_assert_eq!(budget.try_withdraw(now), allowed);
                if allowed {
                    retries.push(second);
                }
            }
        }
    }
}
