//! Least request: of two drawn at random, the one with fewer calls in flight for its weight.
//!
//! Looking for the least of all sends every caller to the same one; of two is nearly as good, without herds
//! (Mitzenmacher, "The Power of Two Choices", 2001).

use super::endpoint::Endpoint;

/// Whether `second` has fewer calls in flight for its weight. An equal number goes to the first, drawn by weight.
pub(super) fn prefers_second(first: (&Endpoint, f64), second: (&Endpoint, f64)) -> bool {
    let load = |(endpoint, weight): (&Endpoint, f64)| endpoint.in_flight() as f64 / weight;
    load(second) < load(first)
}
