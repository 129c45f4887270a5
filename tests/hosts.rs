//! Bramble between real hosts: each is a network namespace with a cable to a switch, and each test has a LAN of its
//! own, gone with the test. Needs root, iproute2, nftables, avahi and python-zeroconf: `cargo xtask test --only hosts`.

#![allow(clippy::print_stdout, reason = "the bench's table, and the logs of a failed test")]

#[path = "hosts/attack.rs"]
mod attack;
#[path = "hosts/bench.rs"]
mod bench;
#[path = "hosts/cluster.rs"]
mod cluster;
#[path = "hosts/dns.rs"]
mod dns;
#[path = "hosts/interop.rs"]
mod interop;
#[path = "hosts/lan.rs"]
mod lan;
#[path = "hosts/life.rs"]
mod life;
#[path = "hosts/name.rs"]
mod name;
#[path = "support/netns.rs"]
mod netns;
#[path = "hosts/network.rs"]
mod network;
#[path = "hosts/node.rs"]
mod node;
#[path = "support/patience.rs"]
mod patience;
