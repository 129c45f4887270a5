//! Instances: processes that serve.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A process that serves, as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// `greeter-5f0c2a9be81d4477`; for sources that know no name, the address.
    pub id: Arc<str>,
    /// `greeter`.
    pub service: Arc<str>,
    /// Where to call it. Of an instance with several addresses, the one that answered last.
    pub addr: SocketAddr,
    /// Where its page or interface starts.
    pub path: Box<str>,
    /// Where the node is; empty if it does not say.
    pub zone: Box<str>,
    /// Share of the traffic in comparison with others, 1-100.
    pub weight: u32,
    /// Version of the program; empty if it does not say.
    pub version: Box<str>,
    /// Whether it wants new calls.
    pub status: Status,
    /// Source that told of the instance.
    pub source: Source,
    /// Changes each time the instance is found: at first, after it was lost, and at another address. What was learnt of
    /// it under another epoch (an open circuit, a latency) is out of date. Set by the directory; sources leave it 0.
    /// Only equality means anything.
    pub epoch: u32,
}

impl Instance {
    /// An instance of which nothing is known but its name and its address.
    pub fn new(id: impl Into<Arc<str>>, service: impl Into<Arc<str>>, addr: SocketAddr, source: Source) -> Self {
        Self {
            id: id.into(),
            service: service.into(),
            addr,
            path: "/".into(),
            zone: "".into(),
            weight: 1,
            version: "".into(),
            status: Status::Up,
            source,
            epoch: 0,
        }
    }
}

/// Whether an instance wants new calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Serves.
    Up,
    /// Finishes the calls it has and ends.
    Drain,
}

/// Source that told of an instance. The order is the order of belief: mDNS knows more of an instance than an address
/// does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The instance's own registration on the LAN.
    Mdns,
    /// An address of a DNS name.
    Dns,
    /// The configuration.
    Fixed,
}

impl Source {
    /// As a person reads it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mdns => "mDNS",
            Self::Dns => "DNS alias",
            Self::Fixed => "fixed list",
        }
    }
}

/// Change that a source tells about one key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Change {
    /// The instance is there, or is otherwise than before. Takes calls at once.
    Is(Instance),
    /// The instance announced itself at these addresses. Takes calls once it has answered a probe at one of them with
    /// its id. `Instance::addr` is replaced by the address that answers.
    Announced(Instance, Vec<SocketAddr>),
    /// The source no longer hears of it. Whether it is gone, a probe tells.
    Unheard,
    /// The instance is gone.
    Gone,
}

/// Certainty that an instance is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// The source tells of the instance.
    Confirmed,
    /// The source has stopped telling of the instance, but it answers probes: it stays in use.
    Unconfirmed,
    /// The instance does not answer probes any more: out of use, and probed again for a while.
    Lost,
    /// Announced, but it has not answered a probe with its id yet: not in use, and probed again while it is announced.
    Unproven,
}

/// Why an instance is suspected to be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Suspicion {
    /// The instance refused a connection.
    Refused,
    /// No connection came about: no route, or no answer to the connect.
    Unreachable,
    /// A call got no answer in time.
    TimedOut,
}

/// An instance with how long it has been known, for pages.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceRecord {
    /// The instance.
    #[serde(flatten)]
    pub instance: Arc<Instance>,
    /// How long it has been known, in seconds; for a lost one, how long it has been lost.
    #[serde(rename = "known_for_s", serialize_with = "whole_seconds")]
    pub known_for: Duration,
    /// How sure it is that it is there.
    pub standing: InstanceState,
    /// How long that has been so, in seconds.
    #[serde(rename = "standing_for_s", serialize_with = "whole_seconds")]
    pub standing_for: Duration,
    /// How long ago it said that it is ending, in seconds; null if it has not.
    #[serde(rename = "ending_for_s", serialize_with = "whole_seconds_or_null")]
    pub ending_for: Option<Duration>,
}

fn whole_seconds_or_null<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs()).serialize(to)
}

pub(super) fn whole_seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(duration.as_secs())
}
