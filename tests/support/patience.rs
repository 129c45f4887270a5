//! How long a test waits for what has to happen.

use std::time::Duration;

/// So many seconds, times `BRAMBLE_TEST_PATIENCE`: 1 to 4, which `cargo xtask test` sets to how slow the machine is.
/// For the deadline of what must happen at all; never for a time that the product promises.
pub(crate) fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("BRAMBLE_TEST_PATIENCE").ok().and_then(|factor| factor.parse::<f64>().ok());
    let factor = factor.filter(|factor| factor.is_finite()).map_or(1.0, |factor| factor.clamp(1.0, 4.0));
    Duration::from_secs(seconds).mul_f64(factor)
}
