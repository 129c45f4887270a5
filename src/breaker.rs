//! Circuit breaker: stops calls to a failing server, detects its recovery, and returns its load gradually.
//!
//! A circuit opens by a count of consecutive failures (an outage at three calls a minute never fills a window), by a
//! rate of failures (a server that fails every second call never fails five times in a row), or at once when a
//! connection is refused. A recovered server is weakest at first, so its circuit [ramps](State::Ramping): it admits
//! every call, and tells by [`CircuitBreaker::weight`] which share of its usual load it should get among alternatives.
//!
//! Recovery is detected by a call after `open_for`, or by a health check in the background
//! ([`CircuitBreaker::probed`]), which closes at once what a refused connection or a silent server opened. What failing
//! calls opened is closed by a call only: a server whose health check is fine may still fail.
//!
//! ```text
//!           rate, failures in a row, refused
//!  Closed ------------------------------------> Open <--------------+
//!    ^                                           | open_for         |
//!    |            all trial calls answer         v                  | a trial call fails: twice as long
//!  Ramping <--------------------------------- HalfOpen -------------+
//! ```
//!
//! Permission is a value: [`CircuitBreaker::try_acquire`] gives a [`Permit`], [`Permit::record`] uses it up, and
//! dropping it gives it back. A permit knows the generation in which it was given; what it reports in a later one
//! moves nothing. While closed, a call reads one word and writes one counter that no other core writes.
//!
//! ```
//! use bramble::breaker::{CircuitBreaker, Outcome, State};
//! use bramble::breaker::BreakerSettings;
//! use std::time::{Duration, Instant};
//!
//! let settings = BreakerSettings::default();
//! let now = Instant::now();
//! let breaker = CircuitBreaker::new(&settings, now, fastrand::u64(..));
//!
//! let permit = breaker.try_acquire(now)?;
//! permit.record(Outcome::Refused, now);
//! assert_eq!(breaker.state(), State::Open);
//! assert!(breaker.try_acquire(now).is_err());
//!
//! let later = now + settings.open_for;
//! breaker.try_acquire(later)?.record(Outcome::Success { latency: Duration::from_millis(3) }, later);
//! assert_eq!(breaker.state(), State::Ramping);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod judge;
mod outcome;
mod permit;
mod ramp;
mod recovery;
mod settings;
mod state;
pub(crate) mod window;

#[cfg(all(test, bramble_loom))]
mod loom;
#[cfg(all(test, not(bramble_loom)))]
mod model;
#[cfg(all(test, not(bramble_loom)))]
mod tests;

pub use outcome::{
    BreakerRefusal, BreakerSnapshot, HealthCheck, IllegalMove, Outcome, RETRY_AFTER_MAX, Transition, TripReason,
};
pub use permit::Permit;
pub use settings::BreakerSettings;
pub use state::State;

use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock, nanos, nanos_since};
use crate::tagged::Tally;
use judge::share;
use recovery::Recovery;
use state::PackedState;
use std::sync::Arc;
use std::time::{Duration, Instant};
use window::Window;

/// A shorter window would hold nothing but the calls of one moment.
const SHORTEST_WINDOW: Duration = Duration::from_millis(10);

/// Guards one server, or one service. Shared by any number of tasks and threads; see the [module](self).
#[derive(Debug)]
pub struct CircuitBreaker {
    settings: BreakerSettings,
    seed: u64,
    /// Times are kept as nanoseconds since then.
    epoch: Instant,
    /// Written only under the lock of `recovery`.
    word: AtomicU64,
    /// When an open circuit may be probed.
    until: AtomicU64,
    /// When the last ramp began.
    ramp_from: AtomicU64,
    /// Result of the last health check of the open circuit: [`UNCHECKED`], [`PASSED`] or [`FAILED`].
    checked: AtomicU64,
    /// Failures in a row, under the generation.
    streak: Tally,
    /// The tick after the last in which the rates were known and fine: before it, a success cannot make them worse.
    judged: AtomicU64,
    window: Window<3>,
    recovery: Mutex<Recovery>,
}

impl CircuitBreaker {
    /// A closed circuit. `seed`: any number, another one for each breaker of each process.
    pub fn new(settings: &BreakerSettings, now: Instant, seed: u64) -> Self {
        Self {
            settings: *settings,
            seed,
            epoch: now,
            word: AtomicU64::new(PackedState::new(State::Closed, 0).0),
            until: AtomicU64::new(0),
            ramp_from: AtomicU64::new(0),
            checked: AtomicU64::new(UNCHECKED),
            streak: Tally::new(),
            judged: AtomicU64::new(0),
            window: Window::new(settings.window.max(SHORTEST_WINDOW)),
            recovery: Mutex::new(Recovery::new(now)),
        }
    }

    /// Asks whether a call may be made now.
    ///
    /// # Errors
    ///
    /// Why not, and when to ask again if that is known.
    pub fn try_acquire(&self, now: Instant) -> Result<Permit<&Self>, BreakerRefusal> {
        Permit::acquire(self, now)
    }

    /// As [`try_acquire`](Self::try_acquire), for a permit that outlives the borrow.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_acquire_owned(self: &Arc<Self>, now: Instant) -> Result<Permit, BreakerRefusal> {
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

    /// Takes in a health check of the server.
    ///
    /// A good one closes a circuit that was opened by a refused connection or a failed health check, and lets a trial
    /// call through where failing calls opened it, once `open_for` is over. A failed one opens a closed circuit, and
    /// holds back the trial calls of an open one. Returns whether the state has changed.
    pub fn probed(&self, found: HealthCheck, now: Instant) -> bool {
        let reason = match found {
            HealthCheck::Alive => None,
            HealthCheck::Refused => Some(TripReason::Refused),
            HealthCheck::Silent => Some(TripReason::Unreachable),
        };
        let mut recovery = lock(&self.recovery);
        let was_silent = recovery.reason.is_some_and(TripReason::is_silence);
        match (self.state(), reason) {
            (State::Open, None) if was_silent => {
                recovery.open_for = None;
                self.recover(&mut recovery, now);
                return true;
            }
            (State::Open, _) => {
                self.checked.store(if reason.is_none() { PASSED } else { FAILED }, Ordering::Relaxed);
                recovery.reason = reason.or(recovery.reason);
            }
            (State::Closed | State::Ramping, Some(reason)) => {
                self.open(&mut recovery, reason, now);
                self.checked.store(FAILED, Ordering::Relaxed);
                return true;
            }
            _ => {}
        }
        false
    }

    /// The share of its usual load that the server should get, from `ramp_floor` to 1; 0 while no call is admitted.
    pub fn weight(&self, now: Instant) -> f64 {
        match self.state() {
            State::Ramping => ramp::share(&self.settings, self.ramp_elapsed(now)),
            state => f64::from(u8::from(state.is_available())),
        }
    }

    /// Why the circuit is open. None if it is not.
    pub fn open_reason(&self) -> Option<TripReason> {
        let recovery = lock(&self.recovery);
        recovery.reason.filter(|_| matches!(self.state(), State::Open | State::HalfOpen))
    }

    /// Whether [`try_acquire`](Self::try_acquire) would admit a call, as far as can be told without taking a permit.
    pub fn would_admit(&self, now: Instant) -> bool {
        match self.state() {
            State::Open => self.trial_due(now),
            State::HalfOpen => lock(&self.recovery).has_trial(self.settings.half_open_calls, now),
            state => state.is_available(),
        }
    }

    /// Whether the circuit is open, and the next call would be admitted as its trial.
    pub fn trial_due(&self, now: Instant) -> bool {
        self.state() == State::Open
            && self.elapsed(now) >= self.until.load(Ordering::Relaxed)
            && self.checked.load(Ordering::Relaxed) != FAILED
    }

    /// Closes the circuit if its ramp is over. A call does so as well; this is for a server that gets none.
    pub fn settle(&self, now: Instant) {
        let word = self.word();
        if word.state() == State::Ramping && self.ramp_elapsed(now) >= self.settings.ramp {
            self.finish_ramp(word, now);
        }
    }

    /// State and counts of the circuit. Waits for no call, and no call of a closed circuit waits for it.
    pub fn snapshot(&self, now: Instant) -> BreakerSnapshot {
        self.settle(now);
        let recovery = lock(&self.recovery);
        let word = self.word();
        let state = word.state();
        let [calls, failures, slow] = self.window.sum(self.tick(word, now));
        let known = calls >= self.settings.minimum_calls.get().into();
        let rate = |count: u64| known.then(|| share(count, calls));
        BreakerSnapshot {
            state,
            since: recovery.since,
            generation: word.generation(),
            reason: recovery.reason,
            next_probe: (state == State::Open && self.checked.load(Ordering::Relaxed) != FAILED)
                .then(|| self.opens_again()),
            calls,
            failures,
            slow,
            failure_rate: rate(failures),
            slow_rate: rate(slow),
            consecutive_failures: self.streak.get(word.generation()),
            open_for: recovery.open_for,
            ramp_share: self.weight(now),
            probes: recovery.probes,
        }
    }

    /// The word under which a call is admitted.
    fn admit(&self, now: Instant) -> Result<PackedState, BreakerRefusal> {
        loop {
            let word = self.word();
            match word.state() {
                State::Closed | State::Disabled | State::MetricsOnly => return Ok(word),
                State::ForcedOpen => return Err(BreakerRefusal { state: State::ForcedOpen, retry_at: None }),
                State::Open if !self.trial_due(now) => {
                    return Err(BreakerRefusal { state: State::Open, retry_at: Some(self.opens_again()) });
                }
                State::Ramping if self.ramp_elapsed(now) < self.settings.ramp => return Ok(word),
                State::Ramping => self.finish_ramp(word, now),
                State::Open | State::HalfOpen => {
                    if let Some(answer) = self.admit_probe(now) {
                        return answer;
                    }
                }
            }
        }
    }

    /// Admits a probe or refuses it; None: the state is another one by now, look again.
    fn admit_probe(&self, now: Instant) -> Option<Result<PackedState, BreakerRefusal>> {
        let mut recovery = lock(&self.recovery);
        match self.state() {
            State::Open if self.trial_due(now) => {
                self.enter(&mut recovery, State::HalfOpen, None, now);
            }
            State::HalfOpen if !recovery.has_trial(self.settings.half_open_calls, now) => {
                return Some(Err(BreakerRefusal { state: State::HalfOpen, retry_at: None }));
            }
            State::HalfOpen => {}
            _ => return None,
        }
        recovery.probes += 1;
        recovery.trial_at = now;
        Some(Ok(self.word()))
    }

    fn finish_ramp(&self, word: PackedState, now: Instant) {
        let mut recovery = lock(&self.recovery);
        if self.word() == word {
            self.enter(&mut recovery, State::Closed, None, now);
        }
    }

    /// Gives back a permit that was not used.
    fn give_back(&self, word: PackedState) {
        let mut recovery = lock(&self.recovery);
        if self.word() == word {
            recovery.probes = recovery.probes.saturating_sub(1);
        }
    }

    /// Opens the circuit, unless it has changed since `word`.
    fn trip(&self, word: PackedState, reason: TripReason, now: Instant) {
        let mut recovery = lock(&self.recovery);
        if self.word() == word {
            self.open(&mut recovery, reason, now);
        }
    }

    fn open(&self, recovery: &mut MutexGuard<'_, Recovery>, reason: TripReason, now: Instant) {
        let random = recovery::random(self.seed, self.generation());
        let time = recovery.open(reason, &self.settings, random);
        self.until.store(self.elapsed(now).saturating_add(nanos(time)), Ordering::Relaxed);
        self.checked.store(UNCHECKED, Ordering::Relaxed);
        self.enter(recovery, State::Open, Some(reason), now);
    }

    /// Closes the circuit after its server has answered: along a ramp, if there is one.
    fn recover(&self, recovery: &mut MutexGuard<'_, Recovery>, now: Instant) {
        let to = if self.settings.ramp.is_zero() { State::Closed } else { State::Ramping };
        self.enter(recovery, to, None, now);
    }

    /// The one place where the state changes. The lock is held, so the word is still what it was.
    fn enter(&self, recovery: &mut MutexGuard<'_, Recovery>, to: State, reason: Option<TripReason>, now: Instant) {
        let (from, generation) = (self.state(), self.generation() + 1);
        debug_assert!(from.may_become(to), "{from} to {to}");
        if to == State::Ramping {
            self.ramp_from.store(self.elapsed(now), Ordering::Relaxed);
        }
        let next_probe = (to == State::Open).then(|| self.opens_again());
        recovery.enter(Transition { from, to, reason, next_probe, at: now, generation });
        self.word.store(PackedState::new(to, generation).0, Ordering::Release);
    }

    fn word(&self) -> PackedState {
        PackedState(self.word.load(Ordering::Acquire))
    }

    fn elapsed(&self, now: Instant) -> u64 {
        nanos_since(self.epoch, now)
    }

    fn tick(&self, word: PackedState, now: Instant) -> u64 {
        self.window.tick(word.generation(), self.elapsed(now))
    }

    fn opens_again(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.until.load(Ordering::Relaxed))
    }

    fn ramp_elapsed(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.elapsed(now).saturating_sub(self.ramp_from.load(Ordering::Relaxed)))
    }
}

// What the last health check of an open circuit found.
const UNCHECKED: u64 = 0;
const PASSED: u64 = 1;
const FAILED: u64 = 2;

impl AsRef<Self> for CircuitBreaker {
    fn as_ref(&self) -> &Self {
        self
    }
}
