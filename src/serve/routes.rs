//! The routes every service has: alive, ready, numbers, circuits (also as a stream), and the instances it knows.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde_json::json;
use tide::http::Method;
use tide::{Body, Request, Response, StatusCode};

use super::health::{Health, Phase};
use super::{Host, event_stream};
use crate::bulkhead::Bulkhead;
use crate::discovery::Directory;
use crate::rejection::Rejection;
use crate::service::Calls;
use crate::telemetry::stream::{self, READERS};
use crate::telemetry::{Collect, MetricType, OpenMetrics};
use crate::transport::RETRY_AFTER_MS;
use crate::transport::server::Stats;
use crate::trust::Trust;

/// State that the routes show.
pub(super) struct RouteState {
    id: Arc<str>,
    service: &'static str,
    /// Services that it calls by name: shown with 0 instances while there are none.
    callees: &'static [&'static str],
    /// Version of the service, not of this library.
    version: &'static str,
    started: SystemTime,
    directory: Directory,
    collect: Vec<Arc<dyn Collect>>,
    health: Arc<Health>,
    stats: Arc<Stats>,
    trust: Arc<Trust>,
    /// Whether there is mDNS, or why not.
    mdns: String,
    readers: Arc<Bulkhead>,
}

impl RouteState {
    pub(super) fn new(host: &Host, collect: Vec<Arc<dyn Collect>>, health: Arc<Health>, stats: Arc<Stats>) -> Self {
        Self {
            id: Arc::clone(&host.id),
            service: host.service.name(),
            callees: match host.service.callees() {
                Calls::These(services) => services,
                Calls::All | Calls::None => &[],
            },
            version: host.service.version_str(),
            started: SystemTime::now(),
            directory: host.directory.clone(),
            collect,
            health,
            stats,
            trust: Arc::clone(&host.trust),
            mdns: host.lan.as_ref().map_or_else(|why| why.clone(), |_| "on".into()),
            readers: Bulkhead::new("/hystrix.stream", READERS),
        }
    }

    fn ready(&self) -> Response {
        let reasons = self.health.reasons();
        let (status, word) = match self.health.phase() {
            Phase::Ready if reasons.is_empty() => (StatusCode::Ok, "ready"),
            Phase::Ready => (StatusCode::ServiceUnavailable, "not_ready"),
            Phase::Starting => (StatusCode::ServiceUnavailable, "starting"),
            Phase::Draining => (StatusCode::ServiceUnavailable, "draining"),
        };
        let mut told = json!({"status": word, "id": self.id});
        if !reasons.is_empty() {
            told["reason"] = reasons.join("; ").into();
        }
        for (name, caution) in self.collect.iter().flat_map(|one| one.cautions()) {
            told[name] = caution.into();
        }
        let mut response = json(status, &told);
        if status == StatusCode::ServiceUnavailable {
            insert_retry_after(&mut response);
        }
        response
    }

    fn metrics(&self) -> Response {
        let mut page = OpenMetrics::default();
        page.family("bramble_build", MetricType::Info, "Version and instance of this process.");
        page.sample(&[("version", self.version), ("service", self.service), ("instance", &self.id)], 1);
        page.family("process_start_time_seconds", MetricType::Gauge, "When this process started, in Unix time.");
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        page.sample(&[], format_args!("{:.3}", started.as_secs_f64()));
        page.family("bramble_instances", MetricType::Gauge, "Instances this process knows of, by service and source.");
        for ((service, source), count) in self.instances() {
            page.sample(&[("service", &service), ("source", source)], count);
        }
        page.family("bramble_instances_refused", MetricType::Gauge, "Announced instances that are not believed.");
        page.sample(&[], self.trust.refused().0.len());
        self.server(&mut page);
        for one in &self.collect {
            one.metrics(&mut page);
        }
        let mut response = Response::new(StatusCode::Ok);
        response.set_body(Body::from_string(page.finish()));
        response.insert_header("content-type", OpenMetrics::CONTENT_TYPE);
        response
    }

    fn server(&self, page: &mut OpenMetrics) {
        let seen = self.stats.snapshot();
        page.family("bramble_server_connections", MetricType::Gauge, "Connections that are open.");
        page.sample(&[], seen.open_connections);
        page.family("bramble_server_connections_refused", MetricType::Counter, "Connections beyond max_connections.");
        page.sample(&[], seen.refused_connections);
        page.family("bramble_server_answers", MetricType::Counter, "Answers by the first digit of their status.");
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(seen.answers) {
            page.sample(&[("status", class)], count);
        }
        page.family("bramble_server_panics", MetricType::Counter, "Handlers that panicked; each was answered 500.");
        page.sample(&[], seen.handler_panics);
        page.family("bramble_server_requests_waiting", MetricType::Gauge, "Requests that wait for their turn.");
        page.sample(&[], seen.requests_waiting);
        page.family(
            "bramble_server_wait_seconds",
            MetricType::Counter,
            "Time that requests have waited for their turn.",
        );
        page.sample(&[], format_args!("{:.6}", seen.requests_waited.as_secs_f64()));
        page.family("bramble_server_requests_refused", MetricType::Counter, "Requests that no handler has run for.");
        let refused = [
            ("overloaded", seen.requests_refused),
            ("waited_too_long", seen.requests_late),
            ("caller_left", seen.requests_left),
        ];
        for (why, count) in refused {
            page.sample(&[("reason", why)], count);
        }
    }

    fn instances(&self) -> std::collections::BTreeMap<(Arc<str>, &'static str), usize> {
        let mut count = std::collections::BTreeMap::new();
        for seen in self.directory.all(Instant::now()) {
            *count.entry((Arc::clone(&seen.instance.service), seen.instance.source.as_str())).or_default() += 1;
        }
        for &callee in self.callees {
            if !count.keys().any(|(service, _)| **service == *callee) {
                count.insert((callee.into(), "none"), 0);
            }
        }
        count
    }

    fn circuits(&self) -> Response {
        let services: Vec<_> = self.collect.iter().flat_map(|one| one.circuits()).collect();
        json(StatusCode::Ok, &json!({"id": self.id, "services": services}))
    }

    /// The circuits again and again, for Netflix's dashboard.
    fn stream(&self, query: Option<&str>) -> Response {
        if self.health.phase() == Phase::Draining {
            return plain("Service has been shut down.");
        }
        let Ok(permit) = self.readers.try_enter() else {
            return plain(&format!("MaxConcurrentConnections reached: {READERS}"));
        };
        let collect: Vec<_> = self.collect.clone();
        let look = move |now| collect.iter().flat_map(|one| one.commands(now)).collect();
        let mut response =
            event_stream(stream::events(Box::new(look), stream::delay(query)), self.health.drains(), permit);
        response.insert_header("cache-control", "no-cache, no-store, max-age=0, must-revalidate");
        response.insert_header("pragma", "no-cache");
        response
    }

    fn seen(&self) -> Response {
        let now = Instant::now();
        let (refused, refused_beyond) = self.trust.refused();
        let signatures = if self.trust.key().is_some() { "checked" } else { "ignored" };
        json(
            StatusCode::Ok,
            &json!({
                "id": self.id,
                "signatures": signatures,
                "mdns": self.mdns,
                "aliases": self.directory.aliases(now),
                "instances": self.directory.all(now),
                "lost": self.directory.lost(now),
                "unproven": self.directory.unproven(now),
                "refused": refused,
                "refused_beyond": refused_beyond,
                "events": self.directory.events(now),
            }),
        )
    }
}

/// Paths that every client may ask of every service, signed or not: a monitor has no key.
pub(super) const OPEN: [&str; 6] = ["/healthz", "/readyz", "/metrics", "/circuits", "/hystrix.stream", "/instances"];

/// The paths that the limiter of requests leaves alone: an overloaded service is alive, and says whether it is ready.
pub(super) const UNLIMITED: [&str; 2] = ["/healthz", "/readyz"];

/// The first of the paths of every service that `app` has a route at.
///
/// tide tells no routes, so each path is asked with a method that changes nothing (RFC 9110, 9.2.1): without a route it
/// is 404. A route for all paths, such as that of a folder of files, answers others as well and is none of these;
/// beside one, a route at such a path is not noticed.
pub(super) async fn taken<S: Clone + Send + Sync + 'static>(app: &tide::Server<S>) -> Option<&'static str> {
    let is_found = async |path: &str| {
        let url = tide::http::Url::parse(&format!("http://localhost{path}")).ok()?;
        let response: Response = app.respond(tide::http::Request::new(Method::Options, url)).await.ok()?;
        (response.status() != StatusCode::NotFound).then_some(())
    };
    for path in OPEN {
        if is_found(path).await.is_some() && is_found(&format!("{path}-{:016x}", fastrand::u64(..))).await.is_none() {
            return Some(path);
        }
    }
    None
}

/// Adds the routes to `app`.
pub(super) fn add<S: Clone + Send + Sync + 'static>(app: &mut tide::Server<S>, told: RouteState) {
    let told = Arc::new(told);
    let mut route = |path: &str, answer: fn(&RouteState, Option<&str>) -> Response| {
        let told = Arc::clone(&told);
        let endpoint = move |request: Request<S>| {
            let response = answer(&told, request.url().query());
            async move { Ok(response) }
        };
        app.at(path).head(endpoint.clone()).get(endpoint).all(|_| async { Ok(Rejection::not_allowed("GET, HEAD")) });
    };
    route("/healthz", |told, _| json(StatusCode::Ok, &json!({"status": "alive", "id": told.id})));
    route("/readyz", |told, _| told.ready());
    route("/metrics", |told, _| told.metrics());
    route("/circuits", |told, _| told.circuits());
    route("/hystrix.stream", RouteState::stream);
    route("/instances", |told, _| told.seen());
}

/// A refusal in the words that Hystrix has for it.
fn plain(why: &str) -> Response {
    let mut response = Response::new(StatusCode::ServiceUnavailable);
    response.set_body(Body::from_string(why.to_owned()));
    response.insert_header("cache-control", "no-store");
    insert_retry_after(&mut response);
    response
}

/// Says when to ask this instance again: in a second, whether it starts or ends.
fn insert_retry_after(response: &mut Response) {
    response.insert_header("retry-after", "1");
    response.insert_header(RETRY_AFTER_MS, "1000");
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = Response::new(status);
    response.set_body(Body::from_string(value.to_string()));
    response.set_content_type(tide::http::mime::JSON);
    response.insert_header("cache-control", "no-store");
    response
}

#[cfg(test)]
mod tests;
