//! Trust between the processes of a cluster: signatures with the cluster key, and checks of addresses.
//!
//! On a LAN any host can announce an instance, or the end of one, and any can send requests. So the network that an announcement
//! came by is checked (`links`), and where the cluster has a [`key`], `record`s and [`request`]s are signed with it.
//!
//! | | without a key | with a key |
//! | --- | --- | --- |
//! | an instance found by mDNS | must be on the network its record came by | and have signed its record |
//! | an address of a DNS name or of the configuration | is believed | is believed |
//! | a call to a service that is not `open_to_all` | is answered | must be signed; else 403 |
//!
//! A signature does not give secrecy, nor protection from an attacker that records a signed GET and sends it again (it gets
//! what it has seen already). A program that can read the key file of a node is trusted as that node is.

pub mod key;
pub(crate) mod links;
pub(crate) mod record;
pub mod refusals;
pub mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

pub use key::{ClusterKey, KeyError};
pub use refusals::RefusedInstance;

use links::Links;
use refusals::Refusals;

/// Signed instances whose expiry is remembered: as many as a directory holds.
const MAX_SIGNED: usize = 1024;

/// Rules by which a process judges others, and the instances that it has turned away.
#[derive(Debug, Default)]
pub struct Trust {
    key: Option<ClusterKey>,
    /// Set once it listens.
    own: OnceLock<ProcessIdentity>,
    links: Links,
    judged: Mutex<TrustState>,
}

/// Names and addresses of this process itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// `greeter-5f0c2a9be81d4477`.
    pub id: Arc<str>,
    /// `greeter`.
    pub service: &'static str,
    /// The port it listens at.
    pub port: u16,
}

#[derive(Debug, Default)]
struct TrustState {
    refusals: Refusals,
    /// Until when the signature of each instance counts, in Unix time in seconds, by full name; at most [`MAX_SIGNED`].
    signed_until: BTreeMap<Box<str>, u64>,
}

impl Trust {
    /// With a key, only what is signed with it is believed.
    pub fn new(key: Option<ClusterKey>) -> Self {
        Self { key, ..Self::default() }
    }

    /// The cluster's key, if it has one.
    pub fn key(&self) -> Option<&ClusterKey> {
        self.key.as_ref()
    }

    /// Tells what this process itself is, so that it is never sent to itself. The first word counts.
    pub fn know_own(&self, own: ProcessIdentity) {
        if self.own.set(own).is_err() {
            log::debug!("it is known already what this process is");
        }
    }

    /// Instances that are refused now, and how many records more there was no room to remember.
    pub fn refused(&self) -> (Vec<RefusedInstance>, u64) {
        self.judged().refusals.all()
    }

    /// Whether `ip` is a host on the network of the interface that its record came by.
    pub(crate) fn leads_to(&self, ip: Ipv4Addr, interface: u32) -> bool {
        self.links.leads_to(ip, interface)
    }

    /// Addresses of this machine on the interfaces that are `chosen` by name.
    pub(crate) fn own_addresses(&self, chosen: impl Fn(&str) -> bool) -> Vec<Ipv4Addr> {
        self.links.own(chosen)
    }

    /// Whether a record leads to this process itself under another name or as another service, or takes its name.
    pub(crate) fn poses_as_own(&self, id: &str, service: &str, ip: Ipv4Addr, port: u16) -> bool {
        let Some(own) = self.own.get() else { return false };
        match (*own.id == *id, own.service == service) {
            (true, true) => false,
            (true, false) => true,
            (false, _) => port == own.port && self.links.is_own(ip),
        }
    }

    /// Believes the record under this full name until its signature, if it has one, expires.
    pub(crate) fn believe(&self, fullname: &str, signed_until: Option<u64>) {
        let mut judged = self.judged();
        judged.refusals.remove(fullname);
        let Some(until) = signed_until else { return };
        let signed = &mut judged.signed_until;
        if let Some(known) = signed.get_mut(fullname) {
            *known = until.max(*known); // an old record may have been sent again
            return;
        }
        if signed.len() >= MAX_SIGNED {
            let first = signed.iter().min_by_key(|(_, until)| **until).map(|(name, _)| name.clone());
            first.and_then(|name| signed.remove(&name));
        }
        signed.insert(fullname.into(), until);
    }

    /// Whether a record under this full name was believed whose signature still counts.
    pub(crate) fn is_believed(&self, fullname: &str, now: SystemTime) -> bool {
        self.judged().signed_until.get(fullname).is_some_and(|until| !record::is_over(*until, now))
    }

    /// Refuses the record under this full name; logged once, at `level`.
    pub(crate) fn refuse(&self, fullname: &str, refusal: RefusedInstance, level: log::Level) {
        self.judged().refusals.add(fullname, refusal, level);
    }

    /// Forgets the record under this full name, which is no longer heard of.
    pub(crate) fn forget(&self, fullname: &str) {
        self.judged().refusals.gone(fullname);
    }

    fn judged(&self) -> MutexGuard<'_, TrustState> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cluster's key of a configuration, if it names one.
///
/// # Errors
/// The file has no key; the sentence names it and says what to do.
pub fn key_of(node: &crate::config::Node) -> Result<Option<ClusterKey>, KeyError> {
    node.cluster_key_file.as_deref().map(ClusterKey::from_file).transpose()
}

/// Messages that were logged already, so that each is logged once. Bounded: when it is full, it begins anew.
#[derive(Debug, Default)]
pub(crate) struct RepeatFilter(Mutex<BTreeSet<Box<str>>>);

impl RepeatFilter {
    /// Different messages that are remembered; beyond, one may be logged again.
    const MOST: usize = 256;

    /// True the first time.
    pub(crate) fn is_first(&self, what: &str) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.contains(what) {
            return false;
        }
        if said.len() >= Self::MOST {
            said.clear();
        }
        said.insert(what.into())
    }
}

/// `addr` of a refused instance as far as it has one.
pub(crate) fn claimed(addrs: &[(Ipv4Addr, u32)], port: u16) -> Option<SocketAddr> {
    addrs.iter().map(|(ip, _)| *ip).min().map(|ip| SocketAddr::from((ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_process_poses_as_this_one() {
        let trust = Trust::default();
        let here = Ipv4Addr::LOCALHOST;
        assert!(!trust.poses_as_own("producer-b", "producer", here, 8088), "nothing is known yet");
        trust.know_own(ProcessIdentity { id: "consumer-a".into(), service: "consumer", port: 8088 });
        assert!(!trust.poses_as_own("consumer-a", "consumer", here, 8088), "it is this process");
        assert!(trust.poses_as_own("producer-b", "producer", here, 8088), "its address under another name");
        assert!(trust.poses_as_own("consumer-a", "producer", [192, 0, 2, 7].into(), 1), "its name, another service");
        assert!(!trust.poses_as_own("producer-b", "producer", here, 8089));
        assert!(!trust.poses_as_own("producer-b", "producer", [192, 0, 2, 7].into(), 8088));
    }

    #[test]
    fn of_more_signed_names_than_there_is_room_for_those_that_expire_first_go() {
        let trust = Trust::default();
        for number in 0..2 * MAX_SIGNED as u64 {
            trust.believe(&number.to_string(), Some(number));
        }
        let judged = trust.judged();
        assert_eq!(judged.signed_until.len(), MAX_SIGNED);
        assert!(judged.signed_until.values().all(|until| *until >= MAX_SIGNED as u64));
    }

    #[test]
    fn a_thing_is_said_once_and_memory_is_bounded() {
        let once = RepeatFilter::default();
        assert!(once.is_first("a") && !once.is_first("a") && once.is_first("b"));
        for number in 0..1000 {
            once.is_first(&number.to_string());
        }
        assert!(once.0.lock().expect("not poisoned").len() <= RepeatFilter::MOST);
    }
}
