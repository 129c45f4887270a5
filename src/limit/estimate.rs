//! Estimates the mean of a time that is measured per request.

use std::time::Duration;

/// The weight of a new sample.
const WEIGHT: f64 = 0.1;
/// A sample counts as at most so many times the mean: a few slow answers must not make the server refuse everything.
const CLIP: f64 = 2.0;
/// Below this many seconds samples are not clipped, so that an estimate near zero can grow.
const UNCLIPPED: f64 = 0.001;

/// Exponentially weighted moving average of clipped samples.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    /// In seconds; none before the first sample.
    mean: Option<f64>,
}

impl Estimate {
    pub(super) fn add(&mut self, sample: Duration) {
        let sample = sample.as_secs_f64();
        self.mean = Some(match self.mean {
            None => sample,
            Some(mean) => mean + WEIGHT * (sample.min((CLIP * mean).max(UNCLIPPED)) - mean),
        });
    }

    /// Adds a sample of which only a lower bound is known: it says nothing if it is below the mean.
    pub(super) fn add_bound(&mut self, least: Duration) {
        if self.mean.is_none_or(|mean| least.as_secs_f64() > mean) {
            self.add(least);
        }
    }

    /// Zero before the first sample.
    pub(super) fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.mean.unwrap_or_default())
    }
}
