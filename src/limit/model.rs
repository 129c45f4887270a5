//! The limiter against a list of requests and plain rules, through random histories.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Arrive { deadline: Option<u64> },
    Call,
    Start { which: usize },
    Leave { which: usize },
    Finish { which: usize },
    Abandon { which: usize },
    Pause { which: usize },
    Resume { which: usize },
    Polled { which: usize, millis: u64 },
    RoundOver,
    Wait { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<usize>;
    prop_oneof![
        20 => prop::option::of(0u64..2000).prop_map(|deadline| Step::Arrive { deadline }),
        20 => Just(Step::Call),
        15 => which().prop_map(|which| Step::Start { which }),
        2 => which().prop_map(|which| Step::Leave { which }),
        12 => which().prop_map(|which| Step::Finish { which }),
        3 => which().prop_map(|which| Step::Abandon { which }),
        1 => which().prop_map(|which| Step::Pause { which }),
        1 => which().prop_map(|which| Step::Resume { which }),
        5 => (which(), 0u64..8).prop_map(|(which, millis)| Step::Polled { which, millis }),
        5 => Just(Step::RoundOver),
        10 => (0u64..300).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// State of a request.
#[derive(Debug)]
enum State {
    Waiting { called: bool },
    Running(RequestPermit),
    Ended,
}

struct Model {
    settings: LimiterSettings,
    limiter: Limiter,
    now: Instant,
    /// By number of arrival.
    requests: Vec<State>,
    tickets: BTreeMap<Ticket, usize>,
    refused: usize,
    in_round: bool,
}

impl Model {
    fn new(settings: LimiterSettings) -> Self {
        let now = Instant::now();
        let limiter = Limiter::new(settings, now);
        Self { settings, limiter, now, requests: Vec::new(), tickets: BTreeMap::new(), refused: 0, in_round: false }
    }

    fn arrive(&mut self, deadline: Option<u64>) {
        let free = self.running() < self.settings.concurrency && self.tickets.is_empty() && !self.in_round;
        let deadline = deadline.map(|millis| self.now + Duration::from_millis(millis));
        match self.limiter.arrive(self.now, deadline) {
            Admission::Run(permit) => {
                assert!(free, "it runs past a queue, a round, or beyond the permits");
                self.requests.push(State::Running(permit));
            }
            Admission::Queue(ticket) => {
                assert!(self.tickets.last_key_value().is_none_or(|(last, _)| *last < ticket), "tickets grow");
                self.tickets.insert(ticket, self.requests.len());
                self.requests.push(State::Waiting { called: false });
            }
            Admission::Refuse(refusal) => {
                assert!(refusal.retry_after >= RETRY_AFTER.0 && refusal.retry_after <= RETRY_AFTER.1);
                self.refused += 1;
            }
        }
    }

    fn call(&mut self) -> bool {
        let first =
            self.tickets.iter().find(|(_, one)| matches!(self.requests[**one], State::Waiting { called: false }));
        let first = first.map(|(ticket, one)| (*ticket, *one));
        let Some(ticket) = self.limiter.call() else { return false };
        assert!(!self.in_round, "a call during a round");
        let (oldest, one) = first.expect("only one that waits is called");
        assert_eq!(ticket, oldest, "first come, first served");
        assert!(self.limiter.is_called(ticket));
        self.requests[one] = State::Waiting { called: true };
        true
    }

    fn waiting(&self, which: usize, only_called: bool) -> Option<(Ticket, usize)> {
        let fits = |one: usize| matches!(self.requests[one], State::Waiting { called } if called || !only_called);
        let all: Vec<_> =
            self.tickets.iter().map(|(ticket, one)| (*ticket, *one)).filter(|(_, one)| fits(*one)).collect();
        all.get(which.checked_rem(all.len())?).copied()
    }

    fn take_running(&mut self, which: usize) -> Option<RequestPermit> {
        let one = self.some_running(which)?;
        match std::mem::replace(&mut self.requests[one], State::Ended) {
            State::Running(permit) => Some(permit),
            _ => unreachable!("it runs"),
        }
    }

    fn some_running(&self, which: usize) -> Option<usize> {
        let runs = |one: &usize| matches!(self.requests[*one], State::Running(_));
        let all: Vec<usize> = (0..self.requests.len()).filter(runs).collect();
        all.get(which.checked_rem(all.len())?).copied()
    }

    fn running(&self) -> usize {
        self.requests.iter().filter(|one| matches!(one, State::Running(permit) if !permit.is_paused())).count()
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Arrive { deadline } => self.arrive(deadline),
            Step::Call => drop(self.call()),
            Step::Start { which } => {
                if let Some((ticket, one)) = self.waiting(which, true) {
                    self.tickets.remove(&ticket);
                    self.requests[one] = self.limiter.start(ticket, self.now).map_or(State::Ended, State::Running);
                }
            }
            Step::Leave { which } => {
                if let Some((ticket, one)) = self.waiting(which, false) {
                    self.tickets.remove(&ticket);
                    self.requests[one] = State::Ended;
                    self.limiter.leave(ticket);
                    assert!(self.limiter.start(ticket, self.now).is_err(), "one that has left is not started");
                }
            }
            Step::Finish { which } => {
                if let Some(permit) = self.take_running(which) {
                    self.limiter.finish(permit, self.now);
                }
            }
            Step::Abandon { which } => {
                if let Some(permit) = self.take_running(which) {
                    self.limiter.abandon(permit, self.now);
                }
            }
            Step::Pause { which } | Step::Resume { which } => {
                let (limiter, now) = (&mut self.limiter, self.now);
                let runs = |one: usize| matches!(self.requests[one], State::Running(_));
                let all: Vec<usize> = (0..self.requests.len()).filter(|one| runs(*one)).collect();
                let Some(at) = which.checked_rem(all.len()) else { return };
                if let State::Running(permit) = &mut self.requests[all[at]] {
                    match step {
                        Step::Pause { .. } => limiter.pause(permit, now),
                        _ => limiter.resume(permit, now),
                    }
                }
            }
            Step::Polled { which, millis } => {
                if let Some(one) = self.some_running(which) {
                    if let State::Running(permit) = &mut self.requests[one] {
                        self.in_round |= self.limiter.polled(permit, Duration::from_millis(millis));
                    }
                }
            }
            Step::RoundOver => {
                self.in_round = false;
                self.limiter.round_over();
            }
            Step::Wait { millis } => self.now += Duration::from_millis(millis),
        }
    }

    /// Ends every request that runs, and calls every one that waits.
    fn drain(&mut self) {
        loop {
            let before = (self.tickets.len(), self.running());
            self.take(&Step::RoundOver);
            self.call();
            self.take(&Step::Start { which: 0 });
            self.take(&Step::Finish { which: 0 });
            if before == (self.tickets.len(), self.running()) && self.some_running(0).is_none() {
                return;
            }
        }
    }
}

proptest! {
    #[test]
    fn each_request_runs_waits_or_is_refused_and_the_bounds_hold(
        concurrency in 1usize..5,
        queue in 0usize..6,
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut model = Model::new(LimiterSettings { concurrency, queue, ..LimiterSettings::default() });
        let mut resumed = false;
        for step in &steps {
            model.take(step);
            resumed |= matches!(step, Step::Resume { .. });
            prop_assert_eq!(model.limiter.running(), model.running());
            prop_assert_eq!(model.limiter.waiting(), model.tickets.len());
            prop_assert!(model.limiter.waiting() <= queue);
            prop_assert!(resumed || model.limiter.running() <= concurrency);
        }
        model.drain();
        prop_assert_eq!(model.limiter.waiting(), 0, "a request was forgotten");
        prop_assert_eq!(model.limiter.running(), 0, "a permit was lost");
        let ended = model.requests.iter().filter(|one| matches!(one, State::Ended)).count();
        let arrived = steps.iter().filter(|step| matches!(step, Step::Arrive { .. })).count();
        prop_assert_eq!(ended + model.refused, arrived);
    }
}
