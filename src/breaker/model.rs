//! The circuit against a slow, obviously right model: a list of all outcomes, a list of all permits, plain rules.

use super::recovery::{ANOTHER_TRIAL_AFTER, LATE_TRIALS};
use super::settings::count;
use super::*;
use crate::ratio::Ratio;
use proptest::prelude::*;

/// Step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Acquire,
    Force,
    Probe { alive: bool },
    Record { which: usize, outcome: Outcome },
    Drop { which: usize },
    Wait { time: Duration },
    Set { to: State },
}

fn found(alive: bool) -> HealthCheck {
    if alive { HealthCheck::Alive } else { HealthCheck::Silent }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        6 => Just(Outcome::Success { latency: millis(1) }),
        2 => Just(Outcome::Success { latency: millis(600) }),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::Timeout),
        1 => prop::option::of(0u64..2000).prop_map(|time| Outcome::Rejected { retry_after: time.map(millis) }),
        1 => Just(Outcome::Refused),
        1 => Just(Outcome::WrongPeer),
        1 => Just(Outcome::Alive),
        1 => Just(Outcome::Ignored),
    ];
    let by_hand = prop::sample::select(&[State::Closed, State::ForcedOpen, State::Disabled, State::MetricsOnly]);
    prop_oneof![
        20 => Just(Step::Acquire),
        2 => Just(Step::Force),
        2 => any::<bool>().prop_map(|alive| Step::Probe { alive }),
        20 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::Record { which, outcome }),
        2 => any::<usize>().prop_map(|which| Step::Drop { which }),
        8 => (0u64..400).prop_map(|time| Step::Wait { time: millis(time) }),
        1 => by_hand.prop_map(|to| Step::Set { to }),
    ]
}

fn config() -> impl Strategy<Value = BreakerSettings> {
    (1u32..8, 1u32..6, 0.1f64..=1.0, 0.1f64..=1.0, 1u32..4, prop::bool::ANY).prop_map(
        |(minimum_calls, consecutive_failures, failure_rate, slow_call_rate, half_open_calls, ramps)| BreakerSettings {
            window: millis(1000),
            minimum_calls: count(minimum_calls),
            consecutive_failures: count(consecutive_failures),
            failure_rate: Ratio::new(failure_rate).expect("a ratio"),
            slow_call_rate: Ratio::new(slow_call_rate).expect("a ratio"),
            open_for: millis(200),
            open_for_max: millis(1000),
            half_open_calls: count(half_open_calls),
            ramp: if ramps { millis(500) } else { Duration::ZERO },
            slow_call: millis(500),
            ..BreakerSettings::default()
        },
    )
}

/// Times are durations since the start.
struct Model {
    config: BreakerSettings,
    state: State,
    generation: u64,
    /// When, whether failed, whether slow; of this generation only.
    outcomes: Vec<(Duration, bool, bool)>,
    streak: u32,
    probes: u32,
    trial_at: Duration,
    passed: u32,
    open_for: Option<Duration>,
    /// Whether the last trip was for silence.
    silent: bool,
    /// The last health check since the circuit opened.
    checked: Option<bool>,
    /// How long the next probe must be away: at least, and at most.
    opened: (Duration, Duration),
    until: Duration,
    ramp_from: Duration,
}

impl Model {
    fn new(config: BreakerSettings) -> Self {
        Self {
            config,
            state: State::Closed,
            generation: 0,
            outcomes: Vec::new(),
            streak: 0,
            probes: 0,
            trial_at: Duration::ZERO,
            passed: 0,
            open_for: None,
            silent: false,
            checked: None,
            opened: Default::default(),
            until: Duration::ZERO,
            ramp_from: Duration::ZERO,
        }
    }

    fn enter(&mut self, to: State) {
        self.state = to;
        self.generation += 1;
        self.outcomes.clear();
        (self.streak, self.probes, self.passed) = (0, 0, 0);
        if !matches!(to, State::Open | State::HalfOpen | State::Ramping) {
            self.open_for = None;
        }
    }

    fn acquire(&mut self, now: Duration) -> bool {
        if self.state == State::Open && now >= self.until && self.checked != Some(false) {
            self.enter(State::HalfOpen);
        }
        self.settle(now);
        match self.state {
            State::HalfOpen if self.has_trial(now) => {
                self.probes += 1;
                self.trial_at = now;
            }
            State::Open | State::HalfOpen | State::ForcedOpen => return false,
            _ => {}
        }
        true
    }

    fn has_trial(&self, now: Duration) -> bool {
        let most = self.config.half_open_calls.get();
        self.probes < most || (now - self.trial_at >= ANOTHER_TRIAL_AFTER && self.probes < most + LATE_TRIALS)
    }

    fn settle(&mut self, now: Duration) {
        if self.state == State::Ramping && now - self.ramp_from >= self.config.ramp {
            self.enter(State::Closed);
        }
    }

    fn lately(&self, now: Duration, what: impl Fn(&(Duration, bool, bool)) -> bool) -> u64 {
        let tick = |time: Duration| time.as_millis() / 100;
        self.outcomes.iter().filter(|seen| tick(now) - tick(seen.0) < 10 && what(seen)).count() as u64
    }

    fn recover(&mut self, now: Duration) {
        self.ramp_from = now;
        self.enter(if self.config.ramp.is_zero() { State::Closed } else { State::Ramping });
    }

    fn probe(&mut self, alive: bool, now: Duration) -> bool {
        match (self.state, alive) {
            (State::Open, true) if self.silent => {
                self.open_for = None;
                self.recover(now);
                return true;
            }
            (State::Open, _) => {
                self.checked = Some(alive);
                self.silent |= !alive;
            }
            (State::Closed | State::Ramping, false) => {
                self.trip(None, self.config.open_for);
                (self.checked, self.silent) = (Some(false), true);
                return true;
            }
            _ => {}
        }
        false
    }

    fn record_forced(&mut self, generation: u64, outcome: Outcome, now: Duration) {
        let answered = matches!(outcome, Outcome::Success { .. } | Outcome::Alive);
        if answered && generation == self.generation && matches!(self.state, State::Open | State::HalfOpen) {
            self.recover(now);
        }
    }

    fn trip(&mut self, asked: Option<Duration>, first: Duration) {
        let most = self.config.open_for_max;
        let asked = asked.unwrap_or_default();
        let nominal = match self.open_for {
            None => first.min(most),
            Some(last) => (last * 2).max(first).min(most),
        };
        let jittered = if self.open_for.is_some() { nominal.mul_f64(1.1).min(most) } else { nominal };
        self.enter(State::Open);
        self.checked = None;
        self.open_for = Some(nominal.max(asked).min(most));
        self.opened = (nominal.max(asked), jittered.max(asked));
    }

    fn record(&mut self, generation: u64, outcome: Outcome, now: Duration) {
        if generation != self.generation || outcome == Outcome::Ignored {
            return self.give_back(generation);
        }
        if outcome == Outcome::Alive && self.state != State::HalfOpen {
            return;
        }
        let slow = outcome == Outcome::Timeout || outcome == Outcome::Success { latency: millis(600) };
        let failed = !matches!(outcome, Outcome::Success { .. } | Outcome::Alive);
        let asked = match outcome {
            Outcome::Rejected { retry_after: Some(time) } if !time.is_zero() => Some(time),
            _ => None,
        };
        let first = match outcome {
            Outcome::Rejected { .. } if asked.is_some() => Duration::ZERO,
            _ => self.config.open_for,
        };
        match self.state {
            State::HalfOpen if failed || slow => {
                self.trip(asked, first);
                self.silent = outcome == Outcome::Refused;
            }
            State::HalfOpen => {
                (self.probes, self.passed) = (self.probes - 1, self.passed + 1);
                if self.passed == self.config.half_open_calls.get() {
                    self.recover(now);
                }
            }
            State::Closed | State::Ramping | State::MetricsOnly => {
                self.outcomes.push((now, failed, slow));
                self.streak = match outcome {
                    Outcome::Success { .. } => 0,
                    Outcome::Rejected { .. } => self.streak,
                    _ => self.streak + 1,
                };
                let streak = self.streak >= self.config.consecutive_failures.get()
                    && outcome != Outcome::Rejected { retry_after: None };
                let at_once = matches!(outcome, Outcome::Refused | Outcome::WrongPeer);
                let trips = at_once || asked.is_some() || streak && failed || self.bad(now);
                if trips && self.state != State::MetricsOnly {
                    self.trip(asked, first);
                    self.silent = outcome == Outcome::Refused;
                }
            }
            _ => {}
        }
    }

    fn bad(&self, now: Duration) -> bool {
        let calls = self.lately(now, |_| true);
        let share = |part: u64| part as f64 / calls as f64;
        calls >= u64::from(self.config.minimum_calls.get())
            && (share(self.lately(now, |seen| seen.1)) >= self.config.failure_rate.get()
                || share(self.lately(now, |seen| seen.2)) >= self.config.slow_call_rate.get())
    }

    fn give_back(&mut self, generation: u64) {
        if generation == self.generation && self.state == State::HalfOpen {
            self.probes -= 1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_the_circuit_does_what_the_model_does(
        config in config(), seed: u64, steps in prop::collection::vec(step(), 1..200),
    ) {
        let start = Instant::now();
        let breaker = CircuitBreaker::new(&config, start, seed);
        let mut model = Model::new(config);
        let mut held: Vec<(Permit<&CircuitBreaker>, u64)> = Vec::new();
        let mut elapsed = Duration::ZERO;
        for step in steps {
            let now = start + elapsed;
            let generation = model.generation;
            match step {
                Step::Acquire => {
                    let permit = breaker.try_acquire(now);
                    prop_assert_eq!(permit.is_ok(), model.acquire(elapsed));
                    held.extend(permit.ok().map(|permit| (permit, model.generation)));
                }
                Step::Force => held.push((Permit::forced(&breaker), model.generation)),
                Step::Probe { alive } => prop_assert_eq!(breaker.probed(found(alive), now), model.probe(alive, elapsed)),
                Step::Record { which, outcome } if !held.is_empty() => {
                    let (permit, generation) = held.swap_remove(which % held.len());
                    let is_forced = permit.is_forced();
                    permit.record(outcome, now);
                    match is_forced {
                        true => model.record_forced(generation, outcome, elapsed),
                        false => model.record(generation, outcome, elapsed),
                    }
                }
                Step::Drop { which } if !held.is_empty() => {
                    let (permit, generation) = held.swap_remove(which % held.len());
                    if !permit.is_forced() {
                        model.give_back(generation);
                    }
                    drop(permit);
                }
                Step::Wait { time } => elapsed += time,
                Step::Set { to } => {
                    prop_assert_eq!(breaker.set(to, now), Ok(model.state != to));
                    if model.state != to {
                        model.enter(to);
                    }
                }
                Step::Record { .. } | Step::Drop { .. } => {}
            }
            model.settle(elapsed);
            let seen = breaker.snapshot(start + elapsed);
            if let (State::Open, Some(next)) = (model.state, seen.next_probe) {
                if model.generation != generation {
                    let away = next - now;
                    let slack = Duration::from_nanos(1); // of rounding
                    prop_assert!(away + slack >= model.opened.0 && away <= model.opened.1 + slack, "{:?}", away);
                }
                model.until = next - start;
            }
            prop_assert_eq!(seen.state, model.state);
            prop_assert_eq!(seen.generation, model.generation);
            prop_assert_eq!(seen.open_for, model.open_for);
            prop_assert_eq!(seen.probes, model.probes);
            prop_assert_eq!(seen.consecutive_failures, u64::from(model.streak));
            prop_assert_eq!(seen.calls, model.lately(elapsed, |_| true));
            prop_assert_eq!(seen.failures, model.lately(elapsed, |seen| seen.1));
            prop_assert_eq!(seen.slow, model.lately(elapsed, |seen| seen.2));
        }
        for event in breaker.transitions_since(0) {
            prop_assert!(event.from.may_become(event.to));
        }
    }
}
