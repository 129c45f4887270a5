//! The rules of a call, with explicit time and without I/O.

use super::*;
use crate::balance::{BalanceSettings, Target};
use crate::breaker::{BreakerSettings, State};
use std::time::Duration;

mod circuit;
mod hedge;
mod model;
mod outcome;
mod probe;
mod repeat;

fn target(number: usize) -> Target {
    let address = ([127, 0, 0, number as u8], 9000).into();
    Target { id: format!("producer-{number}"), address, weight: 1, zone: String::new(), draining: false }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn ok(latency: u64) -> Ending {
    Ending::Success { latency: millis(latency) }
}

const NO_ROOM: Ending = Ending::NoRoom { retry_after: None };

/// A service and a clock.
struct Fixture {
    service: CalledService,
    start: Instant,
    now: Instant,
    rng: fastrand::Rng,
}

impl Fixture {
    /// Calls may take 3 s, and an attempt 2 s.
    fn new(count: usize) -> Self {
        Self::with(count, |_| {})
    }

    fn with(count: usize, change: impl FnOnce(&mut CallSettings)) -> Self {
        let mut call = CallSettings::default();
        change(&mut call);
        let now = Instant::now();
        let (balance, breaker) = (BalanceSettings::default(), BreakerSettings::default());
        let service = CalledService::new(&call, &balance, &breaker, "", now, 5);
        service.update(&(0..count).map(target).collect::<Vec<_>>(), now);
        Self { service, start: now, now, rng: fastrand::Rng::with_seed(17) }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn endpoint(&self, number: usize) -> Arc<Endpoint> {
        let all = self.service.balancer().endpoints();
        all.into_iter().find(|endpoint| endpoint.id() == target(number).id).expect("known")
    }

    fn state(&self, number: usize) -> State {
        self.endpoint(number).breaker().state()
    }

    /// Ids of the endpoints whose health is to be checked now.
    fn probes(&self) -> Vec<String> {
        self.service.probes_due(self.now).iter().map(|probe| probe.endpoint.id().to_owned()).collect()
    }

    fn retries_left(&self) -> u32 {
        self.service.retries_left(self.now)
    }

    /// Calls that fail until the budget for retries is empty; the circuits stay closed.
    fn spend_retries(&mut self) {
        while self.retries_left() > 0 {
            assert!(self.service.may_retry(self.now));
        }
    }

    /// A call that answers at once.
    fn succeed(&mut self, latency: u64) {
        let until = self.now + millis(3000);
        let outcome = self.run(Question { may_hedge: false, ..Question::until(until) }, |_| ok(latency)).outcome;
        assert_eq!(outcome, CallOutcome::Attempt(0));
    }

    /// A call of 3 s whose attempts end at once as `answer` says.
    fn call(&mut self, answer: impl FnMut(&Ask) -> Ending) -> Run {
        let until = self.now + millis(3000);
        self.run(Question::until(until), answer)
    }

    /// A call whose attempts end at once.
    fn run(&mut self, question: Question, mut answer: impl FnMut(&Ask) -> Ending) -> Run {
        let mut machine = CallMachine::new(&self.service, question);
        let mut asked = Vec::new();
        let mut event = CallEvent::Begin;
        loop {
            match machine.step(event, self.now, &mut self.rng) {
                Step::Ask(ask) => {
                    event = CallEvent::Ended { attempt: ask.attempt, ending: answer(&ask) };
                    asked.push(ask.endpoint.id().to_owned());
                }
                Step::Wait(_) => panic!("no attempt is out"),
                Step::Done(outcome) => return Run { outcome, asked },
            }
        }
    }
}

/// How a call went.
#[derive(Debug, PartialEq)]
struct Run {
    outcome: CallOutcome,
    /// Ids of the endpoints that were asked, in this order.
    asked: Vec<String>,
}

/// A call in flight, driven step by step.
struct DrivenCall<'a> {
    machine: CallMachine<'a>,
    rng: fastrand::Rng,
}

impl<'a> DrivenCall<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        Self::with(fixture, Question::until(fixture.now + millis(3000)))
    }

    fn with(fixture: &'a Fixture, question: Question) -> Self {
        Self { machine: CallMachine::new(&fixture.service, question), rng: fastrand::Rng::with_seed(3) }
    }

    fn step(&mut self, event: CallEvent, now: Instant) -> Step {
        self.machine.step(event, now, &mut self.rng)
    }

    fn begin(&mut self, now: Instant) -> Ask {
        self.asks(CallEvent::Begin, now)
    }

    fn asks(&mut self, event: CallEvent, now: Instant) -> Ask {
        match self.step(event, now) {
            Step::Ask(ask) => ask,
            other => panic!("{other:?} instead of an attempt"),
        }
    }

    fn waits(&mut self, event: CallEvent, now: Instant) -> Instant {
        match self.step(event, now) {
            Step::Wait(until) => until,
            other => panic!("{other:?} instead of a wait"),
        }
    }

    /// Wakes the call whenever it wants to, and returns when it wants to no more: no attempt is made until then.
    fn waits_until(&mut self, event: CallEvent, mut now: Instant) -> Instant {
        let mut until = self.waits(event, now);
        while until < self.machine.question.deadline {
            now = until;
            until = self.waits(CallEvent::Woken, now);
        }
        until
    }

    fn ends(&mut self, event: CallEvent, now: Instant) -> CallOutcome {
        match self.step(event, now) {
            Step::Done(outcome) => outcome,
            other => panic!("{other:?} instead of the end"),
        }
    }
}

fn ended(attempt: usize, ending: Ending) -> CallEvent {
    CallEvent::Ended { attempt, ending }
}
