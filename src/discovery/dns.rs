//! Instances behind a DNS name, one an address: the alias of a container network, where multicast does not reach.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol::{Executor, Timer};

use super::fixed::at_address;
use super::{Directory, Source};
use crate::resolve::Resolver;

/// A name is looked up again when its answer's time to live is over, within these bounds: replicas come within
/// seconds, and a resolver is not there for us alone.
const AGAIN_AFTER: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// How long one look-up may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A name that answers nothing keeps its last addresses for this long: a resolver that restarts is no outage.
const KEEPS_FOR: Duration = Duration::from_secs(60);

/// Follows each name of `names` (service -> `host:port`) on `executor` for as long as the program runs.
pub fn follow(
    directory: &Directory,
    names: &BTreeMap<String, String>,
    resolver: &Resolver,
    executor: &Executor<'static>,
) {
    for (service, target) in names {
        let Some((host, port)) = target.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)))
        else {
            log::error!("discovery.dns.{service}: \"{target}\" is not HOST:PORT"); // the configuration has checked it
            continue;
        };
        let alias = Alias {
            service: Arc::from(service.as_str()),
            host: host.into(),
            port,
            last_answer: Instant::now(),
            is_silent: false,
        };
        executor.spawn(alias.follow(directory.clone(), resolver.clone())).detach();
    }
}

/// A name that stands for a service.
struct Alias {
    service: Arc<str>,
    host: Box<str>,
    port: u16,
    last_answer: Instant,
    /// Whether the log has been told that the name answers nothing.
    is_silent: bool,
}

impl Alias {
    async fn follow(mut self, directory: Directory, resolver: Resolver) {
        loop {
            let pause = self.look_up(&directory, &resolver).await;
            Timer::after(pause).await;
        }
    }

    /// Looks the name up once and says how long that is good for.
    async fn look_up(&mut self, directory: &Directory, resolver: &Resolver) -> Duration {
        let found = resolver.refresh(&self.host, Instant::now() + PATIENCE).await;
        let now = Instant::now();
        match found {
            Ok(answer) => {
                self.last_answer = now;
                self.is_silent = false;
                let at =
                    |ip: &std::net::IpAddr| at_address(&self.service, SocketAddr::new(*ip, self.port), Source::Dns);
                directory.replace(Source::Dns, &self.service, answer.addrs.iter().map(at).collect(), now);
                answer.ttl.clamp(*AGAIN_AFTER.start(), *AGAIN_AFTER.end())
            }
            Err(error) => {
                if !self.is_silent {
                    self.is_silent = true;
                    log::warn!("{error}; going on with the last known addresses of {}", self.service);
                }
                if now.duration_since(self.last_answer) > KEEPS_FOR {
                    directory.replace(Source::Dns, &self.service, Vec::new(), now);
                }
                *AGAIN_AFTER.start()
            }
        }
    }
}
