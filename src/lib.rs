//! Finds, balances and guards calls between services on a LAN.
//!
//! The rules decide and do no I/O, read no clock and log nothing (`--no-default-features` builds them alone, with
//! `fastrand` and `thiserror`): [`breaker`], [`balance`], [`retry`], [`bulkhead`], [`limit`] and [`call`], which decides a
//! whole call as a state machine.
//!
//! The way of a request:
//!
//! 1. `Client::get` makes a request to a service, which is sent with a deadline.
//! 2. A [`bulkhead::Bulkhead`] gives the call a seat, or refuses it at once: there is no queue.
//! 3. `Directory` has the instances, found by mDNS, by a DNS alias, or by a fixed list.
//! 4. [`balance::Balancer`] compares two of them and takes the cheaper one whose [`breaker::CircuitBreaker`] is closed.
//! 5. `transport` sends the request on a kept-alive connection, within the time that is left.
//! 6. The server's [`limit::Limiter`] refuses early what it could not answer in time.
//! 7. The outcome is recorded by balancer and circuit; after a failure another instance is asked, if the
//!    [`retry::Budget`] allows, and a copy of a late call is sent to another one.
//! 8. `cache` answers what is known; of many equal questions one is asked upstream.
//! 9. `serve::Host` does what every service needs: listening, registration, health, a clean end.
//! 10. `telemetry` counts all of it.

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
