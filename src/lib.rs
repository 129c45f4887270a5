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
//! 8. The server that is asked admits the request by its [`limit::Limiter`], lets it wait a little, or refuses it.
//! 9. It answers from its [`cache::Cache`]; of many equal questions one goes on.
//! 10. [`serve::Host`] does for every service what every service needs: listening, registration, health, farewell.
//! 11. [`telemetry`] tells of all that, and slows none of it.
//!
//! `breaker`, `balance`, `retry`, `bulkhead`, `limit` and `config` do no I/O, read no clock and log nothing: time and
//! randomness are arguments.

pub mod balance;
pub mod breaker;
pub mod bulkhead;
pub mod cache;
pub mod circuit;
pub mod client;
pub mod config;
pub mod discovery;
pub mod limit;
pub mod resolve;
pub mod retry;
pub mod serve;
mod sync;
pub mod telemetry;
pub mod transport;
pub mod trust;

pub use client::Client;
pub use config::Config;
pub use discovery::Directory;
pub use serve::Host;

/// The README's code runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
