//! Log lines, metrics and circuit of a shared store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Redis;
use crate::telemetry::{Collect, Kind, OpenMetrics};

impl Collect for Redis {
    fn metrics(&self, to: &mut OpenMetrics) {
        let counters = &self.link.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        to.family(
            "bramble_shared_cache_connected",
            Kind::Gauge,
            "Whether the shared cache (Redis) can be asked: 1 or 0.",
        );
        to.sample(&[], u8::from(self.is_there()));
        to.family("bramble_shared_cache_calls", Kind::Counter, "Reads and writes of the shared cache by their result.");
        for (result, counter) in [
            ("found", &counters.found),
            ("missed", &counters.missed),
            ("unusable", &counters.alien),
            ("written", &counters.written),
            ("refused", &counters.refused),
            ("failed", &counters.failed),
            ("passed_by", &counters.passed_by),
        ] {
            to.sample(&[("result", result)], read(counter));
        }
    }

    /// In the form of a called service with one endpoint.
    fn circuits(&self) -> Vec<Value> {
        let now = Instant::now();
        let seen = self.link.breaker.snapshot(now);
        let (connected, why_not) = {
            let standing = self.link.standing();
            (standing.connection.is_some(), standing.why_not.clone())
        };
        let endpoint = json!({
            "id": "redis",
            "addr": self.link.place.to_string(),
            "connected": connected,
            "why_not": why_not,
            "state": seen.state.to_string(),
            "for_ms": milliseconds(now.saturating_duration_since(seen.since)),
            "reason": seen.reason.map(|reason| reason.to_string()),
            "next_probe_ms": seen.next_probe.map(|at| milliseconds(at.saturating_duration_since(now))),
            "admitted_share": seen.ramp_share,
            "recent_calls": seen.calls,
            "failure_rate": seen.failure_rate,
            "slow_rate": seen.slow_rate,
            "failures_in_a_row": seen.consecutive_failures,
            "in_flight": self.link.seats.in_flight(),
        });
        vec![json!({
            "service": "redis",
            "in_flight": self.link.seats.in_flight(),
            "max_concurrent": self.link.seats.max(),
            "endpoints": [endpoint],
        })]
    }

    fn cautions(&self) -> Vec<(&'static str, String)> {
        if self.is_there() { Vec::new() } else { vec![("cache", "memory only: redis unreachable".to_owned())] }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
