//! Records of calls, written as they end, so that there is something to show. Each number is counted in one place only:
//!
//! - [`Attempts`], one for each endpoint: when an attempt ends, beside what teaches its circuit. What was cancelled,
//!   such
//!   as the loser of two hedged copies, is not counted, as it teaches the circuit nothing.
//! - [`Calls`], one for each service: when a call of any number of attempts ends; retries when they begin. Fallbacks
//!   are
//!   the caller's, which alone knows what it put in the place of an answer.

use std::ops::Index;
use std::time::{Duration, Instant};

use super::latency::{Histogram, Latencies, Summary};
use super::rolling::{Counts, Peak};
use crate::breaker::Outcome;

/// Outcome or event of a call that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An answer that was good.
    Success,
    /// Any other 5xx, a broken connection, no listener.
    Failure,
    /// No answer in time.
    Timeout,
    /// The server has no room: 429 or 503.
    Rejected,
    /// Any other 4xx: the question was at fault, not the instance.
    BadRequest,
    /// 502 or 504 of an instance: a server behind it failed, and the instance did not.
    UpstreamFailed,
    /// Not sent: as many calls were in flight as may be.
    Full,
    /// Not sent: there is no instance, or every circuit is open.
    ShortCircuited,
    /// A fallback was given in the place of an answer.
    FallbackSuccess,
    /// There was nothing to give in its place.
    FallbackFailure,
    /// As many fallbacks were under way as may be.
    FallbackRejection,
    /// None is wanted: the error was handed on.
    FallbackMissing,
    /// An attempt beyond the first of a call.
    Retry,
}

impl Event {
    /// All, each at the place of its number.
    pub const ALL: [Self; 13] = [
        Self::Success,
        Self::Failure,
        Self::Timeout,
        Self::Rejected,
        Self::BadRequest,
        Self::UpstreamFailed,
        Self::Full,
        Self::ShortCircuited,
        Self::FallbackSuccess,
        Self::FallbackFailure,
        Self::FallbackRejection,
        Self::FallbackMissing,
        Self::Retry,
    ];
    /// How a call can end.
    pub const OF_CALLS: &'static [Self] = Self::ALL.split_at(8).0;
    /// How an attempt can end: a call that was sent.
    pub const OF_ATTEMPTS: &'static [Self] = Self::ALL.split_at(6).0;
    /// How a fallback can end.
    pub const OF_FALLBACKS: &'static [Self] = Self::ALL.split_at(8).1.split_at(4).0;

    /// Name in `/metrics` and `/circuits`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
            Self::BadRequest => "bad_request",
            Self::UpstreamFailed => "upstream_failed",
            Self::Full => "full",
            Self::ShortCircuited => "short_circuited",
            Self::FallbackSuccess => "fallback_success",
            Self::FallbackFailure => "fallback_failure",
            Self::FallbackRejection => "fallback_rejection",
            Self::FallbackMissing => "fallback_missing",
            Self::Retry => "retry",
        }
    }

    fn was_sent(self) -> bool {
        Self::OF_ATTEMPTS.contains(&self)
    }
}

/// As which event the outcome of a call that was sent counts.
impl From<Outcome> for Event {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success { .. } => Self::Success,
            Outcome::Failure | Outcome::Refused | Outcome::WrongPeer | Outcome::Alive => Self::Failure,
            Outcome::Timeout => Self::Timeout,
            Outcome::Rejected { .. } => Self::Rejected,
            Outcome::Ignored => Self::BadRequest,
        }
    }
}

/// A number for each kind of event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally([u64; Event::ALL.len()]);

impl Index<Event> for Tally {
    type Output = u64;

    fn index(&self, event: Event) -> &u64 {
        &self.0[event as usize]
    }
}

impl<const KINDS: usize> From<[u64; KINDS]> for Tally {
    fn from(counts: [u64; KINDS]) -> Self {
        let mut tally = Self::default();
        tally.0.iter_mut().zip(counts).for_each(|(to, count)| *to = count);
        tally
    }
}

/// Counts and latencies at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallStatistics {
    /// Events of the last ten seconds.
    pub recent: Tally,
    /// Events since the start.
    pub total: Tally,
    /// How long single attempts took lately; a refused connection takes no time and is left out.
    pub attempts: Summary,
    /// How long whole calls took lately, retries and waiting included; of an endpoint the same as `attempts`.
    pub calls: Summary,
    /// The most that were in flight at a time lately.
    pub max_in_flight: u64,
}

/// Record of the attempts at one endpoint: 2.4 kB, fixed.
#[derive(Debug)]
pub(crate) struct Attempts {
    counts: Counts<{ Event::OF_ATTEMPTS.len() }>,
    latencies: Latencies,
    in_flight: Peak,
}

impl Attempts {
    pub(crate) fn new(now: Instant) -> Self {
        Self { counts: Counts::new(now), latencies: Latencies::new(now), in_flight: Peak::new(now) }
    }

    /// Records the begin of an attempt; `in_flight` with it.
    pub(crate) fn begun(&self, in_flight: usize, now: Instant) {
        self.in_flight.note(in_flight as u64, now);
    }

    /// Records the end of an attempt; `took`: if it is worth a latency.
    pub(crate) fn ended(&self, event: Event, took: Option<Duration>, now: Instant) {
        self.counts.add(event as usize, now);
        if let Some(took) = took {
            self.latencies.observe(took, now);
        }
    }

    pub(crate) fn statistics(&self, now: Instant) -> CallStatistics {
        let latencies = self.latencies.summary(now);
        CallStatistics {
            recent: self.counts.rolling(now).into(),
            total: self.counts.totals().into(),
            attempts: latencies,
            calls: latencies,
            max_in_flight: self.in_flight.highest(now),
        }
    }
}

/// Record of the calls to one service: 5 kB, fixed, and no call waits to record something.
#[derive(Debug)]
pub struct Calls {
    counts: Counts<{ Event::ALL.len() }>,
    attempts: Latencies,
    calls: Latencies,
    durations: Histogram,
    in_flight: Peak,
}

impl Calls {
    /// An empty record. Time is counted from `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            counts: Counts::new(now),
            attempts: Latencies::new(now),
            calls: Latencies::new(now),
            durations: Histogram::default(),
            in_flight: Peak::new(now),
        }
    }

    /// Records the begin of a call; `in_flight` with it.
    pub fn begun(&self, in_flight: usize, now: Instant) {
        self.in_flight.note(in_flight as u64, now);
    }

    /// An attempt of one has taken so long.
    pub fn attempted(&self, took: Duration, now: Instant) {
        self.attempts.observe(took, now);
    }

    /// Records the end of a call after `took`, which counts as a latency if it was sent.
    pub fn ended(&self, event: Event, took: Duration, now: Instant) {
        self.note(event, now);
        if event.was_sent() {
            self.calls.observe(took, now);
            self.durations.observe(took);
        }
    }

    /// Records another event of a call.
    pub fn note(&self, event: Event, now: Instant) {
        self.counts.add(event as usize, now);
    }

    /// How long the calls took that were sent, since the start.
    pub fn durations(&self) -> &Histogram {
        &self.durations
    }

    /// Counts and latencies at `now`.
    pub fn statistics(&self, now: Instant) -> CallStatistics {
        CallStatistics {
            recent: self.counts.rolling(now).into(),
            total: self.counts.totals().into(),
            attempts: self.attempts.summary(now),
            calls: self.calls.summary(now),
            max_in_flight: self.in_flight.highest(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_place_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Event::ALL.iter().map(|event| event.as_str()).collect();
        assert_eq!(names.len(), Event::ALL.len());
        assert!(Event::ALL.iter().enumerate().all(|(place, event)| *event as usize == place));
        assert!(Event::OF_FALLBACKS.iter().all(|event| event.as_str().starts_with("fallback_")));
        assert_eq!(Event::OF_CALLS.last(), Some(&Event::ShortCircuited));
        assert_eq!(Event::OF_ATTEMPTS.last(), Some(&Event::UpstreamFailed));
    }

    #[test]
    fn each_event_is_counted_once_and_under_its_own_name_only() {
        let now = Instant::now();
        let calls = Calls::new(now);
        for (times, event) in Event::ALL.iter().enumerate() {
            (0..times).for_each(|_| calls.note(*event, now));
        }
        let statistics = calls.statistics(now);
        for (times, event) in Event::ALL.iter().enumerate() {
            assert_eq!(
                (statistics.recent[*event], statistics.total[*event]),
                (times as u64, times as u64),
                "{event:?}"
            );
        }
    }

    #[test]
    fn a_call_that_was_not_sent_makes_the_others_look_no_faster() {
        let now = Instant::now();
        let calls = Calls::new(now);
        calls.ended(Event::Success, Duration::from_millis(80), now);
        for event in [Event::Full, Event::ShortCircuited] {
            calls.ended(event, Duration::ZERO, now);
        }
        assert_eq!(calls.statistics(now).calls.percentile(0.0), Some(Duration::from_millis(80)));
        assert_eq!(calls.durations().cumulative().0.last(), Some(&1));
        assert_eq!(calls.statistics(now).recent[Event::ShortCircuited], 1);
    }

    #[test]
    fn what_is_noted_of_an_endpoint_takes_two_and_a_half_kilobytes_at_most() {
        assert!(size_of::<Attempts>() <= 2_560, "{}", size_of::<Attempts>());
        assert!(size_of::<Calls>() <= 5_632, "{}", size_of::<Calls>());
    }
}
