//! Bramble's own rules: `bramble::call` and all that it uses, with the settings it ships with.

use crate::contestant::{
    Call, CallEvent, Client, ClientOptions, Contestant, EndpointId, HealthCheck, Question, Step, Target,
};
use bramble::balance::{self, BalanceSettings, Endpoint};
use bramble::breaker::BreakerSettings;
use bramble::call::{self, CallMachine, CallSettings, Service, Verdict};
use fastrand::Rng;
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
        Box::new(RulesClient(service.expect("settings that make sense")))
    }
}

struct RulesClient(Service);

impl Client for RulesClient {
    fn update(&self, targets: &[Target], now: Instant) {
        let target = |target: &Target| balance::Target {
            id: format!("{}.{}", target.endpoint.server, target.endpoint.process),
            address: ([10, 0, 0, 1], FIRST_PORT + target.endpoint.server as u16).into(),
            weight: 1,
            zone: target.zone.to_owned(),
            draining: false,
        };
        self.0.update(&targets.iter().map(target).collect::<Vec<_>>(), now);
    }

    fn call(&self, question: Question, _now: Instant) -> Box<dyn Call + '_> {
        Box::new(RulesCall(CallMachine::new(&self.0, question)))
    }

    fn next_probe(&self, now: Instant) -> Option<Instant> {
        self.0.next_probe(now)
    }

    fn probes_due(&self, now: Instant) -> Vec<EndpointId> {
        self.0.probes_due(now).iter().map(id).collect()
    }

    fn probed(&self, endpoint: EndpointId, found: HealthCheck, now: Instant) {
        if let Some(endpoint) = self.0.balancer().endpoints().iter().find(|known| id(known) == endpoint) {
            self.0.probed(endpoint, found, now);
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
