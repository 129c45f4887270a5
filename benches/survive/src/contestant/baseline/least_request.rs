use super::{Choice, keep, two};
use crate::contestant::{Ending, EndpointId, Target};
use fastrand::Rng;
use std::time::{Duration, Instant};

/// The one with fewer calls in flight of two drawn at random (Mitzenmacher, "The Power of Two Choices", 1996).
#[derive(Debug, Default)]
pub(super) struct LeastRequest {
    /// Each instance and its attempts in flight.
    endpoints: Vec<(EndpointId, u32)>,
}

impl Choice for LeastRequest {
    const NAME: &'static str = "least request";

    fn update(&mut self, targets: &[Target]) {
        keep(&mut self.endpoints, targets, || 0);
    }

    fn pick(&mut self, tried: &[EndpointId], _now: Instant, rng: &mut Rng) -> Option<EndpointId> {
        let mut left: Vec<_> = self.endpoints.iter_mut().filter(|(endpoint, _)| !tried.contains(endpoint)).collect();
        let (first, second) = two(left.len(), rng)?;
        let prefers_second = left[second].1 < left[first].1;
        let (endpoint, in_flight) = &mut left[if prefers_second { second } else { first }];
        *in_flight += 1;
        Some(*endpoint)
    }

    fn ended(&mut self, endpoint: EndpointId, _: Ending, _: Duration, _: Instant, _: &mut Rng) {
        if let Some((_, in_flight)) = self.endpoints.iter_mut().find(|(known, _)| *known == endpoint) {
            *in_flight = in_flight.saturating_sub(1);
        }
    }
}
