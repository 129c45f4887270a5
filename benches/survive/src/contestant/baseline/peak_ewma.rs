use super::{Choice, keep, two};
use crate::contestant::{Ending, EndpointId, Target};
use crate::random::{exp, seconds};
use fastrand::Rng;
use std::time::{Duration, Instant};

// All of them are linkerd's defaults.
const DEFAULT_RTT: f64 = 0.03; // seconds
const DECAY: f64 = 10.0; // seconds
const MAX_FAILURES: u32 = 7; // `failure-accrual-consecutive-max-failures`
const MIN_PENALTY: f64 = 1.0; // seconds
const MAX_PENALTY: f64 = 60.0; // seconds
const JITTER: f64 = 0.5;

/// As linkerd: of two drawn at random the one with the lower peak EWMA of latency times calls in flight; an instance
/// that fails 7 times in a row is left out for a growing time, after which one call tries it.
#[derive(Debug, Default)]
pub(super) struct PeakEwma {
    endpoints: Vec<(EndpointId, Estimate)>,
}

#[derive(Debug)]
struct Estimate {
    /// Seconds, as of `at`.
    rtt: f64,
    at: Option<Instant>,
    in_flight: u32,
    failures: u32,
    /// Set while the instance is left out: until when.
    out_until: Option<Instant>,
    penalty: f64,
    /// Whether the call that tries an instance left out is in flight.
    on_trial: bool,
}

impl Estimate {
    fn new() -> Self {
        let penalty = MIN_PENALTY;
        Self { rtt: DEFAULT_RTT, at: None, in_flight: 0, failures: 0, out_until: None, penalty, on_trial: false }
    }

    fn is_available(&self, now: Instant) -> bool {
        self.out_until.is_none_or(|until| now >= until && !self.on_trial)
    }

    fn fade(&self, now: Instant) -> f64 {
        self.at.map_or(1.0, |at| exp(-now.saturating_duration_since(at).as_secs_f64() / DECAY))
    }

    fn cost(&self, now: Instant) -> f64 {
        self.rtt * self.fade(now) * f64::from(self.in_flight + 1)
    }

    fn observe(&mut self, took: Duration, now: Instant) {
        let (took, fade) = (took.as_secs_f64(), self.fade(now));
        self.rtt = took.max(self.rtt * fade + took * (1.0 - fade));
        self.at = Some(now);
    }

    fn succeed(&mut self) {
        *self = Self { rtt: self.rtt, at: self.at, in_flight: self.in_flight, ..Self::new() };
    }

    fn fail(&mut self, now: Instant, rng: &mut Rng) {
        self.failures += 1;
        let on_trial = std::mem::take(&mut self.on_trial);
        if on_trial || (self.failures >= MAX_FAILURES && self.out_until.is_none()) {
            self.out_until = Some(now + seconds(self.penalty * (1.0 + JITTER * rng.f64())));
            self.penalty = (self.penalty * 2.0).min(MAX_PENALTY);
        }
    }
}

impl Choice for PeakEwma {
    const NAME: &'static str = "linkerd-like";

    fn update(&mut self, targets: &[Target]) {
        keep(&mut self.endpoints, targets, Estimate::new);
    }

    fn pick(&mut self, tried: &[EndpointId], now: Instant, rng: &mut Rng) -> Option<EndpointId> {
        let candidates = self.endpoints.iter_mut().filter(|(endpoint, _)| !tried.contains(endpoint));
        let mut left: Vec<_> = candidates.filter(|(_, estimate)| estimate.is_available(now)).collect();
        let (first, second) = two(left.len(), rng)?;
        let prefers_second = left[second].1.cost(now) < left[first].1.cost(now);
        let (endpoint, estimate) = &mut left[if prefers_second { second } else { first }];
        estimate.in_flight += 1;
        estimate.on_trial = estimate.out_until.is_some();
        Some(*endpoint)
    }

    fn ended(&mut self, endpoint: EndpointId, ending: Ending, took: Duration, now: Instant, rng: &mut Rng) {
        let Some((_, estimate)) = self.endpoints.iter_mut().find(|(known, _)| *known == endpoint) else { return };
        estimate.in_flight = estimate.in_flight.saturating_sub(1);
        if ending != Ending::Refused {
            estimate.observe(took, now);
        }
        if matches!(ending, Ending::Success { .. }) { estimate.succeed() } else { estimate.fail(now, rng) }
    }
}
