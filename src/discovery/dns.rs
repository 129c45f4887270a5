//! Instances behind a DNS name, one an address: the alias of a container network, where multicast does not reach.
//!
//! A name is looked up again when its answer has lived its time, within bounds, and at once when a connection to one of
//! its addresses fails. What a name no longer answers stays for a while: a resolver that restarts is no outage.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::FutureExt as _;
use smol::channel::Receiver;
use smol::{Executor, Timer};

use super::alias::joined;
use super::{Directory, Instance, Source};
use crate::resolve::Error;

pub use crate::resolve::{Addresses, Error as LookupError, Resolver};

/// How long an answer of a server elsewhere is good, whatever it says: replicas come within seconds, and a resolver is
/// not there for us alone.
const GOOD_FOR: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// The same of a server on this host. A container engine's (127.0.0.11) gives ten minutes to live to what may change
/// the next moment, and answers from memory; a stub like systemd's has a cache. So a new replica has calls within 2 s.
const GOOD_FOR_HERE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(1);
/// The pause after a failed look-up doubles up to this, unless the server is on this host.
const AGAIN_AFTER_MOST: Duration = Duration::from_secs(8);
/// A failed connection has the name looked up again no more often than this.
const WISHED_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// How long one look-up may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A name that answers nothing keeps its last addresses for this long.
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
        let (service, name) = (Arc::from(service.as_str()), Arc::from(target.as_str()));
        let wishes = directory.follow_alias(&service, &name);
        let view = View { service, name, port, addrs: Vec::new(), answered: None, failed: 0 };
        let alias = Alias { host: host.into(), view, directory: directory.clone(), resolver: resolver.clone() };
        executor.spawn(alias.follow(wishes)).detach();
    }
}

/// A name that stands for a service.
struct Alias {
    host: Box<str>,
    view: View,
    directory: Directory,
    resolver: Resolver,
}

/// State of the addresses behind a name, and what is logged of it. The time is an argument.
struct View {
    service: Arc<str>,
    /// `host:port`.
    name: Arc<str>,
    port: u16,
    /// In use.
    addrs: Vec<SocketAddr>,
    /// When there last was an address.
    answered: Option<Instant>,
    /// Look-ups that failed since then.
    failed: u32,
}

impl Alias {
    async fn follow(mut self, wishes: Receiver<()>) {
        let mut may_be_wished = Instant::now();
        loop {
            let began = Instant::now();
            let pause = self.look_up().await;
            let wished = async {
                let _ = wishes.recv().await; // the directory has the other end for as long as it is used here
                Timer::at(may_be_wished).await;
                true
            };
            let in_turn = async {
                Timer::at(began + pause).await;
                false
            };
            if wished.or(in_turn).await {
                may_be_wished = Instant::now() + WISHED_AT_MOST_EVERY;
            }
        }
    }

    /// Looks the name up once and says how long that is good for.
    async fn look_up(&mut self) -> Duration {
        let found = self.resolver.refresh(&self.host, Instant::now() + PATIENCE).await;
        let now = Instant::now();
        let is_here = self.resolver.is_on_this_host();
        let (pause, problem) = match found {
            Ok(answer) => (self.view.answered(&answer, is_here, now), None),
            Err(error) => self.view.silent(&error, is_here, now),
        };
        let View { service, addrs, .. } = &self.view;
        let instances =
            addrs.iter().map(|addr| Instance::new(addr.to_string(), Arc::clone(service), *addr, Source::Dns)).collect();
        self.directory.replace(Source::Dns, service, instances, now);
        self.directory.tell_of_alias(service, addrs.len(), problem, now);
        pause
    }
}

impl View {
    /// Takes in an answer. Gives back how long it is good for.
    fn answered(&mut self, answer: &Addresses, is_here: bool, now: Instant) -> Duration {
        let told = answer.addrs.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect();
        self.addrs = joined(&self.addrs, told, answer.is_whole);
        if self.failed > 0 {
            let word = if self.answered.is_some() { "again" } else { "now" };
            log::info!("{} answers {word}, with {} of {}", self.name, addresses(self.addrs.len()), self.service);
        }
        (self.failed, self.answered) = (0, Some(now));
        let bounds = if is_here { GOOD_FOR_HERE } else { GOOD_FOR };
        answer.ttl.clamp(*bounds.start(), *bounds.end())
    }

    /// Takes in that there is no answer. Gives back when to ask again, and what is wrong.
    fn silent(&mut self, error: &Error, is_here: bool, now: Instant) -> (Duration, Option<Arc<str>>) {
        let Self { service, name, .. } = self;
        let is_over = self.answered.is_some_and(|at| now.saturating_duration_since(at) >= KEEPS_FOR);
        let problem = match self.addrs.len() {
            0 if self.answered.is_none() => format!(
                "{name} has no address ({error}), so no {service} is known by it: does [discovery] dns name the alias \
                 of a service that runs, and is this on the same network?"
            ),
            0 => format!("{name} has no address any more ({error}): does a {service} still run on this network?"),
            _ if is_over => {
                log::warn!("{name} has had no address for {} s: the last ones are given up", KEEPS_FOR.as_secs());
                self.addrs.clear();
                format!("{name} has no address any more ({error}): does a {service} still run on this network?")
            }
            known => format!(
                "{name} has no address ({error}); going on with the last {} of {service} for up to {} s",
                addresses(known),
                KEEPS_FOR.as_secs()
            ),
        };
        if self.failed == 0 {
            log::warn!("{problem}");
        }
        let pause = if is_here { *GOOD_FOR_HERE.start() } else { *GOOD_FOR.start() * (1 << self.failed.min(3)) };
        self.failed = self.failed.saturating_add(1);
        (pause.min(AGAIN_AFTER_MOST), Some(problem.into()))
    }
}

fn addresses(count: usize) -> String {
    if count == 1 { "1 address".into() } else { format!("{count} addresses") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn view() -> View {
        let (service, name) = ("producer".into(), "producer:8080".into());
        View { service, name, port: 8080, addrs: Vec::new(), answered: None, failed: 0 }
    }

    fn answer(last: &[u8], ttl: u64) -> Addresses {
        let addrs = last.iter().map(|last| [10, 0, 9, *last].into()).collect();
        Addresses { addrs, ttl: Duration::from_secs(ttl), is_whole: true }
    }

    fn none() -> Error {
        Error::NoSuchName("producer".into())
    }

    #[test]
    fn the_time_to_live_counts_within_bounds_and_not_at_all_for_a_server_on_this_host() {
        let now = Instant::now();
        let pause = |ttl, is_here| view().answered(&answer(&[3], ttl), is_here, now).as_secs();
        assert_eq!([pause(0, false), pause(7, false), pause(600, false)], [1, 7, 30]);
        assert_eq!([pause(0, true), pause(600, true)], [1, 1]);
    }

    #[test]
    fn a_name_that_answers_nothing_keeps_its_addresses_for_a_minute_and_says_so() {
        let began = Instant::now();
        let mut view = view();
        view.answered(&answer(&[3, 4], 600), true, began);
        let (_, problem) = view.silent(&none(), true, began + 59 * SECOND);
        let problem = problem.expect("something is wrong");
        assert!(problem.contains("going on with the last 2 addresses of producer"), "{problem}");
        assert_eq!(view.addrs.len(), 2);
        let (_, problem) = view.silent(&none(), true, began + 60 * SECOND);
        assert_eq!(view.addrs, []);
        assert!(problem.is_some_and(|problem| problem.contains("no address any more (there is no host producer")));
        view.answered(&answer(&[5], 600), true, began + 70 * SECOND);
        assert_eq!((view.addrs.len(), view.failed), (1, 0));
    }

    #[test]
    fn a_name_that_never_answered_says_what_to_look_at() {
        let (pause, problem) = view().silent(&none(), true, Instant::now());
        let problem = problem.expect("something is wrong");
        assert!(problem.starts_with("producer:8080 has no address") && problem.contains("same network"), "{problem}");
        assert_eq!(pause, SECOND);
    }

    #[test]
    fn a_server_elsewhere_is_asked_less_and_less_often_while_it_knows_nothing() {
        let (now, mut view) = (Instant::now(), view());
        let pauses: Vec<u64> = (0..6).map(|_| view.silent(&none(), false, now).0.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 8, 8]);
    }
}
