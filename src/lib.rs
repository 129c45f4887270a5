//! Finds, balances and guards calls between services on a LAN: discovery without a central server, load balancing,
//! circuit breakers, retries within a budget, stale answers, health checks, metrics.
//!
#![cfg_attr(feature = "net", doc = include_str!("front_page.md"))]
#![cfg_attr(not(feature = "net"), allow(rustdoc::broken_intra_doc_links, reason = "links to what is not built"))]
//! # The rules alone
//!
//! The modules [`breaker`], [`balance`], [`retry`], [`bulkhead`], [`limit`] and [`call`] do no I/O, read no clock and
//! log nothing: time and randomness are arguments. [`call`] decides a whole call as a state machine. With
//! `default-features = false` only these are built, with fastrand and thiserror; they work with blocking threads and
//! any executor (`examples/plain.rs`).
//!
//! ```
//! use std::time::Instant;
//!
//! use bramble::breaker::{BreakerSettings, CircuitBreaker, Outcome, State};
//!
//! let now = Instant::now();
//! let breaker = CircuitBreaker::new(&BreakerSettings::default(), now, fastrand::u64(..));
//! breaker.try_acquire(now)?.record(Outcome::Refused, now); // the connection was refused
//! assert_eq!(breaker.state(), State::Open);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Cargo features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | none | the rules |
//! | `net` | calls, servers, settings, discovery by DNS alias and by fixed list |
//! | `mdns` (default, with `net`) | discovery by multicast DNS |
//! | `redis` (default, with `net`) | a cache that processes share |
//! | `tls` (default, with `net`) | https URLs outside of the cluster |

pub mod balance;
pub mod breaker;
pub mod bulkhead;
pub mod call;
pub mod limit;
mod ratio;
pub mod retry;
mod sync;
mod tagged;

#[cfg(feature = "net")]
pub mod cache;
#[cfg(feature = "net")]
pub mod circuit;
#[cfg(feature = "net")]
pub mod client;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "net")]
#[cfg_attr(not(feature = "mdns"), allow(dead_code, reason = "mDNS uses it"))]
pub mod discovery;
#[cfg(feature = "net")]
pub mod logging;
#[cfg(feature = "net")]
pub mod operation;
#[cfg(feature = "net")]
mod rejection;
#[cfg(feature = "net")]
#[cfg_attr(
    not(feature = "internals"),
    allow(dead_code, unreachable_pub, unused_imports, reason = "`internals` shows all")
)]
mod resolve;
#[cfg(feature = "net")]
pub mod serve;
#[cfg(feature = "net")]
#[cfg_attr(not(feature = "mdns"), allow(dead_code, reason = "mDNS uses it"))]
pub mod service;
#[cfg(feature = "net")]
pub mod telemetry;
#[cfg(feature = "net")]
pub mod timeout;
#[cfg(feature = "net")]
#[cfg_attr(
    not(feature = "internals"),
    allow(dead_code, unreachable_pub, unused_imports, reason = "`internals` shows all")
)]
mod transport;
#[cfg(feature = "net")]
#[cfg_attr(not(feature = "mdns"), allow(dead_code, reason = "mDNS uses it"))]
pub mod trust;

pub use ratio::Ratio;

#[cfg(feature = "net")]
pub use client::Client;
#[cfg(feature = "net")]
pub use config::Config;
#[cfg(feature = "net")]
pub use discovery::Directory;
#[cfg(feature = "net")]
pub use operation::Operation;
#[cfg(feature = "net")]
pub use serve::Host;
#[cfg(feature = "net")]
pub use service::Service;
#[cfg(feature = "net")]
pub use transport::ID_HEADER;

/// Parts without any stability, for the tests of this repository.
#[cfg(all(feature = "net", feature = "internals"))]
pub mod internals {
    /// Names to addresses.
    pub mod resolve {
        pub use crate::resolve::*;
    }

    /// HTTP/1.1: the server under tide, and the client under surf and under calls to instances.
    pub mod transport {
        pub use crate::transport::*;
    }
}

/// The code in README and guides runs as a test.
#[cfg(all(doctest, feature = "net"))]
mod guides {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/write-a-service.md")]
    struct WriteAService;
    #[doc = include_str!("../docs/run-a-cluster.md")]
    struct RunACluster;
    #[doc = include_str!("../docs/sd-card.md")]
    struct SdCard;
    #[doc = include_str!("../docs/when-things-fail.md")]
    struct WhenThingsFail;
    #[doc = include_str!("../docs/performance.md")]
    struct Performance;
}
