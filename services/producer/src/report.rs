//! Metrics, circuits and readiness of the service, for `/metrics`, `/circuits` and `/readyz`.

use std::time::Instant;

use bramble::telemetry::hystrix::Command;
use bramble::telemetry::{Collect, MetricType, OpenMetrics};

use crate::Weather;
use crate::openweathermap::UpstreamError;

impl Collect for Weather {
    fn metrics(&self, to: &mut OpenMetrics) {
        let counts = self.counts();
        let (cache, upstream) = (counts.cache, counts.upstream);
        to.family("bramble_cache_questions", MetricType::Counter, "Questions by how they were answered.");
        for (how, count) in [
            ("fresh", cache.fresh),
            ("revalidating", cache.revalidating),
            ("stale_if_error", cache.stale_if_error),
            ("fetched", cache.fetched),
            ("missed", cache.missed),
        ] {
            to.sample(&[("answered", how)], count);
        }
        to.family("bramble_cache_evicted", MetricType::Counter, "Answers that went for want of room.");
        to.sample(&[], cache.evicted);
        to.family("bramble_cache_entries", MetricType::Gauge, "Answers kept.");
        to.sample(&[], cache.entries);
        to.family("bramble_cache_size_bytes", MetricType::Gauge, "Memory they take.");
        to.sample(&[], cache.bytes);
        to.family("bramble_upstream_calls", MetricType::Counter, "Calls to the weather API by their result.");
        for (result, count) in [
            ("answered", upstream.answered),
            ("not_found", upstream.not_found),
            ("rejected", upstream.rejected),
            ("rate_limited", upstream.rate_limited),
            ("failed", upstream.failed),
            ("unreachable", upstream.unreachable),
            ("timed_out", upstream.timed_out),
            ("held_back", upstream.held_back),
        ] {
            to.sample(&[("result", result)], count);
        }
        if let Some(redis) = &self.redis {
            redis.metrics(to);
        }
    }

    fn circuits(&self) -> Vec<serde_json::Value> {
        let redis = self.redis.as_ref().map(Collect::circuits).unwrap_or_default();
        std::iter::once(self.circuit()).chain(redis).collect()
    }

    fn commands(&self, now: Instant) -> Vec<Command> {
        let redis = self.redis.as_ref().map(|redis| redis.commands(now)).unwrap_or_default();
        std::iter::once(self.command(now)).chain(redis).collect()
    }

    fn cautions(&self) -> Vec<(&'static str, String)> {
        let mut cautions = self.redis.as_ref().map(Collect::cautions).unwrap_or_default();
        if self.waits_for_the_time() {
            cautions.push(("time", UpstreamError::ClockUnset.to_string()));
        }
        cautions
    }
}
