//! Bramble's own rules: `bramble::call` and all that it uses, with the settings it ships with.

use crate::contestant::{
    Call, CallEvent, Client, ClientOptions, Contestant, EndpointId, HealthCheck, Probe, Question, Step, Target,
};
use bramble::balance::{self, BalanceSettings, Endpoint};
use bramble::breaker::BreakerSettings;
use bramble::call::{self, CallMachine, CallSettings, Service, Verdict};
use fastrand::Rng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

const FIRST_PORT: u16 = 9000;

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

    fn checks_contract(&self) -> bool {
        true
    }

    fn client(&self, options: ClientOptions<'_>, now: Instant) -> Box<dyn Client> {
        let service = Service::new(&self.call, &self.balance, &self.breaker, options.zone, now, options.seed);
        let service = service.expect("settings that make sense");
        Box::new(RulesClient { service, probes: RefCell::default() })
    }
}

struct RulesClient {
    service: Service,
    /// The probes in flight.
    probes: RefCell<BTreeMap<u64, call::Probe>>,
}

impl Client for RulesClient {
    fn update(&self, targets: &[Target], now: Instant) {
        let target = |target: &Target| balance::Target {
            id: format!("{}.{}", target.endpoint.server, target.endpoint.process),
            address: ([10, 0, 0, 1], FIRST_PORT + target.endpoint.server as u16).into(),
            weight: 1,
            zone: target.zone.to_owned(),
            draining: false,
        };
        self.service.update(&targets.iter().map(target).collect::<Vec<_>>(), now);
    }

    fn call(&self, question: Question, _now: Instant) -> Box<dyn Call + '_> {
        Box::new(RulesCall(CallMachine::new(&self.service, question)))
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
            self.service.probed(&sent, found, now);
        }
    }
}

/// Of an endpoint that [`RulesClient::update`] has named.
fn id(endpoint: &Arc<Endpoint>) -> EndpointId {
    let process = endpoint.id().rsplit('.').next().and_then(|process| process.parse().ok());
    EndpointId { server: (endpoint.address().port() - FIRST_PORT).into(), process: process.unwrap_or_default() }
}

struct RulesCall<'a>(CallMachine<'a>);

impl Call for RulesCall<'_> {
    fn step(&mut self, event: CallEvent, now: Instant, rng: &mut Rng) -> Step {
        match self.0.step(event, now, rng) {
            call::Step::Ask(ask) => Step::Ask {
                attempt: ask.attempt,
                endpoint: id(&ask.endpoint),
                deadline: ask.deadline,
                only_if_cached: ask.cached_only,
            },
            call::Step::Wait(until) => Step::Wait(until),
            call::Step::Done(Verdict::Attempt(attempt)) => Step::Done(Some(attempt)),
            call::Step::Done(_) => Step::Done(None),
        }
    }
}
