//! Bramble's own rules: `bramble::call` and all that it uses, with the settings it ships with.

use crate::contestant::{
    Call, CallEvent, Client, ClientOptions, Contestant, Directory, Ending, EndpointId, HealthCheck, Probe, Question,
    Step, Target,
};
use bramble::balance::{self, BalanceSettings, Endpoint};
use bramble::breaker::BreakerSettings;
use bramble::call::{self, CallMachine, CallOutcome, CallSettings, CalledService};
use bramble::discovery::{Status, Suspicion};
use fastrand::Rng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Bramble's rules and early refusal.
#[derive(Debug, Default)]
pub struct BrambleRules {
    /// The section `[call]`.
    pub call: CallSettings,
    /// The section `[balance]`.
    pub balance: BalanceSettings,
    /// The section `[breaker]`.
    pub breaker: BreakerSettings,
}

impl Contestant for BrambleRules {
    fn name(&self) -> &'static str {
        "bramble"
    }

    fn early_refusal(&self) -> bool {
        true
    }

    fn upstream_circuit(&self) -> bool {
        true
    }

    fn checks_contract(&self) -> bool {
        true
    }

    fn client(&self, options: ClientOptions<'_>, now: Instant) -> Box<dyn Client> {
        let service = CalledService::new(&self.call, &self.balance, &self.breaker, options.zone, now, options.seed);
        let directory = Directory::new(now, options.seed);
        Box::new(RulesClient { service, probes: RefCell::default(), directory, epochs: RefCell::default() })
    }
}

struct RulesClient {
    service: CalledService,
    /// The probes in flight.
    probes: RefCell<BTreeMap<u64, call::Probe>>,
    directory: Directory,
    /// `Instance::epoch` of the endpoints, as the balancer has them.
    epochs: RefCell<BTreeMap<EndpointId, u32>>,
}

impl RulesClient {
    /// Closes the circuits of instances that discovery has lost and found again, as the client does.
    fn close_found_again(&self, epochs: BTreeMap<EndpointId, u32>, now: Instant) {
        for endpoint in self.service.balancer().endpoints().iter() {
            let known = self.epochs.borrow().get(&id(endpoint)).copied();
            if known.is_some() && known != epochs.get(&id(endpoint)).copied() {
                self.service.found_again(endpoint, now);
            }
        }
        *self.epochs.borrow_mut() = epochs;
    }
}

impl Client for RulesClient {
    fn update(&self, targets: &[Target], now: Instant) {
        let target = |target: &Target| balance::Target {
            id: target.endpoint.id(),
            address: target.endpoint.socket_address(),
            weight: 1,
            zone: target.zone.to_owned(),
            draining: false,
        };
        self.service.update(&targets.iter().map(target).collect::<Vec<_>>(), now);
    }

    fn directory(&self) -> Option<&Directory> {
        Some(&self.directory)
    }

    fn refresh(&self, now: Instant) {
        let instances = self.directory.instances();
        let targets = instances.iter().map(|instance| balance::Target {
            id: instance.id.to_string(),
            address: instance.addr,
            weight: instance.weight,
            zone: instance.zone.to_string(),
            draining: instance.status == Status::Drain,
        });
        self.service.update(&targets.collect::<Vec<_>>(), now);
        let epochs = instances.iter().map(|one| (EndpointId::new(&one.id, one.addr), one.epoch));
        self.close_found_again(epochs.collect(), now);
    }

    fn call(&self, question: Question, _now: Instant) -> Box<dyn Call + '_> {
        Box::new(RulesCall { client: self, machine: CallMachine::new(&self.service, question), asked: Vec::new() })
    }

    fn next_probe(&self, now: Instant) -> Option<Instant> {
        self.service.next_probe(now)
    }

    fn probes_due(&self, now: Instant) -> Vec<Probe> {
        let mut probes = self.probes.borrow_mut();
        let due = self.service.probes_due(now).into_iter().map(|probe| {
            let number = probes.last_key_value().map_or(0, |(last, _)| last + 1);
            let endpoint = id(&probe.endpoint);
            probes.insert(number, probe);
            Probe { number, endpoint }
        });
        due.collect()
    }

    fn probed(&self, probe: Probe, found: HealthCheck, now: Instant) {
        let sent = self.probes.borrow_mut().remove(&probe.number);
        if let Some(sent) = sent {
            match found {
                HealthCheck::Alive => {}
                HealthCheck::Refused => self.directory.suspect(probe.endpoint, Suspicion::Refused, now),
                HealthCheck::Silent => self.directory.suspect(probe.endpoint, Suspicion::TimedOut, now),
            }
            self.service.probed(&sent, found, now);
        }
    }
}

/// Of an endpoint that the client has named.
fn id(endpoint: &Arc<Endpoint>) -> EndpointId {
    EndpointId::new(endpoint.id(), endpoint.address())
}

struct RulesCall<'a> {
    client: &'a RulesClient,
    machine: CallMachine<'a>,
    /// The instances asked, by the number of the attempt.
    asked: Vec<EndpointId>,
}

impl Call for RulesCall<'_> {
    fn step(&mut self, event: CallEvent, now: Instant, rng: &mut Rng) -> Step {
        if let CallEvent::Ended { attempt, ending } = event {
            self.report_to_directory(attempt, ending, now);
        }
        match self.machine.step(event, now, rng) {
            call::Step::Ask(ask) => {
                let endpoint = id(&ask.endpoint);
                self.asked.push(endpoint);
                Step::Ask { attempt: ask.attempt, endpoint, deadline: ask.deadline, only_if_cached: ask.cached_only }
            }
            call::Step::Wait(until) => Step::Wait(until),
            call::Step::Done(CallOutcome::Attempt(attempt)) => Step::Done(Some(attempt)),
            call::Step::Done(_) => Step::Done(None),
        }
    }
}

impl RulesCall<'_> {
    /// As the client does with an attempt that has come to no answer.
    fn report_to_directory(&self, attempt: usize, ending: Ending, now: Instant) {
        let why = match ending {
            Ending::Refused => Suspicion::Refused,
            Ending::TimedOut => Suspicion::TimedOut,
            _ => return,
        };
        if let Some(endpoint) = self.asked.get(attempt) {
            self.client.directory.suspect(*endpoint, why, now);
        }
    }
}
