use super::Choice;
use crate::contestant::{Ending, EndpointId, Target};
use crate::random::below;
use fastrand::Rng;
use std::time::{Duration, Instant};

/// Each instance in its turn, from a random one on. It learns nothing.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    endpoints: Vec<EndpointId>,
    turn: Option<usize>,
}

impl Choice for RoundRobin {
    const NAME: &'static str = "round robin";

    fn update(&mut self, targets: &[Target]) {
        self.endpoints = targets.iter().map(|target| target.endpoint).collect();
    }

    fn pick(&mut self, tried: &[EndpointId], _now: Instant, rng: &mut Rng) -> Option<EndpointId> {
        let count = self.endpoints.len();
        let first = self.turn.unwrap_or_else(|| below(rng, count));
        let (turn, endpoint) = (0..count)
            .map(|step| (first + step) % count)
            .map(|turn| (turn, self.endpoints[turn]))
            .find(|(_, endpoint)| !tried.contains(endpoint))?;
        self.turn = Some(turn + 1);
        Some(endpoint)
    }

    fn ended(&mut self, _: EndpointId, _: Ending, _: Duration, _: Instant, _: &mut Rng) {}
}
