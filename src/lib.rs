//! Finds, balances and guards calls between services on a LAN.
//!
//! The way of a request:
//!
//! 1. [`client::Client::get`] is asked for "a producer", with a path and a deadline.
//! 2. A [`bulkhead::Bulkhead`] gives it a seat, or refuses it at once: there is no queue.
//! 3. [`discovery::Directory`] knows who is there, by mDNS, by a DNS alias, or by a fixed list.
//! 4. [`balance::Balancer`] draws two of them and takes the cheaper one whose [`breaker::CircuitBreaker`] admits the call.
//! 5. [`transport`] sends it on a kept-alive connection, within the time that is left.
//! 6. The outcome teaches breaker and balancer. A result of an earlier generation teaches nothing.
//! 7. After a failure another instance is asked, if the [`retry::Budget`] allows.
//! 8. Who is asked answers from its [`cache::Cache`]; of many equal questions one goes on.
//! 9. [`serve::Host`] does for every service what every service needs: listening, registration, health, farewell.
//! 10. [`telemetry`] tells of all that, and slows none of it.
//!
//! `breaker`, `balance`, `retry`, `bulkhead` and `config` do no I/O, read no clock and log nothing: time and randomness
//! are arguments.

// The rules: no I/O, no clock, no log.
pub mod balance;
pub mod breaker;
pub mod bulkhead;
pub mod call;
pub mod retry;
mod sync;

#[cfg(feature = "net")]
pub mod cache;
#[cfg(feature = "net")]
pub mod circuit;
#[cfg(feature = "net")]
pub mod client;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "net")]
pub mod discovery;
#[cfg(feature = "net")]
pub mod resolve;
#[cfg(feature = "net")]
pub mod serve;
#[cfg(feature = "net")]
pub mod telemetry;
#[cfg(feature = "net")]
pub mod transport;
#[cfg(feature = "net")]
pub mod trust;

#[cfg(feature = "net")]
pub use client::Client;
#[cfg(feature = "net")]
pub use config::Config;
#[cfg(feature = "net")]
pub use discovery::Directory;
#[cfg(feature = "net")]
pub use serve::Host;

/// The README's code runs as a test.
#[cfg(all(doctest, feature = "net"))]
#[doc = include_str!("../README.md")]
struct Readme;
