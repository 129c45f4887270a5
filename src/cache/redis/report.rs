//! The metrics and the circuit of a shared store, and the caution that it is away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use super::Redis;
use crate::telemetry::hystrix::Command;
use crate::telemetry::{Collect, MetricType, OpenMetrics};

impl Collect for Redis {
    fn metrics(&self, to: &mut OpenMetrics) {
        let counters = &self.link.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        to.family(
            "bramble_shared_cache_connected",
            MetricType::Gauge,
            "Whether the shared cache (Redis) can be asked: 1 or 0.",
        );
        to.sample(&[], u8::from(self.is_there()));
        to.family(
            "bramble_shared_cache_calls",
            MetricType::Counter,
            "Reads and writes of the shared cache by their result.",
        );
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

    fn circuits(&self) -> Vec<Value> {
        let (connected, why_not) = {
            let state = self.link.state();
            (state.connection.is_some(), state.why_not.clone())
        };
        let endpoint = [
            ("id", json!("redis")),
            ("addr", json!(self.link.place.to_string())),
            ("connected", json!(connected)),
            ("why_not", json!(why_not)),
        ];
        let endpoint = endpoint.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        let mut circuit = self.link.guard.circuit(endpoint, Instant::now());
        circuit.insert("max_concurrent".into(), self.link.bulkhead.max().into());
        vec![circuit.into()]
    }

    fn commands(&self, now: Instant) -> Vec<Command> {
        vec![self.link.guard.command(now)]
    }

    fn cautions(&self) -> Vec<(&'static str, String)> {
        if self.is_there() { Vec::new() } else { vec![("cache", "memory only: redis unreachable".to_owned())] }
    }
}
