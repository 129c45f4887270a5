//! The sections, each with the one list of its fields: the key, the field, and what is allowed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::balance::{BalanceSettings, Policy};
use crate::breaker::BreakerSettings;
use crate::call::{CallSettings, Fallback};

use super::format::{
    Address, Bytes, Choice, Count, FieldList, File, Hedge, List, Optional, Share, Switch, Table, Text, Time, Visitor,
    cluster, host_port, interface, store, zone,
};

/// `[node]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The cluster's name. Instances of another cluster are not seen. 1-32 letters, digits, `-`, `_`, `.`.
    pub cluster: String,
    /// Where the node is ("shelf-2"); calls prefer their own zone. Empty: none.
    pub zone: String,
    /// Share of the traffic in comparison with others, 1-100.
    pub weight: u32,
    /// File with the key that signs registrations and calls. None: unsigned.
    pub cluster_key_file: Option<PathBuf>,
}

impl FieldList for Node {
    fn visit(&mut self, v: &mut dyn Visitor) {
        v.field("cluster", &mut self.cluster, Text(cluster));
        v.field("zone", &mut self.zone, Text(zone));
        v.field("weight", &mut self.weight, Count(1..=100));
        v.field("cluster_key_file", &mut self.cluster_key_file, Optional(File));
    }
}

/// `[discovery]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovery {
    /// Whether to register and look by mDNS.
    pub mdns: bool,
    /// Names of the network interfaces to use for mDNS. Empty: the one of the default route.
    pub interfaces: Vec<String>,
    /// UDP port of mDNS; only ever another one in tests.
    pub port: u16,
    /// Services behind a DNS name: service -> `host:port`.
    pub dns: BTreeMap<String, String>,
    /// Services at fixed addresses: service -> `address:port`s.
    pub fixed: BTreeMap<String, Vec<SocketAddr>>,
}

impl FieldList for Discovery {
    fn visit(&mut self, v: &mut dyn Visitor) {
        v.field("mdns", &mut self.mdns, Switch);
        v.field("interfaces", &mut self.interfaces, List { of: Text(interface), least: 0, most: 16 });
        v.field("port", &mut self.port, Count(1..=65535));
        v.field("dns", &mut self.dns, Table(Text(host_port)));
        v.field("fixed", &mut self.fixed, Table(List { of: Address::Peer, least: 1, most: 64 }));
    }
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Address and port to serve at; port 0 lets the system choose. None: the role's own default.
    pub listen: Option<SocketAddr>,
    /// Executor threads, 1-64.
    pub threads: usize,
    /// Connections served at the same time; one more is answered 503, unless it asks for `/healthz` or `/readyz`.
    pub max_connections: usize,
    /// Requests whose handlers run at the same time; others wait, or are answered 503 if that would take too long.
    pub concurrency: usize,
    /// How long the head of a request may take from its first byte to its last.
    pub header_timeout: Duration,
    /// How long a connection may rest between two requests.
    pub idle_timeout: Duration,
    /// Largest body of a request, in bytes.
    pub max_body: usize,
    /// How long requests in flight may take to end after SIGTERM.
    pub drain_timeout: Duration,
}

impl FieldList for Server {
    fn visit(&mut self, v: &mut dyn Visitor) {
        v.field("listen", &mut self.listen, Optional(Address::Listen));
        v.field("threads", &mut self.threads, Count(1..=64));
        v.field("max_connections", &mut self.max_connections, Count(1..=100_000));
        v.field("concurrency", &mut self.concurrency, Count(1..=100_000));
        v.field("header_timeout", &mut self.header_timeout, Time::POSITIVE);
        v.field("idle_timeout", &mut self.idle_timeout, Time::POSITIVE);
        v.field("max_body", &mut self.max_body, Bytes(0..=1 << 30));
        v.field("drain_timeout", &mut self.drain_timeout, Time::OR_ZERO);
    }
}

impl FieldList for CallSettings {
    fn visit(&mut self, v: &mut dyn Visitor) {
        v.field("timeout", &mut self.timeout, Time::POSITIVE);
        v.field("attempt_timeout", &mut self.attempt_timeout, Time::POSITIVE);
        v.field("hedge_after", &mut self.hedge_after, Hedge);
        v.field("retry_budget", &mut self.retry_budget, Share);
        v.field("max_concurrent", &mut self.max_concurrent, Count(1..=100_000));
        v.field("fallback", &mut self.fallback, Choice(Fallback::WORDS));
    }
}

// Ten buckets must have a length worth the name, and what an hour old is says nothing about now.
const WINDOW: Time = Time::within(Duration::from_millis(100), Duration::from_secs(3600));

impl FieldList for BreakerSettings {
    fn visit(&mut self, v: &mut dyn Visitor) {
        v.field("window", &mut self.window, WINDOW);
        v.field("minimum_calls", &mut self.minimum_calls, Count(1..=Self::MAX_CALLS));
        v.field("consecutive_failures", &mut self.consecutive_failures, Count(1..=Self::MAX_CALLS));
        v.field("failure_rate", &mut self.failure_rate, Share);
        v.field("slow_call", &mut self.slow_call, Time::POSITIVE.up_to(Self::MAX_TIME));
        v.field("slow_call_rate", &mut self.slow_call_rate, Share);
        v.field("open_for", &mut self.open_for, Time::POSITIVE.up_to(Self::MAX_TIME));
        v.field("open_for_max", &mut self.open_for_max, Time::POSITIVE.up_to(Self::MAX_TIME));
        v.field("half_open_calls", &mut self.half_open_calls, Count(1..=1000));
        v.field("ramp", &mut self.ramp, Time::OR_ZERO.up_to(Self::MAX_TIME));
        v.field("ramp_floor", &mut self.ramp_floor, Share);
    }
}

impl FieldList for BalanceSettings {
    fn visit(&mut self, v: &mut dyn Visitor) {
        v.field("policy", &mut self.policy, Choice(Policy::WORDS));
        v.field("slow_start", &mut self.slow_start, Time::OR_ZERO.up_to(BreakerSettings::MAX_TIME));
        v.field("prefer_zone", &mut self.prefer_zone, Switch);
    }
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheSection {
    /// `memory`, or `redis://HOST[:PORT][/DB]`.
    pub store: String,
    /// File whose first line is the password of that Redis. None: it asks for none.
    pub password_file: Option<PathBuf>,
    /// Answers kept.
    pub capacity: usize,
    /// How long an answer is given without asking anew.
    pub fresh_for: Duration,
    /// How long after that it is given at once while one refresh runs.
    pub stale_while_revalidate: Duration,
    /// How long after that it is given when nothing newer can be had.
    pub stale_if_error: Duration,
}

impl FieldList for CacheSection {
    fn visit(&mut self, v: &mut dyn Visitor) {
        v.field("store", &mut self.store, Text(store));
        v.field("password_file", &mut self.password_file, Optional(File));
        v.field("capacity", &mut self.capacity, Count(1..=1_000_000));
        v.field("fresh_for", &mut self.fresh_for, Time::OR_ZERO);
        v.field("stale_while_revalidate", &mut self.stale_while_revalidate, Time::OR_ZERO);
        v.field("stale_if_error", &mut self.stale_if_error, Time::OR_ZERO);
    }
}
