//! State of the names that stand for services: whether each answers, and why a list is empty. The pages show it, and a
//! caller that meets a dead address behind a name has the name looked up again through it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use smol::channel::{Receiver, Sender};

/// A name that stands for a service, for pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Alias {
    /// The service.
    pub service: Arc<str>,
    /// `host:port`, as configured.
    pub name: Arc<str>,
    /// How many addresses of it are in use.
    pub addresses: usize,
    /// How long ago it last had one, in seconds. None: never.
    #[serde(rename = "answered_ago_s", serialize_with = "seconds")]
    pub answered: Option<Duration>,
    /// Problem of the alias, as a sentence. None: there is none.
    pub problem: Option<Arc<str>>,
}

fn seconds<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs()).serialize(to)
}

/// Every name that is followed, by its service.
#[derive(Debug, Default)]
pub(super) struct Aliases(Mutex<BTreeMap<Arc<str>, AliasState>>);

#[derive(Debug)]
struct AliasState {
    name: Arc<str>,
    addresses: usize,
    answered: Option<Instant>,
    problem: Option<Arc<str>>,
    /// Holds one wish at most: two look-ups at a time would tell the same.
    again: Sender<()>,
}

impl Aliases {
    /// `name` stands for `service` from here on. What is received is a wish to look it up at once.
    pub(super) fn follow(&self, service: &Arc<str>, name: &Arc<str>) -> Receiver<()> {
        let (again, wishes) = smol::channel::bounded(1);
        let followed = AliasState { name: Arc::clone(name), addresses: 0, answered: None, problem: None, again };
        self.lock().insert(Arc::clone(service), followed);
        wishes
    }

    /// Reports the result of a look-up. `addresses`: how many are in use now.
    pub(super) fn tell(&self, service: &str, addresses: usize, problem: Option<Arc<str>>, now: Instant) {
        if let Some(followed) = self.lock().get_mut(service) {
            followed.answered = if problem.is_none() { Some(now) } else { followed.answered };
            followed.addresses = addresses;
            followed.problem = problem;
        }
    }

    /// Has the name of `service` looked up again.
    pub(super) fn look_again(&self, service: &str) {
        if let Some(followed) = self.lock().get(service) {
            let _ = followed.again.try_send(()); // full: it is about to be looked up
        }
    }

    /// All of them.
    pub(super) fn list(&self, now: Instant) -> Vec<Alias> {
        let list = self.lock();
        let shown = list.iter().map(|(service, followed)| Alias {
            service: Arc::clone(service),
            name: Arc::clone(&followed.name),
            addresses: followed.addresses,
            answered: followed.answered.map(|at| now.saturating_duration_since(at)),
            problem: followed.problem.clone(),
        });
        shown.collect()
    }

    /// The name of `service` and what is wrong with it, if it has one.
    pub(super) fn of(&self, service: &str) -> Option<(Arc<str>, Option<Arc<str>>)> {
        let list = self.lock();
        list.get(service).map(|followed| (Arc::clone(&followed.name), followed.problem.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, AliasState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses of an alias after an answer that may lack one family: what it does not tell of stays.
pub(super) fn joined(known: &[SocketAddr], told: Vec<SocketAddr>, is_whole: bool) -> Vec<SocketAddr> {
    if is_whole {
        return told;
    }
    let families = |v4: bool| told.iter().any(|addr| addr.is_ipv4() == v4);
    let (has_v4, has_v6) = (families(true), families(false));
    let kept = known.iter().filter(|addr| if addr.is_ipv4() { !has_v4 } else { !has_v6 });
    kept.copied().chain(told.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_was_not_answered_for_keeps_its_addresses() {
        let addrs =
            |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().expect("one")).collect() };
        let known = addrs(&["10.0.9.3:80", "[fd00::3]:80"]);
        assert_eq!(joined(&known, addrs(&["10.0.9.4:80"]), false), addrs(&["[fd00::3]:80", "10.0.9.4:80"]));
        assert_eq!(joined(&known, addrs(&["10.0.9.4:80"]), true), addrs(&["10.0.9.4:80"]));
    }

    #[test]
    fn however_many_wish_for_it_a_name_is_looked_up_once() {
        let aliases = Aliases::default();
        let wishes = aliases.follow(&"producer".into(), &"producer:8080".into());
        for _ in 0..100 {
            aliases.look_again("producer");
            aliases.look_again("unknown");
        }
        assert!(wishes.try_recv().is_ok() && wishes.try_recv().is_err());
    }
}
