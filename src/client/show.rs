//! What the client has learnt, for `/metrics` and `/circuits`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use super::Client;
use super::callee::Callee;
use crate::balance::EndpointSnapshot;
use crate::circuit;
use crate::telemetry::{Collect, Kind, OpenMetrics};

impl Collect for Client {
    fn metrics(&self, to: &mut OpenMetrics) {
        let callees = self.callees();
        to.family("bramble_calls", Kind::Counter, "Calls to other services by what became of them.");
        for callee in &callees {
            let counts = &callee.counts;
            for (result, count) in
                [("answered", &counts.answered), ("failed", &counts.failed), ("refused", &counts.refused)]
            {
                to.sample(&[("service", &callee.service), ("result", result)], count.load(Ordering::Relaxed));
            }
        }
        to.family("bramble_call_retries", Kind::Counter, "Attempts beyond the first of a call.");
        for callee in &callees {
            to.sample(&[("service", &callee.service)], callee.counts.retries.load(Ordering::Relaxed));
        }
        to.family("bramble_calls_in_flight", Kind::Gauge, "Calls that wait for their answer.");
        for callee in &callees {
            to.sample(&[("service", &callee.service)], callee.bulkhead.in_flight());
        }
        let now = Instant::now();
        to.family("bramble_circuit_admits_ratio", Kind::Gauge, "Share of calls an instance's circuit admits, 0 to 1.");
        for callee in &callees {
            for one in callee.balancer.snapshot(now).endpoints {
                to.sample(&[("service", &callee.service), ("instance", &one.target.id)], one.breaker.ramp_share);
            }
        }
    }

    fn circuits(&self) -> Vec<Value> {
        let now = Instant::now();
        self.callees().iter().map(|callee| called(callee, now)).collect()
    }
}

impl Client {
    fn callees(&self) -> Vec<Arc<Callee>> {
        let callees = self.inner.callees.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        callees.values().cloned().collect()
    }
}

fn called(callee: &Callee, now: Instant) -> Value {
    let seen = callee.balancer.snapshot(now);
    let (calls, retries) = callee.budget.spent(now);
    json!({
        "service": callee.service,
        "in_flight": callee.bulkhead.in_flight(),
        "max_concurrent": callee.bulkhead.max(),
        "all_are_candidates": seen.panic,
        "recent_calls": calls,
        "recent_retries": retries,
        "endpoints": seen.endpoints.iter().map(|one| endpoint(one, now)).collect::<Vec<_>>(),
    })
}

fn endpoint(one: &EndpointSnapshot, now: Instant) -> Value {
    let mut shown = json!({
        "id": one.target.id,
        "addr": one.target.address,
        "zone": one.target.zone,
        "weight": one.target.weight,
        "draining": one.target.draining,
        "in_flight": one.in_flight,
        "latency_ms": one.latency.map(|latency| latency.as_secs_f64() * 1e3),
        "slow_start_share": one.share,
    });
    if let Value::Object(shown) = &mut shown {
        shown.append(&mut circuit::show(&one.breaker, now));
    }
    shown
}
