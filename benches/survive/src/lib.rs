//! A simulator of clients and servers that fail, and a scoreboard of what the clients' users get.
//!
//! A [`scenario::Scenario`] says which servers, clients and faults there are. A [`world`] runs it in virtual time with
//! the rules of one [`contestant::Contestant`] and a seed; nothing sleeps and no thread is started, so the same seed
//! has the same result on every machine. [`score`] compares Bramble's rules with the baselines', row by row, and
//! [`board`] runs and prints everything.
//!
//! Of Bramble it drives the shipped rules: `CallMachine` and `CalledService` (with `Balancer`, `CircuitBreaker` and
//! `Budget`) in its clients, `Limiter` before its servers' workers, and, where a scenario has mDNS, `InstanceTable`,
//! which takes in announcements, goodbyes, failed calls and health checks as the client passes them on. The servers' caches
//! are `CacheTable` for every contestant; before the API behind them, Bramble's servers have a `CircuitBreaker` with
//! the producer's settings. Modelled are network, mDNS, the answers to probes, queues, work, and the API. Not simulated
//! is that a client waits for its first instance in the first 3 s of its life.

pub mod board;
pub mod contestant;
mod random;
pub mod scenario;
pub mod score;
pub mod world;
