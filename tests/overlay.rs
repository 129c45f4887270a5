//! Images, registry and stack on a real Docker engine: a Swarm and a registry on loopback that `cargo xtask test --only
//! overlay` makes before and takes away after, and one stack that all of these tests use, one after another.

#![allow(clippy::print_stdout, reason = "measured times, and the logs of a failed test")]

#[path = "overlay/images.rs"]
mod images;
#[path = "overlay/machine.rs"]
mod machine;
#[path = "support/patience.rs"]
mod patience;
#[path = "overlay/plain.rs"]
mod plain;
#[path = "overlay/refused.rs"]
mod refused;
#[path = "overlay/registry.rs"]
mod registry;
#[path = "overlay/rolling.rs"]
mod rolling;
#[path = "overlay/stack.rs"]
mod stack;
#[path = "overlay/user.rs"]
mod user;
