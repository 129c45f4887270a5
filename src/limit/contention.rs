//! Infers that handlers wait for each other, for a lock or a pool, and lets fewer of them run then.
//!
//! Where each request needs a resource that serves one at a time for `s`, a request that starts while `n` others run
//! takes (n + 1) x s, and more permits buy nothing but wait. Latency alone does not show that: a service whose answers
//! take a millisecond from its cache and a second from an upstream has the same mean, and must not be slowed down. So
//! three things are asked for:
//!
//! - Callers leave: of the requests that end, a third end because their caller has left.
//! - The time per place, (service time - shortest service time) / requests answered meanwhile, is long for nearly all.
//!   A request that finds others running and is answered quickly proves that it did not wait for them, so the 10 %
//!   quantile is taken.
//! - It stays what it is when fewer run. A sixth of the requests that ran then may run, so the wait for each other is a
//!   sixth of what the callers had no patience for. If the requests wait for something else, each still takes as long,
//!   a sixth is answered in that time, and the time per place is six times as long: the limit is lifted, and none is
//!   inferred for a while.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// The weight of one request in the share of those whose callers leave.
const WEIGHT: f64 = 0.1;
/// The share from which on a limit is inferred.
const LEFT_SHARE: f64 = 1.0 / 3.0;
/// The time that callers wait is cut to this part; see the module.
const PART: usize = 6;
/// The smallest limit: the resource is never idle while the next request is on its way to it.
const LEAST_LIMIT: usize = 3;
/// A time per place so many times longer, or shorter, than the one that the limit was inferred from refutes it. The
/// first is half of `PART`; the second is beyond what random service times do to the quantile.
const REFUTED_BY: (f64, f64) = (3.0, 10.0);
/// The time per place times the requests that run must explain how long a caller waited before it left. Not exactly:
/// the quantile is below the mean and follows it late, and of those that run some will leave before they are served.
const EXPLAINS: RangeInclusive<f64> = 0.3..=4.0;
/// After a limit was refuted none is inferred for so long.
const REFUTED_FOR: Duration = Duration::from_secs(30);
/// Fewer others at the start of a request say too little about how long they are waited for.
const LEAST_AHEAD: usize = 2;
/// Steps of the quantile: so many times longer at a longer sample, so many times shorter at a shorter one. One in ten
/// is shorter at rest (ln 1.1 / ln 2.4).
const STEPS: (f64, f64) = (1.1, 2.4);
/// The shortest service time is that of the last one or two of these.
const SHORTEST_OF: Duration = Duration::from_secs(30);
/// A time per place below this is none: the quantile could not grow from zero.
const LEAST_PLACE: f64 = 1e-6;

/// Measures of a request that ends.
#[derive(Debug)]
pub(super) struct Run {
    /// When it started, or last went on after a pause.
    pub(super) since: Instant,
    /// How long it ran.
    pub(super) served: Duration,
    /// Number of others that ran when it started.
    pub(super) ahead: usize,
    /// Number of others that were answered while it ran.
    pub(super) others: u64,
}

/// The evidence, and the limit that follows from it.
#[derive(Debug)]
pub(super) struct Contention {
    /// Share of requests whose callers left while they ran, exponentially weighted.
    left: f64,
    /// 10 % quantile of the time per place, in seconds.
    place: Option<f64>,
    /// Shortest service time of the current and of the last `SHORTEST_OF`.
    shortest: (Duration, Duration),
    shortest_until: Instant,
    inferred: Option<InferredLimit>,
    refuted_at: Option<Instant>,
}

/// A lower limit on requests that run, while it is in force.
#[derive(Debug)]
struct InferredLimit {
    limit: usize,
    /// Since when.
    since: Instant,
    /// The time per place that it was inferred from, in seconds.
    place: f64,
    /// When a request last had to wait.
    waited_at: Instant,
}

impl Contention {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: 0.0,
            place: None,
            shortest: (Duration::MAX, Duration::MAX),
            shortest_until: now + SHORTEST_OF,
            inferred: None,
            refuted_at: None,
        }
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, run: &Run, now: Instant) {
        self.left -= WEIGHT * self.left;
        if now > self.shortest_until && self.inferred.is_none() {
            self.shortest = (Duration::MAX, self.shortest.0);
            self.shortest_until = now + SHORTEST_OF;
        }
        self.shortest.0 = self.shortest.0.min(run.served);
        self.sample(run, now);
    }

    /// The caller of a request has left while it ran, beside `running` others.
    pub(super) fn left(&mut self, run: &Run, running: usize, now: Instant) {
        self.left += WEIGHT * (1.0 - self.left);
        if self.inferred.is_some() {
            self.sample(run, now);
            return;
        }
        let refuted = self.refuted_at.is_some_and(|at| now.saturating_duration_since(at) < REFUTED_FOR);
        let Some(place) = self.place.filter(|_| self.left > LEFT_SHARE && !refuted) else { return };
        let limit = (running / PART).max(LEAST_LIMIT);
        let could_be_refuted = running as f64 > REFUTED_BY.0 * limit as f64;
        let explains = EXPLAINS.contains(&(place * running as f64 / run.served.as_secs_f64()));
        if could_be_refuted && explains {
            self.inferred = Some(InferredLimit { limit, since: now, place, waited_at: now });
        }
    }

    /// A request has to wait, or is refused.
    pub(super) fn waits(&mut self, now: Instant) {
        if let Some(inferred) = &mut self.inferred {
            inferred.waited_at = now;
        }
    }

    /// A request has not had to wait: if that is so for longer than `after`, the limit is lifted.
    pub(super) fn passes(&mut self, now: Instant, after: Duration) {
        if self.inferred.as_ref().is_some_and(|it| now.saturating_duration_since(it.waited_at) > after) {
            self.lift();
        }
    }

    /// How many of `concurrency` requests may run.
    pub(super) fn limit(&self, concurrency: usize) -> usize {
        self.inferred.as_ref().map_or(concurrency, |inferred| inferred.limit.min(concurrency))
    }

    /// How long a request waits for the others that run, as far as that is known.
    pub(super) fn wait_inside(&self) -> Duration {
        let wait = self.inferred.as_ref().map_or(0.0, |inferred| inferred.place * inferred.limit as f64);
        Duration::from_secs_f64(wait)
    }

    /// Takes the time per place of `run`, and lifts the limit if that refutes it.
    fn sample(&mut self, run: &Run, now: Instant) {
        if run.ahead < LEAST_AHEAD || self.inferred.as_ref().is_some_and(|inferred| run.since < inferred.since) {
            return;
        }
        let waited = run.served.saturating_sub(self.shortest.0.min(self.shortest.1)).as_secs_f64();
        let sample = (waited / run.others.max(1) as f64).max(LEAST_PLACE);
        let place = match self.place {
            None => sample,
            Some(place) if sample > place => (place * STEPS.0).min(sample),
            Some(place) => (place / STEPS.1).max(sample),
        };
        self.place = Some(place);
        let Some(from) = self.inferred.as_ref().map(|inferred| inferred.place) else { return };
        if place > REFUTED_BY.0 * from || place < from / REFUTED_BY.1 {
            self.refuted_at = Some(now);
            self.lift();
        }
    }

    fn lift(&mut self) {
        self.inferred = None;
        self.left = 0.0;
    }
}
