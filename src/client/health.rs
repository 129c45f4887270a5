//! Health checks in the background: open circuits of services in use, and instances that may be silent, are asked
//! `GET /healthz`, so that no call has to find out whether a server is back.

use std::sync::Arc;
use std::time::Instant;

use futures_lite::FutureExt as _;
use http_types::{Method, Request, Url};
use smol::{Executor, Timer};

use super::Client;
use super::attempt::{ending_of_error, is_of};
use super::callee::Callee;
use crate::balance::{Ending, Endpoint};
use crate::breaker::HealthCheck;
use crate::call::{PROBE_TIMEOUT, Probe};
use crate::transport::ID_HEADER;
use crate::transport::client::Deadline;

impl Client {
    /// Checks health as long as `executor` runs. Sleeps without a timer while no circuit is open.
    pub async fn check_health(self, executor: Arc<Executor<'static>>) {
        loop {
            let changed = self.inner.unhealthy.listen();
            let now = Instant::now();
            let mut next: Option<Instant> = None;
            for callee in self.callees() {
                for probe in callee.rules.probes_due(now) {
                    let (client, callee) = (self.clone(), Arc::clone(&callee));
                    executor.spawn(async move { client.check(&callee, &probe).await }).detach();
                }
                next = next.into_iter().chain(callee.rules.next_probe(now)).min();
            }
            match next {
                Some(at) => {
                    let due = async {
                        Timer::at(at).await;
                    };
                    changed.or(due).await;
                }
                None => changed.await,
            }
        }
    }

    /// Asks one instance whether it is alive, and records what it says.
    async fn check(&self, callee: &Callee, probe: &Probe) {
        let endpoint = &probe.endpoint;
        let found = self.health(callee, endpoint).await;
        let now = Instant::now();
        let generation = endpoint.breaker().generation();
        callee.rules.probed(probe, found, now);
        callee.watch.add_if_changed(endpoint, generation);
        callee.log_changes(now);
        self.inner.unhealthy.notify(usize::MAX);
    }

    async fn health(&self, callee: &Callee, endpoint: &Endpoint) -> HealthCheck {
        let Ok(url) = Url::parse(&format!("http://{}/healthz", endpoint.address())) else { return HealthCheck::Silent };
        let mut request = Request::new(Method::Get, url);
        request.ext_mut().insert(Deadline(Instant::now() + PROBE_TIMEOUT));
        match self.inner.surf.send(request).await {
            Ok(answer) => {
                let id = answer.header(ID_HEADER).map(|value| value.as_str());
                let is_alive = answer.status().is_success() && is_of(&callee.service, endpoint.id(), id);
                if is_alive { HealthCheck::Alive } else { HealthCheck::Silent }
            }
            Err(error) if ending_of_error(&error) == Ending::Refused => HealthCheck::Refused,
            Err(_) => HealthCheck::Silent,
        }
    }
}
