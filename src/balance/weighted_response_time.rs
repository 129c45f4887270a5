//! Weighted response time: at random, twice as fast is twice as likely.
//!
//! Ribbon recomputes a table of all servers for this; here an endpoint that was drawn by weight is kept with a
//! probability that falls with its latency, which comes to the same share without a table.

use super::endpoint::Endpoint;

/// The probability to keep `endpoint` once drawn. `fastest`: the lowest latency of all, in seconds.
pub(super) fn keep(endpoint: &Endpoint, fastest: f64, now: u64) -> f64 {
    match endpoint.latency_estimate(now) {
        0.0 => 1.0, // never asked: worth a try
        latency => (fastest / latency).clamp(FLOOR, 1.0),
    }
}

/// Least share: even the slowest is asked at times, or it would not be seen that it has become fast.
const FLOOR: f64 = 1.0 / 256.0;
