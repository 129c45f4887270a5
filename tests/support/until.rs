//! Waits for what another thread or process is about to do.

use std::thread;
use std::time::{Duration, Instant};

use super::patience::patience;

/// Asks until `holds`, and fails when that takes longer than anything may.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let (since, patience) = (Instant::now(), patience(30));
    while !holds() {
        assert!(since.elapsed() < patience, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
