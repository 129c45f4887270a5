//! Health checks in the background: open circuits of services in use, and instances that may be silent, are asked
//! `GET /healthz`, so that no call has to find out whether a server is back.

use std::sync::Arc;
use std::time::Instant;

use futures_lite::FutureExt as _;
use http::Method;
use http::uri::PathAndQuery;
use smol::{Executor, Timer};

use super::Client;
use super::attempt::{ending_of_error, is_of};
use super::service_client::ServiceClient;
use crate::balance::{Ending, Endpoint};
use crate::breaker::HealthCheck;
use crate::call::{PROBE_TIMEOUT, Probe};
use crate::discovery::Suspicion;
use crate::transport::ID_HEADER;
use crate::transport::client::{Message, Payload, Server};

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
    async fn check(&self, callee: &ServiceClient, probe: &Probe) {
        let endpoint = &probe.endpoint;
        let found = self.health(callee, endpoint).await;
        let now = Instant::now();
        // Its calls may all have been overtaken or gone elsewhere, so that only this check has seen that it is silent.
        match found {
            HealthCheck::Alive => {}
            HealthCheck::Refused => self.inner.directory.suspect(endpoint.id(), Suspicion::Refused, now),
            HealthCheck::Silent => self.inner.directory.suspect(endpoint.id(), Suspicion::TimedOut, now),
        }
        let generation = endpoint.breaker().generation();
        callee.rules.probed(probe, found, now);
        callee.watch.add_if_changed(endpoint, generation);
        callee.log_changes(now);
        self.inner.unhealthy.notify(usize::MAX);
    }

    async fn health(&self, callee: &ServiceClient, endpoint: &Endpoint) -> HealthCheck {
        let server = Server::new(endpoint.address());
        let path = PathAndQuery::from_static("/healthz");
        let message = Message { method: &Method::GET, path: &path, payload: Payload::Empty, is_idempotent: true };
        match self.inner.wire.send(&server, message, |_| {}, Instant::now() + PROBE_TIMEOUT).await {
            Ok(answer) => {
                let id = answer.headers().get(ID_HEADER).and_then(|id| id.to_str().ok());
                let is_alive = answer.status().is_success() && is_of(&callee.service, endpoint.id(), id);
                if is_alive { HealthCheck::Alive } else { HealthCheck::Silent }
            }
            Err(error) if ending_of_error(&error) == Ending::Refused => HealthCheck::Refused,
            Err(_) => HealthCheck::Silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::time::Duration;

    use smol::block_on;

    use super::*;
    use crate::config::Config;
    use crate::discovery::{Change, Directory, Instance, ServiceFilter, Source};

    const ID: &str = "producer-1";

    /// When the directory probes the instance at `addr`, after a health check of it.
    fn probe_after_check(addr: SocketAddr) -> Option<Duration> {
        let now = Instant::now();
        let directory = Directory::new(ServiceFilter::None, now);
        let instance = Instance::new(ID, "producer", addr, Source::Mdns);
        directory.apply(Source::Mdns, ID, Change::Is(instance), now);
        assert_eq!(directory.next_probe(), None);
        let client = Client::new(Config::default(), directory.clone());
        let callee = client.callee("producer");
        callee.refresh(&directory, now);
        let [endpoint] = &callee.rules.balancer().endpoints()[..] else { panic!("one instance") };
        block_on(client.check(&callee, &Probe::of(endpoint)));
        directory.next_probe().map(|at| at.saturating_duration_since(Instant::now()))
    }

    #[test]
    fn an_instance_that_fails_a_health_check_is_probed_by_discovery_although_no_call_has_failed() {
        let refuses = TcpListener::bind("127.0.0.98:0").and_then(|there| there.local_addr()).expect("an address");
        assert!(probe_after_check(refuses).is_some());

        let silent = TcpListener::bind("127.0.0.1:0").expect("a port"); // accepts, and never answers
        assert!(probe_after_check(silent.local_addr().expect("bound")).is_some());
    }

    #[test]
    fn an_instance_that_passes_a_health_check_is_not_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let asked = stream.read(&mut [0; 4096]).expect("a request");
            assert!(asked > 0);
            let answer = format!("HTTP/1.1 200 OK\r\n{ID_HEADER}: {ID}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).expect("it listens");
        });
        assert_eq!(probe_after_check(addr), None);
        serving.join().expect("it has answered");
    }
}
