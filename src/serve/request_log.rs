//! Log of requests, a line each with its trace: at debug level, since a busy form would fill a card with them.

use std::time::Instant;

use tide::{Middleware, Next, Request};

use crate::client::TRACE;

/// Writes the lines. Only added where debug lines are written at all, so that it costs nothing elsewhere.
pub(super) struct RequestLog;

#[async_trait::async_trait]
impl<S: Clone + Send + Sync + 'static> Middleware<S> for RequestLog {
    async fn handle(&self, request: Request<S>, next: Next<'_, S>) -> tide::Result {
        let started = Instant::now();
        let method = request.method();
        let path = request.url().path().to_owned(); // not its query: it says where a person lives
        let trace = request.header(TRACE).map(|values| values.as_str().to_owned());
        let response = next.run(request).await;
        let took = started.elapsed().as_secs_f64() * 1e3;
        let trace = trace.as_deref().filter(|trace| crate::client::is_trace(trace)).unwrap_or("-");
        log::debug!("{method} {path} {} {took:.1} ms {TRACE}={trace}", response.status());
        Ok(response)
    }
}
