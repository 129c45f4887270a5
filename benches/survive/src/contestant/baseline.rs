//! The baselines: what a client without circuit breaker for the service, probes, hedges or early refusal does.
//!
//! All three ask at most twice. The second attempt goes to another instance at once; after a refused connection it is
//! free, otherwise it is paid from a retry budget of the usual shape (Finagle's and linkerd's: a share of the calls).

mod least_request;
mod peak_ewma;
mod round_robin;

use crate::contestant::{
    Call, CallEvent, Client, ClientOptions, Contestant, Ending, EndpointId, Question, Step, Target,
};
use crate::random::below;
use fastrand::Rng;
use least_request::LeastRequest;
use peak_ewma::PeakEwma;
use round_robin::RoundRobin;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

const ATTEMPTS: usize = 2;
const BUDGET_SHARE: f64 = 0.2; // of the calls; linkerd's default `retryRatio`
const BUDGET_TRICKLE: f64 = 1.0; // a second, so that a client with few calls has some
const BUDGET_MAX: f64 = 50.0;
const LEAST_TIME: Duration = Duration::from_millis(10); // less is too short for an attempt

/// All baselines.
pub fn all() -> [&'static dyn Contestant; 3] {
    [&Baseline::<RoundRobin>(PhantomData), &Baseline::<LeastRequest>(PhantomData), &Baseline::<PeakEwma>(PhantomData)]
}

/// How a baseline chooses an instance, and what it learns of one.
trait Choice: Default {
    /// Name of the baseline, as the scoreboard prints it.
    const NAME: &'static str;

    /// Replaces the list of instances.
    fn update(&mut self, targets: &[Target]);

    /// Chooses an instance, but none of `tried`.
    fn pick(&mut self, tried: &[EndpointId], now: Instant, rng: &mut Rng) -> Option<EndpointId>;

    /// Learns how an attempt ended that took so long.
    fn ended(&mut self, endpoint: EndpointId, ending: Ending, took: Duration, now: Instant, rng: &mut Rng);
}

struct Baseline<C>(PhantomData<fn() -> C>);

impl<C: Choice + 'static> Contestant for Baseline<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn client(&self, options: ClientOptions<'_>, now: Instant) -> Box<dyn Client> {
        let budget = RefCell::new(Budget { tokens: BUDGET_TRICKLE, at: now });
        Box::new(BaselineClient { choice: RefCell::<C>::default(), budget, attempt_timeout: options.limits.attempt })
    }
}

struct BaselineClient<C> {
    choice: RefCell<C>,
    budget: RefCell<Budget>,
    attempt_timeout: Duration,
}

impl<C: Choice> Client for BaselineClient<C> {
    fn update(&self, targets: &[Target], _now: Instant) {
        self.choice.borrow_mut().update(targets);
    }

    fn call(&self, question: Question, now: Instant) -> Box<dyn Call + '_> {
        self.budget.borrow_mut().deposit(now);
        Box::new(BaselineCall { client: self, deadline: question.deadline, tried: Vec::new(), sent: now })
    }
}

struct BaselineCall<'a, C> {
    client: &'a BaselineClient<C>,
    deadline: Instant,
    /// The instances asked so far; the last one may still answer.
    tried: Vec<EndpointId>,
    sent: Instant,
}

impl<C: Choice> Call for BaselineCall<'_, C> {
    fn step(&mut self, event: CallEvent, now: Instant, rng: &mut Rng) -> Step {
        match event {
            CallEvent::Begin => self.ask(now, rng),
            CallEvent::Woken => Step::Wait(self.deadline),
            CallEvent::Ended { attempt, ending } | CallEvent::Unsent { attempt, ending } => {
                self.ended(attempt, ending, now, rng)
            }
        }
    }
}

impl<C: Choice> BaselineCall<'_, C> {
    fn ask(&mut self, now: Instant, rng: &mut Rng) -> Step {
        let Some(endpoint) = self.client.choice.borrow_mut().pick(&self.tried, now, rng) else {
            return Step::Done(None);
        };
        let attempt = self.tried.len();
        self.tried.push(endpoint);
        self.sent = now;
        let deadline = self.deadline.min(now + self.client.attempt_timeout);
        Step::Ask { attempt, endpoint, deadline, only_if_cached: false }
    }

    fn ended(&mut self, attempt: usize, ending: Ending, now: Instant, rng: &mut Rng) -> Step {
        let took = now.saturating_duration_since(self.sent);
        self.client.choice.borrow_mut().ended(self.tried[attempt], ending, took, now, rng);
        if matches!(ending, Ending::Success { .. }) {
            return Step::Done(Some(attempt));
        }
        let may_ask_again = self.tried.len() < ATTEMPTS
            && now + LEAST_TIME < self.deadline
            && (ending == Ending::Refused || self.client.budget.borrow_mut().withdraw(now));
        if may_ask_again { self.ask(now, rng) } else { Step::Done(Some(attempt)) }
    }
}

/// A token bucket that calls and time fill.
struct Budget {
    tokens: f64,
    at: Instant,
}

impl Budget {
    fn deposit(&mut self, now: Instant) {
        self.tokens = (self.tokens + BUDGET_SHARE).min(BUDGET_MAX);
        self.trickle(now);
    }

    fn withdraw(&mut self, now: Instant) -> bool {
        self.trickle(now);
        let paid = self.tokens >= 1.0;
        if paid {
            self.tokens -= 1.0;
        }
        paid
    }

    fn trickle(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * BUDGET_TRICKLE).min(BUDGET_MAX);
        self.at = now;
    }
}

/// Keeps what is known of instances that stay, and makes `new` for the others, in the order of `targets`.
fn keep<T>(known: &mut Vec<(EndpointId, T)>, targets: &[Target], new: impl Fn() -> T) {
    let mut old = std::mem::take(known);
    for target in targets {
        let kept = old.iter().position(|(endpoint, _)| *endpoint == target.endpoint);
        known.push(kept.map_or_else(|| (target.endpoint, new()), |index| old.swap_remove(index)));
    }
}

/// Two different members of `0..length`; the same twice if there is one only.
fn two(length: usize, rng: &mut Rng) -> Option<(usize, usize)> {
    let others = length.checked_sub(1)?;
    let first = below(rng, length);
    let second = below(rng, others);
    Some((first, if second < first || others == 0 { second } else { second + 1 }))
}
