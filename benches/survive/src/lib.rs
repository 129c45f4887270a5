//! A simulator of clients and servers that fail, and a scoreboard of what the clients' users get.
//!
//! A [`scenario::Scenario`] says which servers, clients and faults there are. A [`world`] runs it in virtual time with
//! the rules of one [`contestant::Contestant`] and a seed; nothing sleeps and no thread is started, so the same seed
//! has the same result on every machine. [`score`] compares Bramble's rules with the baselines', row by row, and
//! [`board`] runs and prints everything.

pub mod board;
pub mod contestant;
mod random;
pub mod scenario;
pub mod score;
pub mod world;
