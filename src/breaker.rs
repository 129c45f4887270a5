//! Leaves a failing server alone, finds out when it is back, and lets it come back slowly.
//!
//! A count sees an outage, a rate sees a brown-out, and either alone misses one: a Pi that answers three calls a
//! minute never fills a window, and a server that fails every second call never fails five in a row. So both are
//! watched. And the moment a server returns is the moment it is weakest, so it gets its load back along a
//! [ramp](State::Ramping).
//!
//! ```text
//!           rate, failures in a row, refused
//!  Closed ------------------------------------> Open <--------------+
//!    ^                                           | open_for         |
//!    |              all probes answer            v                  | probe fails, ramp fails: twice as long
//!  Ramping <--------------------------------- HalfOpen -------------+
//! ```
//!
//! Permission is a value: [`CircuitBreaker::try_acquire`] gives a [`Permit`], [`Permit::record`] uses it up, and
//! dropping it gives it back. A permit knows the generation in which it was given; what it reports in a later one
//! moves nothing. While closed, a call reads one word and writes one counter that no other core writes.
//!
//! ```
//! use bramble::breaker::{CircuitBreaker, Outcome, State};
//! use bramble::config::{Config, Role};
//! use std::time::{Duration, Instant};
//!
//! let config = Config::for_role(Role::Consumer).breaker;
//! let now = Instant::now();
//! let breaker = CircuitBreaker::new(&config, now, fastrand::u64(..))?;
//!
//! let permit = breaker.try_acquire(now)?;
//! permit.record(Outcome::Refused, now); // nobody listens there
//! assert_eq!(breaker.state(), State::Open);
//! assert!(breaker.try_acquire(now).is_err());
//!
//! let later = now + config.open_for;
//! breaker.try_acquire(later)?.record(Outcome::Success { latency: Duration::from_millis(3) }, later);
//! assert_eq!(breaker.state(), State::Ramping);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod judge;
mod outcome;
mod permit;
mod ramp;
mod recovery;
mod rules;
mod state;
pub(crate) mod window;

#[cfg(all(test, bramble_loom))]
mod loom;
#[cfg(all(test, not(bramble_loom)))]
mod model;
#[cfg(all(test, not(bramble_loom)))]
mod tests;

pub use outcome::{IllegalMove, Outcome, RETRY_AFTER_MAX, Refusal, Snapshot, Transition, TripReason};
pub use permit::Permit;
pub use rules::{InvalidSetting, Rules};
pub use state::State;

use crate::config;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, Tally, lock, nanos, nanos_since};
use judge::share;
use recovery::Recovery;
use state::Word;
use std::sync::Arc;
use std::time::{Duration, Instant};
use window::Window;

/// Guards one server, or one service. Shared by any number of tasks and threads; see the [module](self).
#[derive(Debug)]
pub struct CircuitBreaker {
    rules: Rules,
    seed: u64,
    /// Times are kept as nanoseconds since then.
    epoch: Instant,
    /// Written only under the lock of `recovery`.
    word: AtomicU64,
    /// When an open circuit may be probed.
    until: AtomicU64,
    /// When the last ramp began.
    ramp_from: AtomicU64,
    /// When the circuit last closed without a ramp; 0: never.
    recovered: AtomicU64,
    /// Calls that asked a ramp for admission.
    turns: AtomicU64,
    /// Failures in a row, under the generation.
    streak: Tally,
    /// The tick after the last in which the rates were known and fine: before it, a success cannot make them worse.
    judged: AtomicU64,
    window: Window<3>,
    recovery: Mutex<Recovery>,
}

impl CircuitBreaker {
    /// A closed circuit. `seed`: any number, another one for each breaker of each process.
    ///
    /// # Errors
    ///
    /// A setting that makes no sense.
    pub fn new(config: &config::Breaker, now: Instant, seed: u64) -> Result<Self, InvalidSetting> {
        Ok(Self::with_rules(Rules::new(config)?, now, seed))
    }

    /// A closed circuit with settings that have been checked.
    pub fn with_rules(rules: Rules, now: Instant, seed: u64) -> Self {
        Self {
            rules,
            seed,
            epoch: now,
            word: AtomicU64::new(Word::new(State::Closed, 0).0),
            until: AtomicU64::new(0),
            ramp_from: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            streak: Tally::new(),
            judged: AtomicU64::new(0),
            window: Window::new(rules.window),
            recovery: Mutex::new(Recovery::new(now)),
        }
    }

    /// Asks whether a call may be made now.
    ///
    /// # Errors
    ///
    /// Why not, and when to ask again if that is known.
    pub fn try_acquire(&self, now: Instant) -> Result<Permit<&Self>, Refusal> {
        Permit::acquire(self, now)
    }

    /// As [`try_acquire`](Self::try_acquire), for a permit that outlives the borrow.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_acquire_owned(self: &Arc<Self>, now: Instant) -> Result<Permit, Refusal> {
        Permit::acquire(Arc::clone(self), now)
    }

    /// The state at this moment. An open circuit stays open until a call comes after its time.
    pub fn state(&self) -> State {
        self.word().state()
    }

    /// Changes of state so far. Cheap: compare it with the last one seen to know whether there is something to report.
    pub fn generation(&self) -> u64 {
        self.word().generation()
    }

    /// Changes of state after `generation`, oldest first; of many, the last 32.
    pub fn transitions_since(&self, generation: u64) -> Vec<Transition> {
        lock(&self.recovery).events.iter().filter(|event| event.generation > generation).copied().collect()
    }

    /// Moves the circuit by hand: to closed (also to end the other three), forced open, disabled or metrics-only.
    /// Returns whether that changed anything.
    ///
    /// # Errors
    ///
    /// For the states that only the circuit itself can enter.
    pub fn set(&self, to: State, now: Instant) -> Result<bool, IllegalMove> {
        if matches!(to, State::Open | State::HalfOpen | State::Ramping) {
            return Err(IllegalMove { to });
        }
        let mut recovery = lock(&self.recovery);
        let changes = self.state() != to;
        if changes {
            self.enter(&mut recovery, to, None, now);
        }
        Ok(changes)
    }

    /// Whether [`try_acquire`](Self::try_acquire) would admit a call, as far as can be told without taking a permit.
    pub fn would_admit(&self, now: Instant) -> bool {
        match self.state() {
            State::Open => self.elapsed(now) >= self.until.load(Ordering::Relaxed),
            State::HalfOpen => lock(&self.recovery).probes < self.rules.half_open_calls,
            state => state.is_available(),
        }
    }

    /// Whether the next call admitted would be the first probe of an open circuit.
    pub fn probe_due(&self, now: Instant) -> bool {
        self.state() == State::Open && self.elapsed(now) >= self.until.load(Ordering::Relaxed)
    }

    /// When the circuit last closed without a [ramp](State::Ramping), which is when its server needs a slow start.
    pub fn recovered_at(&self) -> Option<Instant> {
        match self.recovered.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(self.epoch + Duration::from_nanos(nanos)),
        }
    }

    /// What the circuit shows. Waits for no call, and no call of a closed circuit waits for it.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let recovery = lock(&self.recovery);
        let word = self.word();
        let state = word.state();
        let [calls, failures, slow] = self.window.sum(self.tick(word, now));
        let known = calls >= self.minimum(state);
        let rate = |count: u64| known.then(|| share(count, calls));
        Snapshot {
            state,
            since: recovery.since,
            generation: word.generation(),
            reason: recovery.reason,
            next_probe: (state == State::Open).then(|| self.opens_again()),
            calls,
            failures,
            slow,
            failure_rate: rate(failures),
            slow_rate: rate(slow),
            consecutive_failures: self.streak.count(word.generation()),
            open_for: recovery.open_for,
            ramp_share: match state {
                State::Ramping => self.rules.ramp.share(self.ramp_elapsed(now)),
                state => f64::from(u8::from(state.is_available())),
            },
            probes: recovery.probes,
        }
    }

    /// The word under which a call is admitted.
    fn admit(&self, now: Instant) -> Result<Word, Refusal> {
        loop {
            let word = self.word();
            match word.state() {
                State::Closed | State::Disabled | State::MetricsOnly => return Ok(word),
                State::ForcedOpen => return Err(Refusal { state: State::ForcedOpen, retry_at: None }),
                State::Open if self.elapsed(now) < self.until.load(Ordering::Relaxed) => {
                    return Err(Refusal { state: State::Open, retry_at: Some(self.opens_again()) });
                }
                State::Ramping => {
                    let elapsed = self.ramp_elapsed(now);
                    if elapsed >= self.rules.ramp.length {
                        self.finish_ramp(word, now);
                        continue;
                    }
                    let turn = self.turns.fetch_add(1, Ordering::Relaxed);
                    return match ramp::admits(self.seed, turn, self.rules.ramp.share(elapsed)) {
                        true => Ok(word),
                        false => Err(Refusal { state: State::Ramping, retry_at: None }),
                    };
                }
                State::Open | State::HalfOpen => {
                    if let Some(answer) = self.admit_probe(now) {
                        return answer;
                    }
                }
            }
        }
    }

    /// Admits a probe or refuses it; None: the state is another one by now, look again.
    fn admit_probe(&self, now: Instant) -> Option<Result<Word, Refusal>> {
        let mut recovery = lock(&self.recovery);
        match self.state() {
            State::Open if self.elapsed(now) >= self.until.load(Ordering::Relaxed) => {
                self.enter(&mut recovery, State::HalfOpen, None, now);
            }
            State::HalfOpen if recovery.probes >= self.rules.half_open_calls => {
                return Some(Err(Refusal { state: State::HalfOpen, retry_at: None }));
            }
            State::HalfOpen => {}
            _ => return None,
        }
        recovery.probes += 1;
        Some(Ok(self.word()))
    }

    fn finish_ramp(&self, word: Word, now: Instant) {
        let mut recovery = lock(&self.recovery);
        if self.word() == word {
            self.enter(&mut recovery, State::Closed, None, now);
        }
    }

    /// Gives back a permit that was not used.
    fn give_back(&self, word: Word) {
        let mut recovery = lock(&self.recovery);
        if self.word() == word {
            recovery.probes = recovery.probes.saturating_sub(1);
        }
    }

    /// Opens the circuit, unless it has changed since `word`.
    fn trip(&self, word: Word, reason: TripReason, now: Instant) {
        let mut recovery = lock(&self.recovery);
        if self.word() == word {
            let random = recovery::random(self.seed, word.generation());
            let time = recovery.open(reason, &self.rules, random);
            self.until.store(self.elapsed(now).saturating_add(nanos(time)), Ordering::Relaxed);
            self.enter(&mut recovery, State::Open, Some(reason), now);
        }
    }

    /// The one place where the state changes. The lock is held, so the word is still what it was.
    fn enter(&self, recovery: &mut MutexGuard<'_, Recovery>, to: State, reason: Option<TripReason>, now: Instant) {
        let (from, generation) = (self.state(), self.generation() + 1);
        debug_assert!(from.may_become(to), "{from} to {to}");
        match (from, to) {
            (_, State::Ramping) => self.ramp_from.store(self.elapsed(now), Ordering::Relaxed),
            (State::HalfOpen, State::Closed) => self.recovered.store(self.elapsed(now).max(1), Ordering::Relaxed),
            _ => {}
        }
        let next_probe = (to == State::Open).then(|| self.opens_again());
        recovery.enter(Transition { from, to, reason, next_probe, at: now, generation });
        self.word.store(Word::new(to, generation).0, Ordering::Release);
    }

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn elapsed(&self, now: Instant) -> u64 {
        nanos_since(self.epoch, now)
    }

    fn tick(&self, word: Word, now: Instant) -> u64 {
        self.window.tick(word.generation(), self.elapsed(now))
    }

    fn opens_again(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.until.load(Ordering::Relaxed))
    }

    fn ramp_elapsed(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.elapsed(now).saturating_sub(self.ramp_from.load(Ordering::Relaxed)))
    }
}

impl AsRef<Self> for CircuitBreaker {
    fn as_ref(&self) -> &Self {
        self
    }
}
