//! Peak EWMA: latency estimated by an average that jumps to a peak at once and comes down with time (Finagle's
//! `PeakEwma`).
//!
//! A call in flight counts before it has ended: one that has been out for a second has taken a second already, so a
//! server that hangs is avoided before its first timeout. An estimate that is not used drifts to the mean of the other
//! endpoints', so that a server which was slow once is tried again.

use super::endpoint::Endpoint;

/// Assumed latency, in seconds, of an endpoint that has calls in flight and never answered one, while no other
/// endpoint's latency is known either.
const UNKNOWN: f64 = 1.0;
/// A second choice must be this much cheaper: a smaller difference is noise, and the first is drawn by weight.
const CLEARLY: f64 = 1.25;
/// An endpoint has to be faster by this factor for its ramp to be ignored. A cold one is slower than it will be, so
/// that any factor from 2 to 10 does as well in the scoreboard.
const MUCH_FASTER: f64 = 3.0;
/// Cost of a share of failures of 1, as a multiple of the latency. With 0 a server that fails fast looks fast; a cost
/// in seconds of its own outweighs the latencies of a LAN for a minute.
const PENALTY: f64 = 5.0;

/// Whether `second` is clearly the cheaper.
pub(super) fn prefers_second(first: (&Endpoint, f64), second: (&Endpoint, f64), now: u64) -> bool {
    cost(second.0, second.1, now) * CLEARLY < cost(first.0, first.1, now)
}

/// Whether calls to `endpoint`, of which some have been answered, take much less time than those to `other`.
pub(super) fn is_much_faster(endpoint: &Endpoint, other: &Endpoint, now: u64) -> bool {
    let latency = endpoint.latency_estimate(now) * MUCH_FASTER;
    endpoint.latency_observed() > 0.0 && latency < other.latency_estimate(now)
}

/// Seconds that one more call is expected to take: latency times calls in flight per weight, more where calls failed.
pub(super) fn cost(endpoint: &Endpoint, weight: f64, now: u64) -> f64 {
    let in_flight = endpoint.in_flight() as f64;
    let latency = match endpoint.latency_estimate(now) {
        0.0 if in_flight > 0.0 => UNKNOWN,
        seconds => seconds,
    };
    latency.max(endpoint.waiting(now)) * (1.0 + in_flight / weight) * (1.0 + PENALTY * endpoint.failures.at(now))
}
