//! The decisions of one call, as a state machine without I/O.
//!
//! It decides which endpoint is asked, when a second one is asked, when the call ends, and what each outcome is
//! recorded as.
//!
//! A driver owns sockets and timers. It tells the machine what happened ([`CallEvent`]) and does what it says
//! ([`Step`]):
//!
//! ```
//! use bramble::balance::{BalanceSettings, Ending, Target};
//! use bramble::breaker::BreakerSettings;
//! use bramble::call::{CallEvent, CallMachine, CallSettings, Question, CalledService, Step, CallOutcome};
//! use std::time::{Duration, Instant};
//!
//! let (call, balance, breaker) = (CallSettings::default(), BalanceSettings::default(), BreakerSettings::default());
//! let (start, mut rng) = (Instant::now(), fastrand::Rng::new());
//! let service = CalledService::new(&call, &balance, &breaker, "", start, rng.u64(..));
//! let address = ([127, 0, 0, 1], 9001).into();
//! service.update(&[Target { id: "greeter-1".into(), address, weight: 1, zone: String::new(), draining: false }], start);
//!
//! let mut call = CallMachine::new(&service, Question::until(start + Duration::from_secs(3)));
//! let Step::Ask(ask) = call.step(CallEvent::Begin, start, &mut rng) else { panic!("an endpoint is known") };
//! assert_eq!(ask.endpoint.id(), "greeter-1");
//! // ... the driver sends the request, and waits for its answer or for the time that the machine names ...
//! let Step::Wait(_) = call.step(CallEvent::Woken, start, &mut rng) else { panic!("the answer is not there") };
//! let ended = CallEvent::Ended { attempt: ask.attempt, ending: Ending::Success { latency: Duration::from_millis(3) } };
//! assert!(matches!(call.step(ended, start + Duration::from_millis(3), &mut rng), Step::Done(CallOutcome::Attempt(0))));
//! ```
//!
//! A second attempt goes to an endpoint that was not tried. It costs no budget after a refused connection, an answer of
//! another server, or one that says "no room", since no server has worked on those; after a failure or a timeout it is
//! paid from a [budget](crate::retry) that successes fill. When an answer is later than 95 of 100, a copy goes to
//! another endpoint, and the first good answer of the two is taken (Dean and Barroso, "The Tail at Scale", 2013); not
//! before the call has waited as long as that endpoint is expected to take, so that no copies are sent while all are
//! slow.

mod circuit;
mod latencies;
mod probes;
mod service;
mod settings;

#[cfg(all(test, not(bramble_loom)))]
mod tests;

pub use crate::balance::Ending;
pub use circuit::ServiceCircuit;
pub use probes::{PROBE_TIMEOUT, PROBES_MAX, Probe};
pub use service::CalledService;
pub use settings::{CallSettings, Fallback, HedgeDelay};

use crate::balance::{Endpoint, NoPick, Pick, PickRequest};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many endpoints are asked at once and without budget after those before have cost no work.
const FREE_TRIES: usize = 3;

/// A late call looks again at whether another endpoint would answer sooner after this share of the time it has waited.
const LATE_AGAIN: f64 = 0.1;

/// The result of a health check is there after so long.
const CHECKED_AFTER: Duration = PROBE_TIMEOUT.saturating_add(Duration::from_millis(50));
/// A call to an instance that is silent looks for another one so often: one that was silent as well may be back.
const CHECKED_AGAIN: Duration = Duration::from_millis(100);

/// A question to a service: key, urgency and whether it may be repeated.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// When the answer must be there.
    pub deadline: Instant,
    /// Equal questions have equal keys, and go to the same endpoint while it is well. None: to any.
    pub key: Option<u64>,
    /// Whether a copy may be sent when the answer is late.
    pub may_hedge: bool,
    /// Whether another endpoint may be asked after an attempt.
    pub repeat: Repeat,
}

impl Question {
    /// A question without a key, which may be hedged and repeated.
    pub fn until(deadline: Instant) -> Self {
        Self { deadline, key: None, may_hedge: true, repeat: Repeat::Always }
    }
}

/// When a request may be sent to another endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Whatever became of it: to do it twice is the same as to do it once.
    Always,
    /// Only if nothing of it was sent.
    Unsent,
    /// Never: its body cannot be had again.
    Never,
}

/// Input of the machine.
#[derive(Debug, Clone, Copy)]
pub enum CallEvent {
    /// The call begins.
    Begin,
    /// The driver has done what the last step said, or the time of [`Step::Wait`] has come.
    Woken,
    /// An attempt has ended.
    Ended {
        /// Number of the attempt, from [`Ask`].
        attempt: usize,
        /// How it ended.
        ending: Ending,
    },
    /// An attempt has ended before anything was sent.
    Unsent {
        /// Number of the attempt, from [`Ask`].
        attempt: usize,
        /// How it ended.
        ending: Ending,
    },
}

/// Output of the machine: the next action of the driver.
#[derive(Debug)]
pub enum Step {
    /// Send a request; then step again with [`CallEvent::Woken`].
    Ask(Ask),
    /// Wait for the end of an attempt, but not beyond this time.
    Wait(Instant),
    /// The call has ended. Attempts that are still out are given up.
    Done(CallOutcome),
}

/// A request to send.
#[derive(Debug)]
pub struct Ask {
    /// Number of the attempt, from 0.
    pub attempt: usize,
    /// Where to.
    pub endpoint: Arc<Endpoint>,
    /// When its answer must be there: after that it has [timed out](Ending::TimedOut).
    pub deadline: Instant,
    /// Whether it is to be answered from a cache only: the home of the question is working on it already.
    pub cached_only: bool,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The result is what this attempt has brought: an answer, or the error that says why there is none.
    Attempt(usize),
    /// The time was over.
    Late,
    /// No instance of the service is known.
    NoInstance,
    /// No instance may be asked: the circuit of the service is open.
    Open {
        /// When the next call is let through, if that is known.
        retry_at: Option<Instant>,
    },
}

/// State machine of one call of a [`CalledService`]. Dropped before it is done, it records nothing of the attempts that
/// are out.
#[derive(Debug)]
pub struct CallMachine<'a> {
    service: &'a CalledService,
    question: Question,
    tried: Vec<Arc<Endpoint>>,
    attempts: Vec<Attempt>,
    /// Reason of the next attempt. None: there is no reason for one.
    next: Option<Reason>,
    /// When the attempt that is out is late. None: no copy is sent, or one was.
    late_at: Option<Instant>,
    /// When the health of the instance that is asked is checked, since it may be silent. None: it has been.
    suspect_at: Option<Instant>,
    /// When the result of that check is there, or is looked at again.
    checked_at: Option<Instant>,
    asked_for_upstream: bool,
    outcome: Option<CallOutcome>,
}

#[derive(Debug)]
struct Attempt {
    /// Some while it is out.
    pick: Option<Pick>,
    started: Instant,
    deadline: Instant,
    cached_only: bool,
    ending: Option<Ending>,
}

/// Why an attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    First,
    /// The attempt before has cost no work.
    Free,
    /// The attempt before has failed.
    Paid,
    /// The attempt before goes on behind the instance that was asked.
    PaidFromCache,
}

impl<'a> CallMachine<'a> {
    /// A call that has not begun.
    pub fn new(service: &'a CalledService, question: Question) -> Self {
        Self {
            service,
            question,
            tried: Vec::new(),
            attempts: Vec::new(),
            next: None,
            late_at: None,
            suspect_at: None,
            checked_at: None,
            asked_for_upstream: false,
            outcome: None,
        }
    }

    /// Takes in an event, and says what to do.
    pub fn step(&mut self, event: CallEvent, now: Instant, rng: &mut fastrand::Rng) -> Step {
        match event {
            CallEvent::Begin => match self.service.admit(now) {
                Ok(()) => self.next = Some(Reason::First),
                Err(retry_at) => self.outcome = Some(CallOutcome::Open { retry_at: Some(retry_at) }),
            },
            CallEvent::Woken => {}
            CallEvent::Ended { attempt, ending } => {
                self.ended(attempt, ending, self.question.repeat == Repeat::Always, now);
            }
            CallEvent::Unsent { attempt, ending } => {
                self.ended(attempt, ending, self.question.repeat != Repeat::Never, now);
            }
        }
        if self.outcome.is_none() && now >= self.question.deadline {
            self.give_up_others(None, now);
            let answered = self.best().filter(|(_, ending)| rank(*ending) > rank(Some(Ending::TimedOut)));
            self.outcome = Some(answered.map_or(CallOutcome::Late, |(number, _)| CallOutcome::Attempt(number)));
        }
        if let Some(outcome) = self.outcome {
            self.give_up_others(Some(Ending::Overtaken), now);
            return Step::Done(outcome);
        }
        match self.attempts.iter().any(|attempt| attempt.pick.is_some()) {
            true => self.wait(now, rng),
            false => self.ask_another(now, rng),
        }
    }

    /// Attempts beyond the first.
    pub fn retries(&self) -> usize {
        self.attempts.len().saturating_sub(1)
    }

    fn ended(&mut self, number: usize, ending: Ending, may_repeat: bool, now: Instant) {
        let Some(attempt) = self.attempts.get_mut(number) else { return };
        let Some(pick) = attempt.pick.take() else { return };
        let allowed = attempt.deadline.saturating_duration_since(attempt.started);
        // The caller decides how long it waits: less than half of the usual shows nothing about the instance.
        let is_fair = allowed >= self.service.attempt_timeout / 2;
        let ending = if ending == Ending::TimedOut && !is_fair { Ending::Cancelled } else { ending };
        let endpoint = Arc::clone(pick.endpoint());
        self.service.record(pick, attempt.started, ending, now);
        if attempt.cached_only && ending == Ending::UpstreamTimedOut {
            // It is not in that cache, and the home goes on. If the home fails, the same instance can be asked for all
            // of it.
            attempt.ending = Some(Ending::Overtaken);
            self.tried.retain(|tried| !Arc::ptr_eq(tried, &endpoint));
            return;
        }
        attempt.ending = Some(ending);
        let is_free = self.tried.len() <= FREE_TRIES;
        let reason = match ending {
            Ending::Success { .. } => {
                self.outcome = Some(CallOutcome::Attempt(number));
                None
            }
            Ending::UpstreamFailed | Ending::UpstreamTimedOut if self.asked_for_upstream => None,
            Ending::UpstreamFailed => Some(Reason::Paid),
            Ending::UpstreamTimedOut if self.question.key.is_some() => Some(Reason::PaidFromCache),
            Ending::UpstreamTimedOut => Some(Reason::Paid),
            Ending::NoRoom { .. } => is_free.then_some(Reason::Free),
            Ending::Refused | Ending::WrongPeer if is_free => Some(Reason::Free),
            Ending::Refused | Ending::WrongPeer | Ending::Failed | Ending::TimedOut => Some(Reason::Paid),
            Ending::Overtaken | Ending::OvertakenLate | Ending::Cancelled => None,
        };
        self.asked_for_upstream |= matches!(ending, Ending::UpstreamFailed | Ending::UpstreamTimedOut);
        self.next = reason.filter(|_| may_repeat).or(self.next);
    }

    /// Asks an endpoint that was not tried, if there is a reason for it; else the call has ended.
    fn ask_another(&mut self, now: Instant, rng: &mut fastrand::Rng) -> Step {
        let Some(reason) = self.next.take() else { return self.give_best(None) };
        let wanted = PickRequest { tried: &self.tried, key: self.question.key, only_well: false };
        let pick = match self.service.balancer().pick(now, rng, &wanted) {
            Ok(pick) => pick,
            Err(error) => return self.give_best(Some(error)),
        };
        // Paid last: what cannot be asked costs no budget.
        if matches!(reason, Reason::Paid | Reason::PaidFromCache) && !self.service.may_retry(now) {
            return self.give_best(None);
        }
        self.late_at = self.service.late_after().filter(|_| self.question.may_hedge).map(|time| now + time);
        (self.suspect_at, self.checked_at) = (Some(now + self.service.probe_after()), None);
        Step::Ask(self.send(pick, reason == Reason::PaidFromCache, now))
    }

    /// Waits for the attempt that is out. When it is late, and another endpoint would answer sooner, a copy is sent;
    /// when it is later than that, the health of its instance is checked, and when that has failed another instance is
    /// asked.
    fn wait(&mut self, now: Instant, rng: &mut fastrand::Rng) -> Step {
        if take_due(&mut self.late_at, now) {
            if let Some(copy) = self.copy(now, rng) {
                return Step::Ask(copy);
            }
        }
        if take_due(&mut self.suspect_at, now) {
            self.out().for_each(|endpoint| self.service.suspect(&endpoint, now));
            self.checked_at = Some(now + CHECKED_AFTER);
        }
        if take_due(&mut self.checked_at, now) && self.question.repeat == Repeat::Always {
            let is_silent = self.out().all(|endpoint| !endpoint.breaker().state().is_available());
            if is_silent {
                if let Some(pick) = self.pick_well(now, rng).filter(|_| self.service.may_retry(now)) {
                    self.late_at = None; // two are out
                    return Step::Ask(self.send(pick, false, now));
                }
                self.checked_at = Some(now + CHECKED_AGAIN);
            }
        }
        let next = [self.late_at, self.suspect_at, self.checked_at].into_iter().flatten().min();
        Step::Wait(next.map_or(self.question.deadline, |next| next.min(self.question.deadline)))
    }

    /// A copy of the late attempt, if another endpoint would answer sooner; else when to look again.
    fn copy(&mut self, now: Instant, rng: &mut fastrand::Rng) -> Option<Ask> {
        let pick = self.pick_well(now, rng)?;
        let waited = now.saturating_duration_since(self.attempts.last()?.started);
        let more = pick.expected(now).saturating_sub(waited);
        if !more.is_zero() {
            self.late_at = Some(now + more.max(waited.mul_f64(LATE_AGAIN)));
            return None;
        }
        self.service.may_hedge(now).then(|| self.send(pick, self.question.key.is_some(), now))
    }

    /// The endpoints of the attempts that are out.
    fn out(&self) -> impl Iterator<Item = Arc<Endpoint>> {
        self.attempts.iter().filter_map(|attempt| attempt.pick.as_ref()).map(|pick| Arc::clone(pick.endpoint()))
    }

    /// Another endpoint, if there is one that answers and has room.
    fn pick_well(&self, now: Instant, rng: &mut fastrand::Rng) -> Option<Pick> {
        let wanted = PickRequest { tried: &self.tried, key: self.question.key, only_well: true };
        self.service.balancer().pick(now, rng, &wanted).ok()
    }

    fn send(&mut self, pick: Pick, cached_only: bool, now: Instant) -> Ask {
        let endpoint = Arc::clone(pick.endpoint());
        let deadline = self.question.deadline.min(now + self.service.attempt_timeout);
        let attempt = self.attempts.len();
        self.attempts.push(Attempt { pick: Some(pick), started: now, deadline, cached_only, ending: None });
        self.tried.push(Arc::clone(&endpoint));
        Ask { attempt, endpoint, deadline, cached_only }
    }

    /// Ends the call with the best of what the attempts have brought. None of them is out.
    fn give_best(&mut self, error: Option<NoPick>) -> Step {
        let outcome = match (self.best(), error) {
            (Some((number, _)), _) => CallOutcome::Attempt(number),
            (None, Some(NoPick::Empty)) => CallOutcome::NoInstance,
            (None, _) => CallOutcome::Open { retry_at: None },
        };
        self.outcome = Some(outcome);
        Step::Done(outcome)
    }

    /// The attempt that brought most so far, and how it ended.
    fn best(&self) -> Option<(usize, Option<Ending>)> {
        let endings = self.attempts.iter().map(|attempt| attempt.ending).enumerate();
        endings.max_by_key(|(_, ending)| rank(*ending))
    }

    /// Records the attempts that are still out as `ending`. None: the caller's time is over. Out for the time of an
    /// attempt they have timed out in any case.
    fn give_up_others(&mut self, ending: Option<Ending>, now: Instant) {
        let attempt_timeout = self.service.attempt_timeout;
        for attempt in &mut self.attempts {
            let Some(pick) = attempt.pick.take() else { continue };
            let elapsed = now.saturating_duration_since(attempt.started);
            let ending = match ending {
                _ if elapsed >= attempt_timeout => Ending::TimedOut,
                Some(ending) => ending,
                None if elapsed >= attempt_timeout / 2 => Ending::TimedOut,
                None => Ending::Cancelled,
            };
            self.service.record(pick, attempt.started, ending, now);
        }
    }
}

/// Whether a time has come; then it is none.
fn take_due(at: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = at.is_some_and(|at| at <= now);
    if is_due {
        *at = None;
    }
    is_due
}

/// How good it is to end a call with what an attempt has brought: an answer before an error, and of equal ones the
/// last.
fn rank(ending: Option<Ending>) -> u8 {
    match ending {
        Some(Ending::Success { .. }) => 6,
        Some(Ending::UpstreamFailed | Ending::UpstreamTimedOut) => 5,
        Some(Ending::NoRoom { .. }) => 4,
        Some(Ending::Failed) => 3,
        Some(Ending::TimedOut | Ending::Cancelled) => 2,
        Some(Ending::WrongPeer | Ending::Refused) => 1,
        Some(Ending::Overtaken | Ending::OvertakenLate) | None => 0,
    }
}
