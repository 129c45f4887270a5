//! Retry budget: bounds second attempts as a share of the calls that succeed.
//!
//! A retry heals one lost packet, and overloads a server that is merely slow: three attempts a call are three times the
//! load when it is least wanted. So attempts beyond the first are paid from a token bucket that successes fill (gRFC
//! A6, AWS SDKs), and while nothing succeeds there are nearly none. A trickle with time serves callers that are too
//! rare to fill it.

use crate::ratio::Ratio;
use crate::sync::{AtomicU64, Ordering, nanos_since};
use std::time::Instant;

/// Tokens that come with time: a caller of three calls a minute can retry every one of them that fails.
const PER_SECOND: f64 = 0.1;
/// Tokens are counted in millionths.
const TOKEN: f64 = 1e6;

/// A token bucket for attempts beyond the first of a call. Shared by any number of tasks and threads, without a lock.
#[derive(Debug)]
pub struct Budget {
    /// Millionths of a token for each success; 0: nothing is ever granted.
    per_success: u32,
    /// The most that is kept, in millionths.
    cap: u32,
    epoch: Instant,
    /// Millionths of tokens (32 bits), and the millisecond they are of (32 bits).
    word: AtomicU64,
}

impl Budget {
    /// A budget of `per_success` tokens for each success, at most `cap`, half of which are there at the start. None:
    /// nothing is ever granted.
    pub fn new(per_success: Option<Ratio>, cap: u16, now: Instant) -> Self {
        let cap = (f64::from(cap) * TOKEN).min(f64::from(u32::MAX)) as u32;
        Self {
            per_success: (per_success.map_or(0.0, Ratio::get) * TOKEN) as u32,
            cap,
            epoch: now,
            word: AtomicU64::new(u64::from(cap / 2) << 32),
        }
    }

    /// Takes in a success.
    pub fn deposit(&self, now: Instant) {
        let _ = self.update(now, |tokens| Some(tokens.saturating_add(self.per_success)));
    }

    /// Takes one token out, if there is one. Ask last, when the endpoint is chosen: a choice that fails costs nothing.
    #[must_use]
    pub fn try_withdraw(&self, now: Instant) -> bool {
        self.per_success > 0 && self.update(now, |tokens| tokens.checked_sub(TOKEN as u32))
    }

    /// Whole tokens left.
    pub fn left(&self, now: Instant) -> u32 {
        self.grown(self.word.load(Ordering::Relaxed), self.millis(now)) / TOKEN as u32
    }

    /// Replaces the tokens by what `change` makes of them; false if it makes nothing of them.
    fn update(&self, now: Instant, change: impl Fn(u32) -> Option<u32>) -> bool {
        let millis = self.millis(now);
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                // A clock read earlier on another thread does not set the time back, or the trickle would come twice.
                let stamp = if age(word, millis) > 0 { millis } else { word as u32 };
                let tokens = change(self.grown(word, millis))?.min(self.cap);
                Some((u64::from(tokens) << 32) | u64::from(stamp))
            })
            .is_ok()
    }

    /// The tokens in `word`, and what has come with time since.
    fn grown(&self, word: u64, millis: u32) -> u32 {
        let trickle = f64::from(age(word, millis)) * (PER_SECOND * TOKEN / 1e3);
        (((word >> 32) as f64) + trickle).min(f64::from(self.cap)) as u32
    }

    fn millis(&self, now: Instant) -> u32 {
        (nanos_since(self.epoch, now) / 1_000_000) as u32
    }
}

/// Milliseconds since `word`, at most 24 days; after more than that none, until the clock of 49 days comes round.
fn age(word: u64, millis: u32) -> i32 {
    (millis.wrapping_sub(word as u32) as i32).max(0)
}

#[cfg(all(test, bramble_loom))]
mod loom_tests {
    use super::*;
    use loom::{sync::Arc, thread};

    #[test]
    fn loom_of_two_callers_that_ask_for_the_last_token_one_gets_it() {
        loom::model(|| {
            let now = Instant::now();
            let budget = Arc::new(Budget::new(Ratio::new(0.2), 2, now));
            let other = Arc::clone(&budget);
            let ask = thread::spawn(move || other.try_withdraw(now));
            let mine = budget.try_withdraw(now);
            assert!(mine ^ ask.join().expect("no panic"));
        });
    }

    #[test]
    fn loom_a_success_and_a_retry_at_once_are_both_counted() {
        loom::model(|| {
            let now = Instant::now();
            let budget = Arc::new(Budget::new(Some(Ratio::ONE), 4, now));
            let other = Arc::clone(&budget);
            let deposit = thread::spawn(move || other.deposit(now));
            let granted = budget.try_withdraw(now);
            deposit.join().expect("no panic");
            assert!(granted && budget.left(now) == 2);
        });
    }
}

#[cfg(all(test, not(bramble_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    /// A budget without the tokens of its start.
    fn empty(per_success: f64, now: Instant) -> Budget {
        let budget = Budget::new(Ratio::new(per_success), 50, now);
        while budget.try_withdraw(now) {}
        budget
    }

    fn granted(budget: &Budget, now: Instant) -> usize {
        (0..1000).filter(|_| budget.try_withdraw(now)).count()
    }

    #[test]
    fn a_hundred_successes_at_a_budget_of_20_percent_allow_20_retries() {
        let now = Instant::now();
        let budget = empty(0.2, now);
        (0..100).for_each(|_| budget.deposit(now));
        assert_eq!(granted(&budget, now), 20);
    }

    #[test]
    fn of_callers_on_four_threads_each_token_is_given_once() {
        let now = Instant::now();
        let budget = empty(0.2, now);
        (0..100).for_each(|_| budget.deposit(now));
        let granted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| granted(&budget, now))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(granted, 20);
    }

    #[test]
    fn a_new_caller_can_retry_before_its_first_success() {
        let now = Instant::now();
        assert_eq!(granted(&Budget::new(Ratio::new(0.2), 20, now), now), 10);
    }

    #[test]
    fn without_successes_one_retry_in_ten_seconds_is_left() {
        let now = Instant::now();
        let budget = empty(0.2, now);
        assert!(!budget.try_withdraw(now + Duration::from_millis(9_900)));
        assert!(budget.try_withdraw(now + Duration::from_millis(10_100)));
        assert!(!budget.try_withdraw(now + Duration::from_millis(10_100)));
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let now = Instant::now();
        let budget = empty(1.0, now);
        (0..1000).for_each(|_| budget.deposit(now));
        assert_eq!(budget.left(now), 50);
        assert_eq!(granted(&budget, now + Duration::from_secs(1_000_000)), 50);
    }

    #[test]
    fn a_clock_that_was_read_earlier_grants_no_trickle_twice() {
        let now = Instant::now();
        let budget = empty(0.2, now);
        let later = now + Duration::from_secs(20);
        for _ in 0..100 {
            budget.deposit(later);
            budget.deposit(now);
        }
        assert_eq!(granted(&budget, later), 42, "200 successes and 20 seconds");
    }

    #[test]
    fn no_share_turns_retries_off() {
        let now = Instant::now();
        let budget = Budget::new(None, 50, now);
        budget.deposit(now);
        assert!(!budget.try_withdraw(now + Duration::from_secs(100)));
    }

    proptest! {
        /// The model: an f64 of tokens.
        #[test]
        fn the_budget_grants_what_a_number_of_tokens_grants(
            share in 0.01f64..=1.0, steps in prop::collection::vec((any::<bool>(), 0u64..4000), 1..300),
        ) {
            let start = Instant::now();
            let budget = Budget::new(Ratio::new(share), 10, start);
            let (mut millis, mut tokens) = (0, 5.0f64);
            for (succeeds, pause) in steps {
                millis += pause;
                let now = start + Duration::from_millis(millis);
                tokens = (tokens + pause as f64 * 1e-4).min(10.0);
                if succeeds {
                    budget.deposit(now);
                    tokens = (tokens + share).min(10.0);
                } else if (tokens - 1.0).abs() > 1e-3 { // nearer the rounding decides
                    prop_assert_eq!(budget.try_withdraw(now), tokens >= 1.0);
                    tokens -= f64::from(u8::from(tokens >= 1.0));
                }
            }
        }
    }
}
