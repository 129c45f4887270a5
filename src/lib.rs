//! Finds, balances and guards calls between services on a LAN.

#![warn(missing_docs)]

pub mod balance;
pub mod breaker;
pub mod bulkhead;
pub mod cache;
pub mod client;
pub mod config;
pub mod discovery;
pub mod resolve;
pub mod retry;
pub mod serve;
mod sync;
pub mod telemetry;
pub mod transport;
pub mod trust;

pub use config::Config;
